"""Look at a dataset, and at what a trained network makes of it: one figure, and the counts as text.

The figure shows class counts and values. If the data are images, it shows some of each class. If
there are two features, it shows the points. With a network it also shows its predictions.
"""

from pathlib import Path
from textwrap import fill

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from mlp.data import DATASETS
from mlp.errors import UserError
from mlp.experiment import make_config

from . import command, figure, predictions
from .predictions import HELD_OUT, MANY, MOST
from .sweep import check_word

FILES = {".npz": "npz", ".csv": "csv"}  # a file's kind, by its name
NAMES = [source.name for source in DATASETS if source.name not in FILES.values()]
NAMES += [f"FILE{kind}" for kind in FILES]
WIDTH = 7  # inches: both columns of a two-column page
SAMPLE = 2_000  # examples drawn as points or counted in a histogram; more would show no more
PER_CLASS = 20  # images of each class


def main(argv=None):
    parser = command.Parser(
        "dataset",
        "Counts and draws the classes and values of a dataset, and shows images or points of each "
        "class. With a run, it shows what the network makes of the held-out examples: the decision "
        "boundary, or the confusion matrix and the most confident mistakes.",
        "mnist --run outputs/mnist/2026-01-31_12-00-00 --out mnist.pdf",
    )
    parser.add_argument("name", metavar="NAME", help=f"one of {', '.join(NAMES)}")
    parser.add_argument("--run", metavar="RUN_FOLDER", help="a run on this dataset")
    parser.add_argument(
        "--out",
        metavar="FILE",
        help=".png, .pdf or .svg; default: dataset-NAME.png in RUN_FOLDER, or else here",
    )
    args = parser.parse_args(argv)
    with parser.errors_in_one_line():
        name, run = args.name, args.run
        settings = run_settings(name, run) if run else default_settings(name)
        network = predictions.load_network(run) if run else None
        path = command.out_path(args.out, run or ".", f"dataset-{Path(name).stem}")
        dataset = settings.load()
        shape = dataset.n_features, dataset.n_classes
        if network and (network.sizes[0], network.sizes[-1]) != shape:
            raise UserError(
                f"{run} is a network of {network.sizes[0]} features and {network.sizes[-1]} "
                f"classes; {name} has {shape[0]} and {shape[1]}"
            )
        if network and dataset.n_classes > MOST:
            raise UserError(f"{name}: predictions are drawn for {MOST} classes at most")
        print(f"{name}: {describe(dataset)}")
        page = plot_dataset(dataset, network)
        title = f"{Path(name).name}, run {Path(run).resolve().name}" if run else Path(name).name
        page.suptitle(fill(title, 100), size=9)
        figure.literal(page)
        page.savefig(path)
        print(f"wrote {path}")


# From a name to data


def default_settings(name):
    """The settings of a dataset by name, or of a file. Raises UserError."""
    if kind := FILES.get(Path(name).suffix):
        return make_config(dataset={"name": kind, "path": name}).dataset
    check_word("name", name, NAMES)
    return make_config(dataset=name).dataset


def run_settings(name, run):
    """The settings of the dataset `name` in the run of a folder. Raises UserError.

    A setting that the run lacks has today's default. A setting that today's program lacks is an
    error, unless the run had it off: null, false or 0.
    """
    today, old = default_settings(name), predictions.run_config(run).get("dataset")
    old = old if isinstance(old, dict) else {"name": old}
    trained_on = old.get("path", old.get("name"))
    if Path(str(trained_on)).name != Path(name).name:
        raise UserError(f"{run} is a run on {trained_on}, not on {name}")
    unknown = old.keys() - {"name"} - vars(today).keys()
    if lost := [
        f"dataset.{key}" for key in old if key in unknown and old[key] not in (None, False)
    ]:
        raise UserError(f"{run} set {', '.join(lost)}, which this version of the program lacks")
    settings = {key: value for key, value in old.items() if key not in unknown}
    if "path" in settings:  # the file may have moved
        settings["path"] = name
    try:
        return make_config(dataset=settings).dataset
    except UserError as error:
        raise UserError(f"{run}: {error}") from None


# From data to numbers


def class_counts(dataset):
    """Training and held-out examples of each class, (2, n_classes)."""
    parts = dataset.train, dataset.held_out
    return np.array([np.bincount(labels, minlength=dataset.n_classes) for _, labels in parts])


def value_ranges(dataset):
    """Least and greatest training input, as stored and as a network sees it: two pairs."""
    inputs = dataset.train[0]
    return (float(inputs.min()), float(inputs.max())), dataset.ranges[0]


def sample(n):
    """At most SAMPLE of n indices, at random but always the same."""
    return np.random.default_rng(0).permutation(n)[:SAMPLE]


