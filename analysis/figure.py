"""What the figures share: style, colours, legend and note. Importing it sets the style."""

import math
from collections import defaultdict
from pathlib import Path
from textwrap import wrap

import matplotlib
import matplotlib.style
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from mlp.errors import UserError

from .runs import label

MARKERS = "os^DvPX"
LETTERS_PER_INCH = 20  # in the type of legend and note, with a little to spare
LONGEST_NOTE = 8  # lines; what is left out stands on the terminal
MOST_ENTRIES = 40  # of a legend
MOST_PANELS = 20

matplotlib.style.use(Path(__file__).with_name("style.mplstyle"))


def panels(n):
    """A figure one column wide, and its n axes below each other, each as high as the style says.

    Raises UserError where they are too many. We do without pyplot: it would keep every figure and
    look for a screen.
    """
    if n > MOST_PANELS:
        raise UserError(f"{n} panels are too many for a figure; choose some with --where")
    width, height = matplotlib.rcParams["figure.figsize"]
    page = Figure(figsize=(width, height * n))
    return page, page.subplots(n, squeeze=False, sharex=True)[:, 0]


def group_styles(n):
    """Colour and marker of each of n groups that are in order."""
    colours = matplotlib.rcParams["axes.prop_cycle"].by_key()["color"]
    if n > len(colours):  # too many to tell apart: colours show the order
        colours = matplotlib.colormaps["viridis"](np.linspace(0, 0.92, n))
    return [{"color": colours[i], "marker": MARKERS[i % len(MARKERS)]} for i in range(n)]


def with_unit(metric):
    """The name of an axis: val_loss is val loss (nats)."""
    return metric.replace("_", " ") + " (nats)" * metric.endswith("loss")


def name_classes(axis, classes):
    """Ticks with the names of classes, where the axis counts them: a dozen at most."""
    axis.set_major_locator(MaxNLocator(12, integer=True))
    names = dict(enumerate(classes))
    axis.set_major_formatter(lambda value, _: names.get(value, ""))
    if max(map(len, classes)) > 2 and axis.axis_name == "x":
        axis.set_tick_params(rotation=45)


def legend_entry(values, count, style):
    """The line and text of a group, such as: 0.01, relu (n=3)."""
    text = f"{', '.join(map(label, values))} ({count})" if values else count
    return Line2D([], [], **style, label=text)


def annotate(page, legend, title, caption, findings):
    """Adds a legend (lines with labels) above and a note below. The figure grows by their room.

    Of very many lines, the legend has some, evenly spread: colours show the order.
    """
    width, height = page.get_size_inches()
    if len(legend) > MOST_ENTRIES:
        caption += f" The legend has {MOST_ENTRIES} of {len(legend)} groups."
        legend = [legend[i * (len(legend) - 1) // (MOST_ENTRIES - 1)] for i in range(MOST_ENTRIES)]
    if legend:
        letters = max(len(line.get_label()) for line in legend) + 7  # 7: the line and the gap
        fitting = max(1, int(width * LETTERS_PER_INCH / letters))
        rows = math.ceil(len(legend) / fitting)
        columns = math.ceil(len(legend) / rows)  # fills the last row about as much as the others
        title = wrap(title, int(width * LETTERS_PER_INCH))
        place = "outside upper center"
        page.legend(handles=legend, title="\n".join(title), ncols=columns, loc=place)
        height += 0.15 * (rows + len(title))
    lines = note(caption, findings, int(width * LETTERS_PER_INCH))
    page.supxlabel("\n".join(lines), x=0.02, ha="left", fontsize=6, linespacing=1.3)
    page.set_size_inches(width, height + 0.11 * len(lines))


def thin_ticks(axis, names):
    """A tick for each name, or for every n-th where they would not fit."""
    places = range(0, len(names), -(-len(names) // MOST_PANELS))
    axis.set_ticks(places, [names[place] for place in places])


def note(caption, findings, letters):
    """The caption, then the findings, as lines of at most so many letters.

    Runs with the same finding share a line.
    """
    runs = defaultdict(list)
    for run, what in findings:
        runs[what].append(run)
    lines = wrap(caption, letters)
    for what, names in runs.items():
        who = ", ".join(names[:3]) + f" and {len(names) - 3} more" * (len(names) > 3)
        lines += wrap(f"{who}: {what}", letters, subsequent_indent="  ")
    if len(lines) > LONGEST_NOTE:
        lines[LONGEST_NOTE - 1 :] = [f"... {len(findings)} notes in all, listed on the terminal"]
    return lines
