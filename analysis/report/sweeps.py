"""The sweeps of run.py that the report rests on: what they are, how they run, what they gave."""

import functools
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from mlp.errors import UserError
from mlp.experiment import CONF
from mlp.run_folder import read_result

from ..sweep import read_sweep

ROOT = CONF.parent


@dataclass(frozen=True)
class Place:
    """Where a version of the report has its runs and files; the quick one is apart.

    home: the folder that holds outputs/, where run.py is started.
    """

    quick: bool = False
    home: Path = field(default_factory=Path.cwd)

    @property
    def runs(self):
        return self.home / "outputs" / ("report-quick" if self.quick else "report")

    @property
    def generated(self):
        """The files that the text includes."""
        return self.runs / "generated" if self.quick else ROOT / "report/generated"

    @property
    def pdf(self):
        return (self.runs if self.quick else ROOT / "report") / "report.pdf"

    def sweep(self, *names, by=()):
        """The Sweep (analysis.sweep) of several sweeps' runs."""
        return read_sweep([self.runs / name for name in names], by)

    def results(self, name):
        """What result.json of each run of a sweep holds, and the run's folder, in order."""
        return [
            result_of(path.parent, path.stat().st_mtime_ns)
            for path in sorted((self.runs / name).glob("*/result.json"))
        ]

    def check_ended(self):
        """Raises UserError where a run goes on: a sweep leaves it to the process that has it."""
        for hydra in sorted(self.runs.glob("*/*/.hydra")):
            if not hydra.with_name("result.json").exists():
                where = hydra.parent.relative_to(self.home)
                raise UserError(f"{where} runs in another process; repeat this when it has ended")


@functools.cache
def result_of(folder, changed):
    """What a result.json that changed at this time holds, and its folder."""
    return read_result(folder) | {"folder": folder}


@dataclass(frozen=True)
class Sweep:
    """A sweep into the folder `name`: one experiment or several, and overrides {key: text}.

    quick: more overrides, for the quick version. config_dir: where the experiments are, below the
    report's runs, if not in conf/.
    """

    name: str
    experiments: tuple
    overrides: dict = field(default_factory=dict)
    quick: dict = field(default_factory=dict)
    config_dir: str | None = None

    def arguments(self, place):
        """The arguments of run.py."""
        words = [f"experiment={','.join(self.experiments)}"]
        if self.config_dir:
            folder = place.runs.relative_to(place.home) / self.config_dir
            words = ["--config-dir", str(folder), *words]
        if self.config_dir or place.quick:  # others name themselves
            words.append(f"name={place.runs.name}/{self.name}")
        own = self.overrides | (self.quick if place.quick else {})
        return ["-m", *words, *(f"{key}={value}" for key, value in own.items())]

    def command(self, place):
        """The command as a person types it."""
        words = [f"'{w}'" if set(w) & set("()[]") else w for w in self.arguments(place)]
        return " ".join(["python run.py", *words])

    def run(self, place):
        """Run what is missing. A sweep skips what is done and goes on where it was stopped.

        Raises UserError where it fails.
        """
        if call([sys.executable, str(ROOT / "run.py"), *self.arguments(place)], place.home):
            raise UserError(f"the sweep {self.name} failed; to repeat it: {self.command(place)}")


def call(command, cwd):
    """The exit code of a command. If we are asked to stop, it is asked once, and we wait for it.

    It runs in a session of its own: Ctrl-C would reach it a second time otherwise, and a sweep
    takes a second signal as a wish to stop without saving.
    """

    def interrupted(*_):
        raise KeyboardInterrupt

    before = {s: signal.signal(s, interrupted) for s in (signal.SIGTERM, signal.SIGHUP)}
    process = subprocess.Popen(command, cwd=cwd, start_new_session=True)
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.send_signal(signal.SIGINT)
        process.wait()
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# The sweeps of fixed runs. The search's sweeps follow from results: see search.py.


def fixed(name, quick, **overrides):
    return Sweep(name, (f"report_{name}",), overrides, quick)


SMALL = {"epochs": "1", "model.hidden_sizes": "[12]"}
FEW = SMALL | {"batch_size": "64", "seed": "range(2)"}
SWEEPS = [
    fixed("scalar", {"epochs": "1", "seed": "range(2)", "dataset.num_train": "4000"}),
    fixed("lr", FEW | {"lr": "0.01,0.03", "seed": "range(3)"}),
    fixed("lr", FEW | {"seed": "range(3,5)"}, lr="0.03", seed="range(5,10)"),
    fixed("beyond", FEW | {"lr": "1"}),
    fixed("batch32", FEW | {"lr": "0.03,0.3", "batch_size": "128"}),
    fixed("batch", FEW | {"lr": "0.1,1", "batch_size": "256,512"}),
    fixed("wide", FEW | {"lr": "0.01,0.03"}),
    fixed("activation", FEW | {"lr": "0.3,1", "model.activation": "sigmoid,tanh,relu"}),
    fixed("hidden", FEW | {"model.hidden_sizes": "[6],[12],[24]"}),
    fixed("speed", {"model.hidden_sizes": "[12]", "batch_size": "16,64"}),
]
