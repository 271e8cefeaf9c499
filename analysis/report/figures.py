"""The report's figures: each function takes a Place and gives a Matplotlib Figure.

Sizes are those on paper: LaTeX includes a figure as it is.
"""

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from .. import dataset as looking
from .. import figure, predictions
from ..curves import plot_curves
from ..sensitivity import plot_sensitivity
from ..sweep import read_sweep
from . import facts, search

COLUMN = 3.15, 2.35  # inches: half of the text's width, with a gap between two of them
TEXT = 6.5


def draw(place, name):
    """The Figure of this name, in the report's size."""
    with matplotlib.rc_context({"figure.figsize": COLUMN}):
        return FIGURES[name](place)


# Data, and what a network makes of them


def mnist(_):
    return looking.plot_dataset(facts.mnist())


def synth(place):
    return looking.plot_dataset(facts.synth_data(place))


def boundary(place):
    """Held-out points, the boundary that one run learned, and the true ellipse."""
    (group,) = place.sweep("scalar").groups
    network = predictions.load_network(group.counted[-1].folder)
    page = Figure(figsize=(COLUMN[0], 2.9))
    looking.draw_points(page, facts.synth_data(place), network)
    axes = page.axes[0]
    x, y = (np.linspace(*limits, 400) for limits in (axes.get_xlim(), axes.get_ylim()))
    x, y = np.meshgrid(x, y)
    ellipse = x**2 + 0.95 * x * y + 0.4 * y**2 - 0.6  # see mlp.data.load_synth
    axes.contour(x, y, ellipse, [0], colors="black", linestyles="dashed", linewidths=1)
    axes.plot([], [], color="black", lw=1, ls="dashed", label="true ellipse")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, markerscale=2)
    return page


def mistakes(place):
    """What the final runs confuse, and the images that they get wrong most confidently."""
    dataset = facts.mnist(final=True)
    p, labels = facts.final_predictions(place, "free")
    mean = p.mean(axis=0)
    worst = predictions.confident_mistakes(mean, labels)[:16]
    page = Figure(figsize=(TEXT, 3.4))
    left, right = page.subfigures(1, 2, width_ratios=(5, 6))
    predictions.draw_confusion(left, facts.confusion(p, labels), "test", dataset.classes)
    images = dataset.held_out[0][worst].reshape(-1, *dataset.shape)
    predictions.draw_mistakes(right, images, labels[worst], mean[worst], dataset.classes)
    return page


# Losses and seeds


def curves(metrics, *names, **options):
    return lambda place: plot_curves(place.sweep(*names), metrics, notes=False, **options)


def spread(metrics, runs=slice(None), smooth=False, **limits):
    """Curves of the runs whose spread we show, or of some of them."""

    def plot(place):
        folders = [run.folder for run in facts.spread_group(place).counted[runs]]
        options = {"smooth": facts.window(place) if smooth else 1} if metrics == "loss" else {}
        options |= {} if place.quick else limits
        return plot_curves(read_sweep(folders), metrics, notes=False, **options)

    return plot


# Hyperparameters


def accuracy_against(x, *names, by=()):
    def plot(place):
        page = plot_sensitivity(place.sweep(*names, by=by), x, notes=False)
        if not place.quick:
            page.axes[0].set_ylim(facts.FLOOR, 0.99)
        return page

    return plot


# The search


def search_rounds(place):
    """Each candidate's mean validation accuracy in every round it entered."""
    page = Figure(figsize=(TEXT, 2.9))
    axes = page.subplots()
    rounds = (
        search.scores(place, 0),
        search.before_third(place, "free"),
        search.fresh(place, "free"),
    )
    styles = dict(zip(search.FAMILIES, figure.group_styles(4), strict=True))
    for name, settings in search.draw(search.size(place).drawn).items():
        kind = search.family(settings)
        means = [np.mean(scores[name]) for scores in rounds if name in scores]
        x = np.arange(len(means)) + 0.08 * (search.FAMILIES.index(kind) - 1.5)
        look = {"lw": 0.8, "alpha": 1 if name in rounds[-1] else 0.5}
        axes.plot(x, means, **styles[kind] | look)
    sizes = search.size(place)
    words = [
        f"round 1: {len(rounds[0])} candidates,\n{len(sizes.seeds[0])} seed each",
        f"round 2: the best {len(rounds[1])},\n{len(sizes.seeds[1])} more seeds each",
        f"round 3: the best {len(rounds[2])},\n{len(sizes.seeds[2])} fresh seeds each",
    ]
    axes.set_xticks(range(3), words)
    axes.set_ylabel("mean val accuracy")
    if not place.quick:
        axes.set_ylim(facts.SEARCH_FLOOR, 0.989)
    lines = [figure.legend_entry([], kind, style) for kind, style in styles.items()]
    axes.legend(handles=lines, loc="lower right")
    return page


FIGURES = {
    "synth": synth,
    "synth-loss": curves("train_loss", "scalar"),
    "boundary": boundary,
    "mnist": mnist,
    "batch-loss": spread("loss", slice(1)),
    "batch-loss-smooth": spread("loss", slice(1), smooth=True),
    "gap": spread(["train_loss", "val_loss"], xlim=(1, 5.1), ylim=(0, 0.2)),
    "seeds-accuracy": spread("val_accuracy", xlim=(1, 5.1), ylim=(0.95, 0.99)),
    "seeds-step": spread("loss"),
    "seeds-window": spread("loss", smooth=True),
    "rates-one": curves("val_loss", "lr", log="y"),
    "rates-many": curves("val_loss", "batch32", log="y"),
    "sensitivity": accuracy_against("lr", "lr", "beyond", "batch32", by=("batch_size", "lr")),
    "hidden": accuracy_against("model.hidden_sizes", "hidden"),
    "batch": accuracy_against("lr", "batch", by=("batch_size", "lr")),
    "activation": accuracy_against("lr", "activation", by=("model.activation", "lr")),
    "search": search_rounds,
    "mistakes": mistakes,
}
