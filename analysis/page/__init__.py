"""A sweep as one page: an HTML file that needs no server and no network.

content.py says what stands there, looks.py how it looks, curves.py works out the curves, plots.py
makes plots without data. page.html puts these together, and in a browser page.js draws what a
reader chooses. A security policy lets the page run its own two scripts and load nothing.
"""

import base64
import hashlib
import sys
import time
from argparse import ArgumentTypeError
from datetime import datetime
from pathlib import Path

from mlp.errors import UserError
from mlp.files import whole_file

from .. import command
from ..curves import CROWD, MARKS, MINI_BATCH, PALE, X_LABELS
from ..group_curves import FEW
from ..runs import label, printable, several
from ..statistics import BANDS
from ..sweep import WrongArgument, read_sweep
from . import content
from .arrays import Arrays, as_json
from .curves import read_curves
from .looks import DASHES, ENDS, HEAT, SHAPES, looks, palette

HERE = Path(__file__).parent


def main(argv=None):
    parser = command.Parser(
        "page",
        "Writes a sweep as one HTML page: its groups and runs, curves, hyperparameters. It opens "
        "in a browser from disk or out of a mail, and needs no server and no network.",
        "outputs/lr-sweep --watch 30",
    )
    parser.add_choice_of_runs()
    parser.add_final_metric()
    parser.add_argument(
        "--watch",
        type=seconds,
        metavar="SECONDS",
        help="write it again that often, until the sweep has ended; an open page follows",
    )
    parser.add_argument("--out", help="default: DIR/sweep.html")
    args = parser.parse_args(argv)
    with parser.errors_in_one_line():
        check_bokeh()
        path = out_path(args.out) if args.out else Path(args.folders[0], "sweep.html")
        sweep = watch(args, path) if args.watch else write(args, path)
        command.print_findings(sweep)
        print(f"wrote {path}")


def seconds(text):
    if not 1 <= int(text) <= 86_400:
        raise ArgumentTypeError("must be 1 to 86400")
    return int(text)


def out_path(out):
    """Raises WrongArgument."""
    path = Path(out)
    if path.suffix not in (".html", ".htm"):
        raise WrongArgument("out", f" {path}: its ending must be .html")
    if not path.parent.is_dir():
        raise WrongArgument("out", f" {path}: {path.parent} is no folder")
    return path


def check_bokeh():
    try:
        import bokeh  # noqa: F401
    except ImportError:
        what = "Bokeh draws the page, and it is not installed: pip install 'mlp-numpy[page]'"
        raise UserError(what) from None


def watch(args, path):
    """Writes the page again and again, until the sweep has ended or somebody stops it.

    Returns the Sweep.
    """
    told = f"wrote {path}; again every {args.watch} s until the sweep has ended, or Ctrl-C\n"
    try:
        while True:
            try:
                if content.has_ended(sweep := write(args, path, args.watch)):
                    return sweep
                print(told, end="", flush=True)
                told = ""
            except WrongArgument:
                raise
            except UserError as error:  # a sweep that has only just begun
                if not all(Path(folder).is_dir() for folder in args.folders):
                    raise
                print(f"not yet: {error}", flush=True)
            time.sleep(args.watch)
    except KeyboardInterrupt:
        print("stopped; writing it for the last time", file=sys.stderr)
        return write(args, path)


def write(args, path, every=None):
    """Writes the page and returns the Sweep. every: seconds until the next time, if any."""
    sweep = read_sweep(args.folders, args.by, args.where, include=MARKS)
    every = None if content.has_ended(sweep) else every
    title = ", ".join(Path(folder).resolve().name for folder in args.folders)
    text = as_html(sweep, title, args.where, args.metric, path.parent, every)
    with whole_file(path, durable=False) as file:
        file.write(text.encode())
    return sweep


