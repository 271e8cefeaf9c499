"""What the commands share: choosing runs, errors in one line, findings on the terminal."""

import argparse
import sys
from contextlib import contextmanager
from pathlib import Path
from textwrap import fill

from mlp.errors import UserError

from .runs import EPOCH_METRICS
from .sweep import WrongArgument, read_sweep

FORMATS = ("png", "pdf", "svg")


class Parser(argparse.ArgumentParser):
    """Arguments of `python -m analysis.<name>`, with an example in --help and one-line errors.

    The arguments have the names of the Python functions' parameters.
    """

    def __init__(self, name, what, example):
        prog = sys.argv[0] if sys.argv[0] == f"mlp {name}" else f"python -m analysis.{name}"
        super().__init__(
            prog=prog,
            description=fill(what, 80),
            epilog=f"example: {prog} {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,  # the example in one line
        )

    def error(self, message):
        self.exit(2, f"{self.prog}: {' '.join(message.split())}\n")

    @contextmanager
    def errors_in_one_line(self):
        try:
            yield
        except WrongArgument as error:
            shown = {a.dest: (a.option_strings or [a.metavar])[0] for a in self._actions}
            self.error(shown[error.argument] + error.text)
        except (UserError, OSError) as error:
            self.error(str(error))

    def add_choice_of_runs(self):
        self.add_argument("folders", nargs="+", metavar="DIR", help="a sweep, a run, or many")
        self.add_argument(
            "--by",
            type=words,
            default=[],
            metavar="KEY,KEY",
            help="hyperparameters to group runs by; default: all in which they differ, except seed",
        )
        self.add_argument(
            "--where",
            action="append",
            default=[],
            metavar="KEY=VALUE",
            help="only runs with this value; a run must meet every --where",
        )

    def add_final_metric(self):
        self.add_argument(
            "--metric",
            help=f"of {', '.join(EPOCH_METRICS)}; default: val_accuracy, or else test_accuracy",
        )


def words(text):
    return text.split(",")


def read(args):
    """The Sweep that the arguments choose."""
    return read_sweep(args.folders, args.by, args.where)


def out_path(out, folder, stem):
    """Where a figure goes: `out`, or a PNG of this stem in the folder. Raises WrongArgument."""
    if not out:
        return Path(folder, f"{stem}.png")
    path = Path(out)
    if path.suffix[1:] not in FORMATS:
        raise WrongArgument("out", f" {path}: its ending must be one of {', '.join(FORMATS)}")
    if not path.parent.is_dir():
        raise WrongArgument("out", f" {path}: {path.parent} is no folder")
    return path


def print_findings(sweep):
    for run, what in sweep.findings:
        print(f"note: {run}: {what}", file=sys.stderr)
