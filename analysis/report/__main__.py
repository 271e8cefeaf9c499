"""One command, from nothing to report/report.pdf: runs what is missing, draws, builds."""

import json
import os
import sys
import time

from mlp.experiment import make_config

from .. import command
from . import claims, figures, latex, readme, search, tables
from .facts import collect
from .sweeps import ROOT, SWEEPS, Place

SOURCES = "analysis/**/*.py", "analysis/*.mplstyle", "conf/**/*.yaml", "mlp/*.py", "report/**/*.*"


def main(argv=None):
    parser = command.Parser(
        "report",
        "Runs what the report misses, draws its figures and builds report/report.pdf.",
        "--quick",
    )
    parser.add_argument("--no-build", action="store_true", help="stop before LaTeX")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="a small version with small networks, in outputs/report-quick/report.pdf",
    )
    args = parser.parse_args(argv)
    with parser.errors_in_one_line():
        try:
            make(Place(args.quick), build=not args.no_build)
        except KeyboardInterrupt:
            print(f"{parser.prog}: stopped; the same command goes on from here", file=sys.stderr)
            sys.exit(130)


def say(line):
    """Print at once: sweeps print in between."""
    print(line, flush=True)


def make(place, build=True):
    """The report of a place. Raises UserError."""
    began = time.perf_counter()
    if build:
        latex.check_latex()
    make_config(dataset="mnist").dataset.load()  # says in one line where the data are missing
    stamp = place.runs / "made.json"
    known = json.loads(stamp.read_text()) if stamp.exists() else {}
    made = os.path.relpath(place.pdf if build else place.generated)
    if known.get("state") == state(place) and (known["built"] or not build):
        say(f"nothing to do: {made} is up to date")
        return
    for sweep in SWEEPS:
        sweep.run(place)
    search.write_experiments(place)
    for make_round in search.ROUNDS:
        place.check_ended()
        make_round(place).run(place)
    place.check_ended()
    say("numbers, tables and figures")
    facts = generate(place)
    if build:
        for line in latex.build(place):
            say(f"note: {line}")
    if not place.quick:
        readme.renew(facts)
    stamp.write_text(json.dumps({"state": state(place), "built": build}))
    say(f"wrote {made}; {time.perf_counter() - began:.0f} s")


def generate(place):
    """Numbers, tables, figures and listings; returns the Facts. Raises UserError."""
    facts = collect(place)
    claims.check(facts, enforce=not place.quick)
    latex.write_numbers(place.generated, facts)
    latex.write_code(place.generated)
    latex.write(place.generated / "commands.txt", tables.commands(place))
    for name, table in tables.TABLES.items():
        latex.write(place.generated / f"{name}.tex", table(place, facts))
    shown = (latex.SOURCE / "readme.md").read_text()
    for name in figures.FIGURES:
        page = figures.draw(place, name)
        page.savefig(place.generated / f"{name}.pdf", metadata={"CreationDate": None})
        path = ROOT / f"docs/report-{name}.png"
        if not place.quick and path.name in shown:
            page.savefig(path, dpi=200)
    if not place.quick:
        kept = [f"{json.dumps(name)}: {json.dumps(fact)}" for name, fact in facts.items()]
        latex.write(ROOT / "report/numbers.json", "{\n" + ",\n".join(kept) + "\n}\n")
    return facts


def state(place):
    """What the report is made of: its runs, and the program's and the text's sources."""
    paths = [*place.runs.glob("*/*/result.json")]
    for pattern in SOURCES:
        paths += ROOT.glob(pattern)
    written = place.generated.parts
    return sorted(
        [os.path.relpath(path, ROOT), path.stat().st_mtime_ns]
        for path in paths
        if path.parts[: len(written)] != written
    )


if __name__ == "__main__":
    main()
