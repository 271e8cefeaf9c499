"""What the figures share: style, panels, colours, legend and note. Importing it sets the style."""

import math
import re
from collections import defaultdict
from pathlib import Path
from textwrap import TextWrapper
from typing import NamedTuple

import matplotlib
import matplotlib.style
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

from mlp.errors import UserError

from .runs import label, printable
from .sweep import rank

MARKERS = "os^DvPX"
DASHES = "solid", "dashed", "dotted", "dashdot"
OTHERS = {"color": "0.75", "marker": "", "linewidth": 0.6, "zorder": 1}
WIDEST = 7  # inches: both columns of a two-column page
LETTERS_PER_INCH = 20  # in the type of legend and note, with a little to spare
BEST = 4  # groups that get colours where there are too many for all
LONGEST_NOTE = 8  # lines; what is left out stands on the terminal
MOST_PANELS = 20

matplotlib.style.use(Path(__file__).with_name("style.mplstyle"))
COLOURS = matplotlib.rcParams["axes.prop_cycle"].by_key()["color"]
COLOUR_MAP = ListedColormap(matplotlib.colormaps["viridis"](np.linspace(0, 0.92, 256)))


def panels(n, each=1):
    """A figure and its axes: n blocks below each other, of `each` panels that share their y axis.

    A panel that is alone in its block has the style's size. Raises UserError where they are too
    many. We do without pyplot: it would keep every figure and look for a screen.
    """
    if n * each > MOST_PANELS:
        raise UserError(f"{n * each} panels are too many for a figure; choose some with --where")
    width, height = matplotlib.rcParams["figure.figsize"]
    columns = each if each <= 3 else 2 if each == 4 else 3
    if columns > 1:
        height *= min(1, WIDEST / columns / width + 0.1)
        width = min(WIDEST, width * columns)
    rows = math.ceil(each / columns)
    page = Figure(figsize=(width, height * rows * n))
    grid = page.subplots(rows * n, columns, squeeze=False, sharex=True).reshape(n, -1)
    for block in grid:
        for i, axes in enumerate(block[1:each], 1):
            axes.sharey(block[0])
            axes.tick_params(labelleft=i % columns == 0)
        for axes in block[each:]:
            axes.remove()
    for axes in grid[-1, max(0, each - columns) : each]:  # the lowest of its column
        axes.tick_params(labelbottom=True)
    return page, list(grid[:, :each].ravel())


def label_x(axes, text):
    """Names the x axis below the lowest panel of each column."""
    for ax in axes:
        if ax.xaxis.get_tick_params().get("labelbottom", True):
            ax.set_xlabel(text)


def label_decades(axis):
    """Labels 1, 2, 5, 10 and so on where an axis is logarithmic and shows few powers of ten."""
    low, high = axis.get_view_interval()
    if axis.get_scale() == "log" and high < 1000 * low:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(StrMethodFormatter("{x:,g}"))
        axis.set_minor_formatter(NullFormatter())


# Which group is which