def as_html(sweep, title, where=(), metric=None, base=".", every=None):
    """The page of a Sweep. Raises WrongArgument.

    where: as in read_sweep, for the head of the page. metric: as in Sweep.final_metric. base: the
    folder where the page will lie, from where links lead to the runs. every: seconds after which an
    open page loads itself again. Faults of the runs' logs join the sweep's findings.
    """
    from bokeh.resources import Resources
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    from .plots import plots

    metric = sweep.final_metric(metric) if sweep.metrics or metric else None
    ordered, arrays = content.in_order(sweep), Arrays()
    places = {run.name: place for place, run in enumerate(ordered)}
    runs, shared, environments, origin = content.describe_runs(ordered, sweep.metrics, base)
    choices, curves = read_curves(sweep, places, arrays)
    styles, keys = looks(sweep, metric), content.hyperparameters(sweep)
    columns, rows = content.table_of_groups(sweep, metric)
    comparisons, why = content.comparisons(sweep, [row["group"] for row in rows])
    compared = {place for of_metric in comparisons.values() for place in of_metric}
    baselines = [(row["name"], row["name"]) for row in rows if row["group"] in compared]
    data = {
        "groups": [
            {
                "name": printable(group.name),
                "values": printable(", ".join(map(label, group.values.values()))) or "all runs",
                "n": len(group.counted),
                "runs": sorted(places[run.name] for run in group.runs),
                "look": look,
                **own,
            }
            for group, look, own in zip(sweep.groups, styles, curves, strict=True)
        ],
        "runs": runs,
        "shared": shared,
        "environments": environments,
        "metrics": sweep.metrics,
        "keys": keys,
        "comparisons": comparisons,
        "why": why,
        "words": {"bands": BANDS, "xs": X_LABELS, "ends": ENDS},
        "limits": {"few": FEW, "crowd": CROWD, "pale": PALE},
        "heat": HEAT,
        "palette": palette(),
        "every": every,
        "plots": plots(),
        "arrays": arrays.texts,
    }
    scripts = ["".join(Resources("inline", components=["bokeh"]).js_raw), read("page.js")]
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html").render(
        css=read("page.css"),
        scripts=scripts,
        digests=[digest(script) for script in scripts],
        data=as_json(data),
        title=printable(title),
        counts=content.counts(sweep),
        has_ended=content.has_ended(sweep),
        every=every,
        origin=[*origin, ("page written", f"{datetime.now():%Y-%m-%d %H:%M:%S}")],
        where=printable(" and ".join(several(where))),
        notes=content.notes(sweep),
        keys=keys,
        metrics=sweep.metrics,
        columns=columns,
        rows=rows,
        baselines=baselines,
        has_curves=any(own["curves"] for own in curves),
        controls=controls(choices, keys, sweep.metrics, metric, baselines),
        looks=styles,
        shapes=SHAPES,
        dashes=DASHES,
    )


def controls(choices, keys, metrics, metric, baselines):
    """{id: (label, [(value, text)], the value chosen at first)} of what a reader chooses."""
    names_of_keys = [(key["name"], key["name"]) for key in keys]
    axes = {"": "linear", "y": "y logarithmic", "x": "x logarithmic", "xy": "both logarithmic"}
    names = [(name, MINI_BATCH if name == "loss" else name) for name in choices["metrics"]]
    bands = [(name, f"{name}: {text}" if text else name) for name, text in BANDS.items()]
    smoothings = [(place, text) for text, place in choices["smoothings"].items()]
    found = {
        "final": ("final metric", [(name, name) for name in metrics], metric),
        "baseline": ("compare with", [("", "none"), *baselines], ""),
        "metric": ("metric", names, "loss"),
        "x": ("against", [(x, x) for x in X_LABELS], "step"),
        "smoothing": ("smoothing", smoothings, choices["usual"]),
        "band": ("band", bands, "std"),
        "axes": ("axes", list(axes.items()), ""),
        "key": ("across", names_of_keys, None),
        "other": ("and up", [("", "none"), *names_of_keys], ""),
    }
    for key in keys:
        values = [(text, text) for _, text in key["ticks"]]
        found[f"filter-{key['name']}"] = key["name"], [("", "all"), *values], ""
    return found


def read(name):
    return (HERE / name).read_text(encoding="utf-8")


def digest(script):
    """By this, the page's security policy knows a script. No other one ever runs."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