def describe(dataset):
    """Ranges and counts as text."""
    (low, high), (seen_low, seen_high) = value_ranges(dataset)
    counts = class_counts(dataset)
    rows = [*zip(dataset.classes, counts.T, strict=True), ("all", counts.sum(axis=1))]
    width = max(5, *map(len, dataset.classes))
    return "\n".join(
        [
            f"{dataset.n_features} features, from {low:.4g} to {high:.4g} as stored, "
            f"from {seen_low:.4g} to {seen_high:.4g} as a network sees them",
            f"{'class':>{width}} {'training':>10} {HELD_OUT[dataset.held_out_name]:>10}",
            *(f"{name:>{width}} {n_train:>10,} {n_rest:>10,}" for name, (n_train, n_rest) in rows),
        ]
    )


# From numbers to a figure


def plot_dataset(dataset, network=None):
    """The Figure of a Dataset and, with a network, of what that makes of it."""
    if dataset.n_features == 2:
        page = Figure(figsize=(WIDTH, 4.6))
        left, right = page.subfigures(1, 2, width_ratios=(2, 5))
        draw_overview(left.subplots(3, 1), dataset)
        draw_points(right, dataset, network)
        return page
    images = len(dataset.shape) == 2
    heights = [1.9] + [3.7] * images + [4.0] * bool(network)
    page = Figure(figsize=(WIDTH, sum(heights)))
    parts = page.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    draw_overview(parts[0].subplots(1, 3), dataset)
    if images:
        draw_examples(parts[1], dataset)
    if network:
        predictions.draw_predictions(parts[-1], dataset, network)
    return page


def draw_overview(three_axes, dataset):
    """Class counts, and how the inputs are distributed as stored and as a network sees them."""
    bars, stored, seen = three_axes
    classes = np.arange(dataset.n_classes)
    words = "training", HELD_OUT[dataset.held_out_name]
    for counts, word, color, place in zip(
        class_counts(dataset), words, ("0.3", "0.7"), (-0.2, 0.2), strict=True
    ):
        if dataset.n_classes <= MANY:
            bars.bar(classes + place, counts, 0.4, color=color, label=word)
        else:
            bars.stairs(counts, np.arange(dataset.n_classes + 1) - 0.5, color=color, label=word)
    bars.set(xlabel="class", ylabel="examples")
    figure.name_classes(bars.xaxis, dataset.classes)
    bars.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)

    some = dataset.train[0][sample(len(dataset.train[0]))]
    stored_range, seen_range = value_ranges(dataset)
    draw_histogram(stored, some, stored_range, "input, as stored")
    draw_histogram(seen, dataset.normalised(some, float), seen_range, "input, as a network sees it")


def draw_histogram(axes, values, limits, label):
    values = values.astype(float)
    n_bins = min(32, len(np.unique(values)))
    weights = np.full(values.size, 1 / values.size)
    axes.hist(values.ravel(), n_bins, range=limits, weights=weights, color="0.3", log=True)
    axes.set(xlabel=label, ylabel="share of inputs")
    axes.set_ylim(top=1)
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_title("from {:.4g} to {:.4g}".format(*limits))


def draw_examples(part, dataset):
    """The first images of each class, a row for each."""
    inputs, labels = dataset.train
    (height, width), margin = dataset.shape, max(dataset.shape) // 4
    grid = np.zeros((dataset.n_classes, height + margin, PER_CLASS, width + margin), inputs.dtype)
    for label, row in enumerate(grid):
        images = inputs[np.flatnonzero(labels == label)[:PER_CLASS]]
        row[:height, : len(images), :width] = images.reshape(-1, height, width).swapaxes(0, 1)
    axes = part.subplots()
    axes.imshow(grid.reshape(dataset.n_classes * (height + margin), -1), cmap="gray_r")
    axes.set(ylabel="class", title="the first training examples of each class", xticks=[])
    centres = np.arange(dataset.n_classes) * (height + margin) + height / 2
    axes.set_yticks(centres, dataset.classes)
    axes.tick_params(left=False)
    axes.grid(False)
    axes.spines[:].set_visible(False)


def draw_points(part, dataset, network):
    """Training examples by class. With a network: held-out ones, and its decision boundary."""
    inputs, labels = dataset.held_out if network else dataset.train
    shown = sample(len(inputs))
    points, labels = dataset.normalised(inputs[shown], float), labels[shown]
    styles = figure.group_styles(dataset.n_classes)
    axes = part.subplots()
    for label in range(len(styles)) if len(styles) <= MANY else np.unique(labels):
        of_class, name = points[labels == label].T, dataset.classes[label]
        looks = {"ls": "none", "ms": 2, "mew": 0.4, "fillstyle": ("full", "none")[label % 2]}
        axes.plot(*of_class, **styles[label], **looks, label=f"class {name}")  # in grey, too
    axes.set_aspect("equal")
    axes.grid(False)
    what = HELD_OUT[dataset.held_out_name] if network else "training"
    part.suptitle(f"{len(shown):,} of {len(inputs):,} {what} examples", size=8)
    axes.set(xlabel="feature 1, as a network sees it", ylabel="feature 2, as a network sees it")
    if network:
        colours = [to_rgb(style["color"]) for style in styles]
        predictions.draw_boundary(part, axes, network, colours, dataset.classes)
    if dataset.n_classes <= MANY:
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=4, markerscale=2)


if __name__ == "__main__":
    main()