class Looks(NamedTuple):
    """How the groups of a figure are told apart."""

    keys: list  # those that colours tell
    dash: str | None  # the key that dashes tell
    styles: dict  # {values of keys: colour and marker}
    dashes: dict  # {value of dash: line style}
    scale: ScalarMappable | None  # colours are explained by a bar, not by the legend

    def of(self, group):
        """The style of a group's lines."""
        style = self.styles[values_of(group, self.keys)]
        return style | ({"linestyle": self.dashes[group.values[self.dash]]} if self.dash else {})

    def explain(self, page, axes, counts, is_alone=False):
        """(lines of the legend, its title, lines of dashes), for `annotate`. Or draws a colour bar.

        counts: {values of keys: numbers of runs in each group, as (counted, found)}. is_alone: a
        single style needs no line.
        """
        lines, title = [], ", ".join(self.keys)
        texts = {values: in_words(ns) for values, ns in counts.items()}
        if len(set(texts.values())) == 1 and self.keys:
            title = f"{title} ({', '.join({*texts.values()})} each)"
            texts = dict.fromkeys(texts, "")
        if is_alone:
            title = texts[()]
        elif texts == {(): "n=1"}:
            pass  # one line, of one run
        elif self.scale:
            bar = page.colorbar(self.scale, ax=list(axes), label=title, aspect=30, pad=0.02)
            if len(self.styles) <= 12:  # more names would not fit
                numbers = [number for (number,) in self.styles]
                bar.set_ticks(numbers, labels=list(map(label, numbers)))
                bar.minorticks_off()
            title = ""
        else:
            named = {values: style for values, style in self.styles.items() if style["marker"]}
            lines = [legend_entry(v, texts[v], s) for v, s in named.items() if v in counts]
            if n_others := len(counts) - len(lines):
                lines.append(Line2D([], [], **OTHERS, label=f"{n_others} others"))
        dashes = [
            Line2D([], [], color="black", linestyle=dash, label=f"{self.dash}={label(value)}")
            for value, dash in self.dashes.items()
        ]
        return lines, title, dashes


def looks(groups, keys, may_dash=True, best_first=None):
    """The Looks of groups that differ in keys.

    may_dash: whether dashes may tell one of the keys. best_first: the groups that get colours, in
    turn, where there are too many for all.
    """
    dash = dash_key(groups, keys) if may_dash else None
    keys = [key for key in keys if key != dash]
    dashes = dict(zip(values_in(groups, dash), DASHES, strict=False)) if dash else {}
    values = {values_of(group, keys) for group in groups}
    values = sorted(values, key=lambda several: list(map(rank, several)))
    scale = None
    if len(values) <= len(COLOURS):
        styles = dict(zip(values, group_styles(len(values)), strict=True))
    elif is_numeric(groups, keys):
        numbers = [value for (value,) in values]
        is_wide = numbers[-1] >= 10 * numbers[0] > 0
        norm = (LogNorm if is_wide else Normalize)(numbers[0], numbers[-1])
        scale = ScalarMappable(norm, COLOUR_MAP)
        styles = {v: {"color": scale.to_rgba(v[0]), "marker": "", "linewidth": 0.8} for v in values}
    else:
        named = dict.fromkeys(values_of(group, keys) for group in best_first or groups)
        named = dict(zip(named, group_styles(BEST), strict=False))
        styles = named | {v: OTHERS for v in values if v not in named}
    return Looks(keys, dash, styles, dashes, scale)


def dash_key(groups, keys):
    """The key that dashes tell best: of few values, each with several of the colours; or None."""
    for n, _, key in sorted((len(values_in(groups, k)), -i, k) for i, k in enumerate(keys)):
        others = [other for other in keys if other != key]
        colours = len({values_of(group, others) for group in groups})
        if 1 < n <= len(DASHES) and 1 < colours <= len(COLOURS) and len(groups) > max(n, colours):
            return key
    return None


def facet_key(groups, keys):
    """The key that panels tell best, or None: dataset, or else one of too many groups."""
    if "dataset" in keys:
        return "dataset"
    if len(groups) <= len(COLOURS) or len(keys) < 2:
        return None
    for n, _, key in sorted((len(values_in(groups, k)), -i, k) for i, k in enumerate(keys)):
        others = [other for other in keys if other != key]
        colours = len({values_of(group, others) for group in groups})
        if 1 < n <= 9 and (colours <= len(COLOURS) or is_numeric(groups, others)):
            return key
    return None


def is_numeric(groups, keys):
    """Whether the groups differ in one key alone, whose values are numbers."""
    numbers = (int, float)
    return len(keys) == 1 and all(type(value) in numbers for value in values_in(groups, keys[0]))


def values_of(group, keys):
    return tuple(group.values[key] for key in keys)


def values_in(groups, key):
    """The values of a key, in order."""
    return sorted({group.values[key] for group in groups}, key=rank)


