"""How groups and the ends of runs look on a page: as in the figures, in Bokeh's words."""

import math

from matplotlib import colormaps, rcParams
from matplotlib.colors import to_hex

from .. import figure
from ..curves import best_first

HEAT = [to_hex(colour) for colour in colormaps[rcParams["image.cmap"]](range(256))]
MARKERS = {  # Matplotlib's names, and Bokeh's
    "o": "circle",
    "s": "square",
    "^": "triangle",
    "D": "diamond",
    "v": "inverted_triangle",
    "P": "plus",
    "X": "x",
}
SHAPES = {  # markers around the middle of a line of 34 by 14
    "circle": '<circle cx="17" cy="7" r="4"/>',
    "square": '<rect x="13" y="3" width="8" height="8"/>',
    "triangle": '<path d="M17 2l5 9h-10z"/>',
    "diamond": '<path d="M17 2l5 5-5 5-5-5z"/>',
    "inverted_triangle": '<path d="M17 12l5-9h-10z"/>',
    "plus": '<path d="M17 3v8m-4-4h8" stroke-width="3"/>',
    "x": '<path d="M13 3l8 8m0-8l-8 8" stroke-width="2.5"/>',
}
DASHES = {"solid": "none", "dashed": "7 3", "dotted": "2 3", "dashdot": "7 3 2 3"}
ON_DARK = {"#000000": "#ffffff", "#bfbfbf": "#5a5a5a"}  # colours that a dark page changes
# A run that does not count ends in a mark: Bokeh's name, its angle, and the sign in a text
ENDS = {
    "diverged": ("x", 0.0, "\u00d7"),
    "interrupted": ("dash", math.pi / 2, "|"),
    "running": ("triangle", -math.pi / 2, "▶"),
    "failed": ("cross", 0.0, "+"),
    "damaged": ("asterisk", 0.0, "✳"),
}


def looks(sweep, metric):
    """The look of each of the sweep's groups."""
    found = figure.looks(sweep.groups, sweep.keys, best_first=best_first(sweep, metric))
    styles = [look(found.of(group)) for group in sweep.groups]
    if found.scale:  # the dark end of the colour map can't be seen on a dark page
        for style, group in zip(styles, sweep.groups, strict=True):
            (value,) = figure.values_of(group, found.keys)
            share = 0.3 + 0.7 * found.scale.norm(value)
            style["colours"][1] = to_hex(colormaps["viridis"](share))
    return styles


def palette():
    """Looks for a few groups, in the order in which figures use them."""
    return [look(style) for style in figure.group_styles(len(figure.COLOURS))]


def look(style):
    """A figure's style on a page: colours on light and on dark, marker, dash, width in pixels.

    is_grey: it is one of many, and nothing tells it from the others.
    """
    light = to_hex(style["color"])
    return {
        "colours": [light, ON_DARK.get(light, light)],
        "marker": MARKERS.get(style["marker"]),
        "dash": style.get("linestyle", "solid"),
        "width": 1.6 * style.get("linewidth", 1.1),  # a screen is further off than paper
        "is_grey": style.get("zorder") == figure.OTHERS["zorder"],
    }
