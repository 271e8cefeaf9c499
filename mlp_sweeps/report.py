"""What a sweep says while it runs: a line a run, one bar for all of it, and how it ended."""

import contextlib
import math
import os
import sys
import time
from collections import Counter

from tqdm import tqdm

WORDS = ("finished", "diverged", "failed", "pruned", "interrupted", "running elsewhere", "skipped")


class Report:
    """Lines go to stdout and the bar to stderr, where that is a terminal. A context manager."""

    def __init__(self, n_runs, progress):
        self.counts, self._failures, self._began = Counter(), [], time.perf_counter()
        self._n_runs = n_runs
        self._bar = tqdm(
            total=n_runs,
            bar_format="{n} of {total}|{bar}| {remaining} left, {rate_fmt}{postfix}",
            unit=" runs",
            smoothing=0,  # the mean of all runs tells the time that is left best
            dynamic_ncols=True,
            disable=None if progress and n_runs else True,
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._bar.close()

    def running(self, n, n_runs):
        self._n_runs = self._bar.total = n_runs
        failed = f", {self.counts['failed']} failed" if self.counts["failed"] else ""
        self._bar.set_postfix_str(f"{n} running{failed}")

    def ended(self, word, folder, state, outcome):
        """A run has ended; state is what its folder tells, word how the sweep counts it."""
        self.counts[word] += 1
        place, done = os.path.relpath(folder), sum(self.counts.values())
        line = f"[{done} of {self._n_runs}] {word}: {place}"
        if state.error:
            error = state.error.partition("\n")[0]
            line += f": {error}"
            if word == "failed":
                self._failures.append(f"{place}: {error}")
        else:
            line += "".join(f", {name} {value:.4g}" for name, value in _figures(state.metrics))
        if state.seconds is not None:
            line += f", {state.seconds:.1f} s"
        if self._bar.disable and done < self._n_runs:
            left = (time.perf_counter() - self._began) / done * (self._n_runs - done)
            line += f", {tqdm.format_interval(left)} left"
        for text in outcome.stderr.splitlines():
            say(f"  {text}", sys.stderr)
        say(line)
        self._bar.update()

    def close(self, skipped, left):
        """The last lines: how many ended how, and every failure again."""
        self._bar.close()
        n_ended = sum(self.counts.values())
        self.counts["skipped"] = skipped
        counts = [f"{self.counts[word]} {word}" for word in WORDS if self.counts[word]]
        counts += [f"{left} not started"] if left else []
        seconds = time.perf_counter() - self._began
        rate = f", {n_ended / seconds:.3g} runs a second" if n_ended else ""
        say(f"sweep: {', '.join(counts)}; {tqdm.format_interval(seconds)}{rate}")
        for failure in self._failures:
            say(f"failed: {failure}", sys.stderr)


def say(line, file=None):
    """Print a line above the bar. A reader that has gone away doesn't stop a sweep."""
    file = file or sys.stdout
    try:
        with tqdm.external_write_mode(file):
            print(line, file=file, flush=True)
    except OSError:
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), file.fileno())


def _figures(metrics):
    for name, value in metrics.items():
        if name.endswith(("_loss", "_accuracy")):
            yield name, math.nan if value is None else value
