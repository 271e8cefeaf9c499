"""Does this machine give the same bytes again? Trains some runs of a sweep anew and compares.

A run's folder is all that is needed: result.json holds its whole configuration. The logs and the
parameters must be equal byte for byte; where they are not, we name the first difference, and what
differs between the environment of then and that of now.
"""

import itertools
import os
import sys
from argparse import ArgumentTypeError
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from mlp.config import check
from mlp.errors import UserError
from mlp.experiment import run
from mlp.run_folder import LOGS, Damaged, read_checkpoint, read_result

from . import command
from .sweep import find_runs

ENDED = ("finished", "diverged")  # a diverged run is a result too


@dataclass(frozen=True)
class Verdict:
    """What came of one run."""

    name: str  # its folder below the sweep's
    difference: str | None  # the first; None where all bytes are equal
    environment: list = field(default_factory=list)  # what differs in it, a line each

    @property
    def is_equal(self):
        return self.difference is None


def main(argv=None):
    parser = command.Parser(
        "verify",
        "Run some runs of a sweep again, from their folders alone, and compare steps.csv, "
        "epochs.csv and the parameters byte for byte. Exits with 1 where they differ.",
        "outputs/lr-sweep --runs 3",
    )
    parser.add_argument("folder", metavar="DIR", help="a sweep, or one run")
    parser.add_argument(
        "--runs",
        type=number_or_all,
        default=3,
        metavar="N",
        help="how many, spread evenly over the sweep; or all (default: 3)",
    )
    args = parser.parse_args(argv)
    with parser.errors_in_one_line():
        runs, unfinished = ended_runs(args.folder)
        for name, why in unfinished.items():
            print(f"note: {name}: {why}", file=sys.stderr)
        verdicts = []
        for name in spread(list(runs), args.runs):
            verdicts.append(verify_run(runs[name], name))
            print(in_words(verdicts[-1]), flush=True)
    n_equal = sum(verdict.is_equal for verdict in verdicts)
    print(f"{n_equal} of {len(verdicts)} runs are equal, byte for byte; {len(runs)} have ended")
    sys.exit(n_equal < len(verdicts))


def verify(folder, runs=3):
    """Verdicts on that many of a sweep's ended runs, evenly spread; runs=None: on all.

    folder: a sweep's or a run's. Raises UserError where there is no run that ended.
    """
    ended, _ = ended_runs(folder)
    return [verify_run(ended[name], name) for name in spread(list(ended), runs)]


def ended_runs(folder):
    """({name: path} of the runs that ended, {name: why it can't be verified} of the others)."""
    paths, findings, _ = find_runs([folder])
    ended, others = {}, dict(findings)
    for name, path in paths.items():
        try:
            status = read_result(path)["status"]
        except FileNotFoundError:
            others[name] = "no result.json: running, or killed"
        except Damaged as damage:
            others[name] = str(damage)
        else:
            if status in ENDED:
                ended[name] = path
            else:
                others[name] = status
    if not ended:
        name, why = next(iter(others.items()))
        more = f" (and {len(others) - 1} more)" if others.keys() - {name} else ""
        raise UserError(f"no run under {folder} has finished: {name}: {why}{more}")
    return ended, others


def spread(names, n):
    """n of the names, evenly spread, the first and the last among them; None for all."""
    if n is None or n >= len(names):
        return names
    return [names[round(i * (len(names) - 1) / max(1, n - 1))] for i in range(n)]


def verify_run(folder, name):
    """The Verdict on one run that ended: trains it again in a temporary folder."""
    result = read_result(folder)
    try:
        config = check(result["config"])
        with TemporaryDirectory(prefix="verify-") as again:
            run(config, again)
            difference = first_difference(folder, Path(again))
            now = read_result(again)["environment"]
    except (Damaged, UserError) as error:
        return Verdict(name, f"can't be run again: {error}")
    except OSError as error:
        return Verdict(name, f"can't be run again: {type(error).__name__}: {error}")
    return Verdict(name, difference, differing(result["environment"], now))


def first_difference(there, here):
    """In words, where two run folders differ first: logs, then parameters; None where equal."""
    for log in LOGS:
        if words := log_difference(there / log, here / log):
            return f"{log}, {words}"
    try:
        words = params_difference(read_checkpoint(there), read_checkpoint(here))
    except Damaged as damage:
        return str(damage)
    return words and f"checkpoint.npz, {words}"


def log_difference(there, here):
    """The first line in which two files differ, or None."""
    try:
        lines = [path.read_bytes() for path in (there, here)]
    except FileNotFoundError as missing:
        return f"missing: {os.path.relpath(missing.filename)}"
    lines = [text.splitlines(keepends=True) for text in lines]
    for number, (old, new) in enumerate(itertools.zip_longest(*lines, fillvalue=b""), 1):
        if old != new:
            # As bytes where the text alone looks equal: line ends, say
            shown = [text.decode(errors="backslashreplace").rstrip("\r\n") for text in (old, new)]
            old, new = shown if shown[0] != shown[1] else (repr(old)[1:], repr(new)[1:])
            return f"line {number}: {old or 'nothing'} there, {new or 'nothing'} now"
    return None


def params_difference(there, here):
    """The first parameter in which two checkpoints differ bit by bit, or None."""
    kept = [
        {name: arrays[name] for name in arrays if name.startswith(("weights_", "bias_"))}
        for arrays in (there, here)
    ]
    for name in kept[0] | kept[1]:
        if any(name not in params for params in kept):
            return f"{name}: only {'there' if name in kept[0] else 'now'}"
        old, new = kept[0][name], kept[1][name]
        if (old.shape, old.dtype) != (new.shape, new.dtype):
            return f"{name}: {old.dtype} {old.shape} there, {new.dtype} {new.shape} now"
        as_bytes = [np.ascontiguousarray(a).view(np.uint8).reshape(a.size, -1) for a in (old, new)]
        differs = (as_bytes[0] != as_bytes[1]).any(axis=1)
        if differs.any():
            at = np.unravel_index(int(differs.argmax()), old.shape)
            place = ", ".join(map(str, map(int, at)))
            return f"{name}[{place}]: {old[at]} there, {new[at]} now"
    return None


def differing(there, here):
    """What two environments of result.json tell differently, a line each."""
    return [
        f"{key}: {in_text(there.get(key))} there, {in_text(here.get(key))} now"
        for key in there | here
        if there.get(key) != here.get(key)
    ]


def in_text(value):
    """A value of an environment: [{"name": "openblas", "threads": 1}] is openblas, threads 1."""
    if isinstance(value, list):
        return "; ".join(map(in_text, value))
    if isinstance(value, dict):
        return ", ".join(f"{k} {v}".removeprefix("name ") for k, v in value.items())
    return "not told" if value is None else str(value)


def in_words(verdict):
    if verdict.is_equal:
        return f"equal: {verdict.name}"
    lines = [f"differs: {verdict.name}: {verdict.difference}"]
    lines += [f"  {line}" for line in verdict.environment]
    if not verdict.environment and not verdict.difference.startswith("can't"):
        lines.append("  result.json tells of no difference in the environment")
    return "\n".join(lines)


def number_or_all(text):
    """None for all."""
    with suppress(ValueError):
        if text == "all" or int(text) >= 1:
            return None if text == "all" else int(text)
    raise ArgumentTypeError(f"must be a number >= 1, or all; got {text!r}")


if __name__ == "__main__":
    main()