def group_styles(n):
    """Colour and marker of each of n groups that are in order."""
    colours = COLOURS if n <= len(COLOURS) else COLOUR_MAP(np.linspace(0, 1, n))
    return [{"color": colours[i], "marker": MARKERS[i % len(MARKERS)]} for i in range(n)]


# Words


def with_unit(metric):
    """The name of an axis: val_loss is val loss (nats)."""
    return metric.replace("_", " ") + " (nats)" * metric.endswith("loss")


def in_words(counts):
    """n=3, n=2-3, or n=2 of 3, for numbers of runs (counted, found) in groups."""
    counted, found = zip(*counts, strict=True)
    low, high = min(counted), max(counted)
    text = f"n={low}" + f"-{high}" * (low < high)
    return text + f" of {max(found)}" * (low < max(found) and low == high)


def name_classes(axis, classes):
    """Ticks with the names of classes, where the axis counts them: a dozen at most."""
    axis.set_major_locator(MaxNLocator(12, integer=True))
    names = dict(enumerate(classes))
    axis.set_major_formatter(lambda value, _: names.get(value, ""))
    if max(map(len, classes)) > 2 and axis.axis_name == "x":
        axis.set_tick_params(rotation=45)


def thin_ticks(axis, names):
    """A tick for each name, or for every n-th where they would not fit; long ones are slanted."""
    places = range(0, len(names), -(-len(names) // MOST_PANELS))
    shown = [names[place] for place in places]
    width = axis.get_figure().get_size_inches()[0]
    is_long = axis.axis_name == "x" and len("  ".join(shown)) > width * LETTERS_PER_INCH / 2
    axis.set_ticks(places, shown, **{"rotation": 30, "ha": "right"} if is_long else {})


def legend_entry(values, count, style):
    """The line and text of a group, such as: 0.01, relu (n=3)."""
    text = ", ".join(map(label, values))
    return Line2D([], [], **style, label=f"{text} ({count})" if text and count else text or count)


def annotate(page, legend, title, caption, findings, more=()):
    """Adds a legend (lines with labels) above and a note below. The figure grows by their room.

    more: lines of another kind, which have columns of their own.
    """
    width, height = page.get_size_inches()
    if legend or more:
        kinds = [kind for kind in (legend, more) if kind]
        letters = max(len(line.get_label()) for kind in kinds for line in kind) + 7  # line and gap
        fitting = max(len(kinds), int(width * LETTERS_PER_INCH / letters))
        rows = 1
        while sum(math.ceil(len(kind) / rows) for kind in kinds) > fitting:
            rows += 1
        gap = Line2D([], [], linestyle="", label="")
        handles = [line for kind in kinds for line in [*kind, *[gap] * (-len(kind) % rows)]]
        title = wrap(title, int(width * LETTERS_PER_INCH))
        page.legend(
            handles=handles,
            title="\n".join(title),
            ncols=len(handles) // rows,
            loc="outside upper center",
        )
        height += 0.15 * (rows + len(title))
    if lines := note(caption, findings, int(width * LETTERS_PER_INCH)):
        page.supxlabel("\n".join(lines), x=0.02, ha="left", fontsize=6, linespacing=1.3)
    page.set_size_inches(width, height + 0.11 * len(lines))
    literal(page)


def literal(page):
    """All text so far stands as a person wrote it, "$" too. Ticks get their numbers later."""
    for text in filter(Text.get_text, page.findobj(Text)):
        text.set_text(printable(text.get_text()))
        text.set_parse_math(False)


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


class Wrapper(TextWrapper):
    """Breaks lines at spaces, and in lr=0.1,seed=2 after the comma, but never within a word."""

    wordsep_simple_re = re.compile(r"(\s+|(?<=,)(?=\S))")


def wrap(text, letters, **options):
    wrapper = Wrapper(letters, break_long_words=False, break_on_hyphens=False, **options)
    return wrapper.wrap(text)
