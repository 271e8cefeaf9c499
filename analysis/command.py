"""What the commands share: choosing runs, errors in one line, findings on the terminal."""

import argparse
import hashlib
import re
import sys
from contextlib import contextmanager
from pathlib import Path
from textwrap import fill

from mlp.errors import UserError

from .runs import EPOCH_METRICS, label
from .sweep import WrongArgument, read_sweep

FORMATS = ("png", "pdf", "svg")


class Parser(argparse.ArgumentParser):
    """Arguments of `python -m analysis.<name>`, with an example in --help and one-line errors.

    The arguments have the names of the Python functions' parameters.
    """

    def __init__(self, name, what, example):
        sys.stdout.reconfigure(errors="backslashreplace")  # where a terminal lacks a letter
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
            metavar="CONDITION",
            help="only runs that meet it: lr=0.1, or lr=0.1,1 for either, 'lr<50', 'lr!=1'; a run "
            "must meet every --where",
        )

    def add_final_metric(self):
        self.add_argument(
            "--metric",
            help=f"of {', '.join(EPOCH_METRICS)}; default: val_accuracy, or else test_accuracy",
        )

    def add_no_notes(self):
        text = "no text below the figure; the terminal still has the notes"
        self.add_argument("--no-notes", dest="notes", action="store_false", help=text)

    def stem(self, args, words, named):
        """The name of the file that the arguments make: words, then every option that was given.

        named: the options that words tell already. Two pictures of one sweep have two names, such
        as curves-val_loss and curves-val_loss,band=q90,log=y.
        """
        options = {"with": [Path(folder).resolve().name for folder in args.folders[1:]]}
        for action in self._actions:
            value = getattr(args, action.dest, None)
            if action.dest not in ("folders", "help", "out", *named) and value != action.default:
                options[action.dest] = value
        texts = [f"{key}={in_name(value)}" for key, value in options.items() if value != []]
        whole = ",".join(["-".join(words), *texts])
        name = re.sub(r"[^\w.,=+\[\]-]", "_", whole)[:150]
        digest = hashlib.sha256(whole.encode()).hexdigest()[:8]
        return name if name == whole else f"{name}-{digest}"


def in_name(value):
    """An argument's value in a file's name."""
    if isinstance(value, list | tuple):
        return "+".join(map(in_name, value))
    return "" if value is None else label(value)


def words(text):
    return text.split(",")


def read(args):
    """The Sweep that the arguments choose."""
    return read_sweep(args.folders, args.by, args.where, getattr(args, "include", ()))


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
