"""What the commands share: choosing runs, errors in one line, findings on the terminal."""

import argparse
import sys
from contextlib import contextmanager
from textwrap import fill

from analysis.runs import EPOCH_METRICS, check_word, read_sweep
from mlp.errors import UserError


class Parser(argparse.ArgumentParser):
    """Arguments of `python -m analysis.<name>`, with an example in --help and one-line errors."""

    def __init__(self, name, what, example):
        super().__init__(
            prog=f"python -m analysis.{name}",
            description=fill(what, 80),
            epilog=f"example: python -m analysis.{name} {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,  # the example in one line
        )

    def error(self, message):
        self.exit(2, f"{self.prog}: {' '.join(message.split())}\n")

    @contextmanager
    def errors_in_one_line(self):
        try:
            yield
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
            help="only runs with this value; more than one --where must all hold",
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


def final_metric(sweep, metric):
    """The metric that was asked for, or the default; one that the runs have. Raises UserError."""
    known = [known for known in EPOCH_METRICS if known in sweep.metrics]
    metric = metric or ("val_accuracy" if "val_accuracy" in known else "test_accuracy")
    check_word("--metric", metric, known)
    return metric


def print_findings(sweep):
    for run, what in sweep.findings:
        print(f"note: {run}: {what}", file=sys.stderr)
