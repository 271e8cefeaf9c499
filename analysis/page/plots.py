"""The plots of a page, still empty: page.js fills their sources with what a reader chooses."""

from bokeh.embed import json_item
from bokeh.models import (
    BasicTickFormatter,
    ColumnDataSource,
    FixedTicker,
    HoverTool,
    LinearColorMapper,
    NumeralTickFormatter,
    Range1d,
)
from bokeh.plotting import figure

from .looks import HEAT

TOOLS = "box_zoom,pan,wheel_zoom,zoom_in,zoom_out,undo,redo,reset,save"


def plots():
    """{name: its JSON item}. page.js finds plots, sources and colour maps by their names."""
    return {plot.name: json_item(plot) for plot in (curves(), against(), parallel())}


def empty(name, height):
    plot = figure(
        name=name,
        height=height,
        sizing_mode="stretch_width",
        tools=TOOLS,
        active_drag="box_zoom",
        toolbar_location="right",  # there is always room below each other
        x_range=Range1d(0, 1),
        y_range=Range1d(0, 1),
    )
    plot.toolbar.logo = None
    plot.min_border_right = 20
    plot.yaxis.formatter = BasicTickFormatter(power_limit_high=6, power_limit_low=-4)
    plot.background_fill_color = plot.border_fill_color = plot.outline_line_color = None
    plot.axis.minor_tick_line_color = None
    plot.axis.axis_label_text_font_style = "normal"
    plot.axis.axis_label_text_font_size = "14px"
    plot.axis.major_label_text_font_size = "12px"
    return plot


def source(name, columns):
    return ColumnDataSource({column: [] for column in columns.split()}, name=name)


def heat(name):
    """A colour for each mean."""
    return {"field": "mean", "transform": LinearColorMapper(palette=HEAT, low=0, high=1, name=name)}


def show_under_mouse(plot, renderer, **texts):
    rows = [(name, text) for name, text in texts.items()]
    plot.add_tools(HoverTool(renderers=[renderer], tooltips=rows, limit=4, visible=False))


def curves():
    """Learning curves: what single steps spread over, bands, runs, means, and marks."""
    plot = empty("curves", 440)
    plot.xaxis.formatter = NumeralTickFormatter(format="0,0.[000]")
    for name, alpha in {"raw": 0.08, "bands": 0.2}.items():
        areas = source(name, "xs ys colour")
        plot.patches(source=areas, fill_color="colour", fill_alpha=alpha, line_color=None)
    runs = plot.multi_line(
        source=source("runs", "xs ys colour alpha run"),
        line_color="colour",
        line_alpha="alpha",
        hover_line_color="colour",
        hover_line_alpha=1,
        hover_line_width=2,
    )
    means = plot.multi_line(
        source=source("means", "xs ys colour dash width group"),
        line_color="colour",
        line_dash="dash",
        line_width="width",
    )
    plot.scatter(
        source=source("marks", "x y colour marker angle size"),
        marker="marker",
        angle="angle",
        size="size",
        color="colour",
        line_width=1.5,
    )
    at = {"at": "$snap_x{0,0.[000]}", "value": "$snap_y{0.[000000]}"}
    show_under_mouse(plot, runs, run="@run", **at)
    show_under_mouse(plot, means, mean="@group", **at)
    return plot


def against():
    """A final metric against one hyperparameter, or two as a heat map."""
    plot = empty("against", 400)
    plot.xaxis.ticker = FixedTicker()
    cells = plot.rect(
        source=source("cells", "x y mean group what"),
        width=1,
        height=1,
        fill_color=heat("heat of cells"),
        line_color=None,
    )
    plot.text(
        source=source("words", "x y text colour"),
        text_color="colour",
        text_align="center",
        text_baseline="middle",
        text_font_size="12px",
    )
    plot.multi_line(source=source("trends", "xs ys"), line_color="#8a8a8a")
    plot.segment(
        source=source("bars", "x low high colour"),
        x0="x",
        y0="low",
        x1="x",
        y1="high",
        line_color="colour",
        line_width=1.5,
    )
    dots = plot.scatter(
        source=source("dots", "x y colour run"), size=4, line_color="colour", fill_color=None
    )
    groups = plot.scatter(
        source=source("groups", "x y colour marker group what"),
        marker="marker",
        size=9,
        color="colour",
    )
    show_under_mouse(plot, cells, cell="@group", mean="@what")
    show_under_mouse(plot, dots, run="@run", value="@y{0.[000000]}")
    show_under_mouse(plot, groups, group="@group", mean="@what")
    return plot


def parallel():
    """Parallel coordinates: a line for each group, through its hyperparameters to its metric."""
    plot = empty("parallel", 360)
    plot.xaxis.ticker = FixedTicker()
    plot.yaxis.visible = plot.ygrid.visible = False
    paths = plot.multi_line(
        source=source("paths", "xs ys mean group what"),
        line_color=heat("heat of paths"),
        line_width=1.5,
        hover_line_color=heat("heat of path"),
        hover_line_width=5,
    )
    plot.text(
        source=source("values", "x y text ink paper"),
        text_color="ink",
        background_fill_color="paper",
        background_fill_alpha=0.75,
        text_baseline="middle",
        text_font_size="12px",
        x_offset=5,
    )
    show_under_mouse(plot, paths, group="@group", mean="@what")
    return plot
