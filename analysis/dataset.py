"""Look at a dataset, and at what a trained network makes of it: one figure, and the counts as text.

The rows of the figure: class counts and values; for images, examples by class; for two features,
the points. With a network: its decision boundary among the points, or else its confusion matrix
and, for images, the mistakes that it was surest of.
"""

import json
from dataclasses import replace
from math import ceil, isqrt
from pathlib import Path
from textwrap import fill
from zipfile import BadZipFile

import numpy as np
import yaml
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter
from scipy.special import softmax

from analysis import command, figure
from analysis.runs import check_word
from mlp.config import DATASETS, check
from mlp.data import load_dataset
from mlp.errors import UserError
from mlp.inputs import Inputs
from mlp.network import MLP

CONF = Path(__file__).parents[1] / "conf" / "dataset"
IMAGES = ("mnist", "fashion_mnist", "digits")
NAMES = [*(name for name in DATASETS if name != "npz"), "FILE.npz"]
WIDTH = 7  # inches: both columns of a two-column page
SAMPLE = 2_000  # examples drawn as points or counted in a histogram; more would show no more
PER_CLASS = 20  # images of each class
MISTAKES = (4, 4)  # rows and columns of images


def main(argv=None):
    parser = command.Parser(
        "dataset",
        "How many examples of each class a dataset has, and which values; images by class, or the "
        "points of two features. With a run, what its network makes of the held-out examples: the "
        "decision boundary, or the confusion matrix and the most confident mistakes.",
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
        path = look(args.name, args.run, args.out)
        print(f"wrote {path}")


def look(name, run=None, out=None):
    """Print the counts and write the figure; gives its path. Raises UserError and OSError."""
    settings = dataset_settings(name, run)
    network = load_network(run) if run else None
    path = figure.out_path(out, [run or "."], f"dataset-{Path(name).stem}")
    dataset = load_dataset(settings)
    shape = dataset.n_features, dataset.n_classes
    if network and (network.sizes[0], network.sizes[-1]) != shape:
        raise UserError(
            f"{run} is a network of {network.sizes[0]} features and {network.sizes[-1]} classes; "
            f"{name} has {shape[0]} and {shape[1]}"
        )
    held_out = "test" if getattr(settings, "final", False) else "validation"
    print(f"{name}: {describe(dataset, held_out)}")
    page = draw(dataset, held_out, settings.name in IMAGES, network)
    title = f"{Path(name).name}, run {Path(run).resolve().name}" if run else Path(name).name
    page.suptitle(fill(title, 100), size=9)
    page.savefig(path)
    return path


# From names to data and network


def dataset_settings(name, run=None):
    """The `dataset` group of a configuration: the run's own, or else the defaults in conf/."""
    if not name.endswith(".npz"):
        check_word("NAME", name, NAMES)
    group = "npz" if name.endswith(".npz") else name
    if run is None:
        settings = DATASETS[group](**yaml.safe_load((CONF / f"{group}.yaml").read_text()))
    else:
        settings = load_config(run).dataset
        trained_on = getattr(settings, "path", settings.name)
        if Path(trained_on).name != Path(name).name:
            raise UserError(f"{run} is a run on {trained_on}, not on {name}")
    return replace(settings, path=name) if group == "npz" else settings


def load_config(folder):
    """The checked configuration of the run in folder. Raises UserError."""
    path = Path(folder, "result.json")
    try:
        return check(json.loads(path.read_bytes())["config"])
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except (OSError, ValueError, LookupError, TypeError):
        raise UserError(
            f"{folder} is not a run folder, or its run has not ended: no readable {path.name}"
        ) from None


def load_network(folder):
    """The network of the run in folder, as its last checkpoint has it. Raises UserError.

    One that was trained in plain Python becomes an MLP too, of sigmoid units.
    """
    config = load_config(folder)
    path = Path(folder, "checkpoint.npz")
    hidden_sizes = config.model.hidden_sizes
    try:
        with np.load(path) as state:
            sizes = [
                len(state["weights_0"]),
                *hidden_sizes,
                len(state[f"bias_{len(hidden_sizes)}"]),
            ]
            network = MLP(sizes, getattr(config.model, "activation", "sigmoid"), config.dtype)
            network.load_state(state)
    except (OSError, ValueError, LookupError, EOFError, BadZipFile):
        raise UserError(f"{path} is missing, or does not hold the network of this run") from None
    if not np.isfinite(network.params).all():
        raise UserError(f"{path}: not all parameters are finite; there is nothing to predict with")
    return network


# From data and network to numbers


def normalised(dataset, inputs):
    """Inputs (n, n_features) as a network sees them."""
    return (inputs - dataset.offset) * dataset.scale


def probabilities(network, inputs):
    """The probability of each class, (n, n_classes), for normalised inputs (n, n_features)."""
    inputs = inputs.astype(network.params.dtype)
    batches = np.array_split(inputs, ceil(len(inputs) / network.max_batch))
    with np.errstate(over="ignore"):  # the exp of a sigmoid may overflow, and rightly gives 0
        logits = np.concatenate([network.forward(Inputs.dense(batch)).copy() for batch in batches])
    return softmax(logits, axis=-1)


def class_counts(dataset):
    """Training and held-out examples of each class, (2, n_classes)."""
    parts = dataset.train, dataset.held_out
    return np.array([np.bincount(labels, minlength=dataset.n_classes) for _, labels in parts])


def value_ranges(dataset):
    """Least and greatest training input, as stored and as a network sees it: two pairs."""
    inputs = dataset.train[0]
    return (inputs.min(), inputs.max()), dataset.input_range()


def confusion(labels, predicted, n_classes):
    """How often a true class (row) was predicted to be which (column), (n_classes, n_classes)."""
    counts = np.zeros((n_classes, n_classes), int)
    np.add.at(counts, (labels, predicted), 1)
    return counts


def confident_mistakes(p, labels):
    """Indices of the wrongly predicted examples, the surest first.

    p (n, n_classes): probabilities; labels (n,).
    """
    wrong = np.flatnonzero(p.argmax(axis=-1) != labels)
    return wrong[np.argsort(-p[wrong].max(axis=-1), kind="stable")]


def sample(n):
    """At most SAMPLE of n indices, at random but always the same."""
    return np.random.default_rng(0).permutation(n)[:SAMPLE]


def describe(dataset, held_out):
    """Ranges and counts as text; held_out names those examples: "validation" or "test"."""
    (low, high), (seen_low, seen_high) = value_ranges(dataset)
    counts = class_counts(dataset)
    rows = [*enumerate(counts.T), ("all", counts.sum(axis=1))]
    return "\n".join(
        [
            f"{dataset.n_features} features, from {low:.4g} to {high:.4g} as stored, "
            f"from {seen_low:.4g} to {seen_high:.4g} as a network sees them",
            f"class {'training':>10} {held_out:>10}",
            *(f"{label:>5} {n_train:>10,} {n_rest:>10,}" for label, (n_train, n_rest) in rows),
        ]
    )


# From numbers to a figure


def draw(dataset, held_out, is_images, network=None):
    """The figure: points to the right of the overview, or anything else below it."""
    if dataset.n_features == 2:
        page = Figure(figsize=(WIDTH, 4.6))
        left, right = page.subfigures(1, 2, width_ratios=(2, 5))
        draw_overview(left.subplots(3, 1), dataset, held_out)
        draw_points(right, dataset, held_out, network)
        return page
    heights = [1.9] + [3.7] * is_images + [4.0] * bool(network)
    page = Figure(figsize=(WIDTH, sum(heights)))
    parts = page.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    draw_overview(parts[0].subplots(1, 3), dataset, held_out)
    if is_images:
        draw_examples(parts[1], dataset)
    if network:
        draw_predictions(parts[-1], dataset, held_out, is_images, network)
    return page


def draw_overview(three_axes, dataset, held_out):
    """Class counts, and how the inputs are distributed as stored and as a network sees them."""
    bars, stored, seen = three_axes
    classes = np.arange(dataset.n_classes)
    n_train, n_rest = class_counts(dataset)
    bars.bar(classes - 0.2, n_train, 0.4, color="0.3", label="training")
    bars.bar(classes + 0.2, n_rest, 0.4, color="0.7", label=held_out)
    bars.set(xlabel="class", ylabel="examples")
    bars.xaxis.set_major_locator(MaxNLocator(12, integer=True))
    bars.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)

    some = dataset.train[0][sample(len(dataset.train[0]))]
    stored_range, seen_range = value_ranges(dataset)
    draw_histogram(stored, some, stored_range, "input, as stored")
    draw_histogram(seen, normalised(dataset, some), seen_range, "input, as a network sees it")


def draw_histogram(axes, values, limits, label):
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
    n_classes, side = dataset.n_classes, isqrt(dataset.n_features)
    cell = side + side // 4
    grid = np.zeros((n_classes, cell, PER_CLASS, cell), inputs.dtype)
    for label in range(n_classes):
        images = inputs[np.flatnonzero(labels == label)[:PER_CLASS]]
        grid[label, :side, : len(images), :side] = images.reshape(-1, side, side).swapaxes(0, 1)
    axes = part.subplots()
    axes.imshow(grid.reshape(n_classes * cell, -1), cmap="gray_r")
    axes.set(ylabel="class", title="the first training examples of each class", xticks=[])
    axes.set_yticks(np.arange(n_classes) * cell + side / 2, range(n_classes))
    axes.tick_params(left=False)
    axes.grid(False)
    axes.spines[:].set_visible(False)


def draw_points(part, dataset, held_out, network):
    """Training examples by class; or, with a network, held-out ones and its decision boundary."""
    inputs, labels = dataset.held_out if network else dataset.train
    shown = sample(len(inputs))
    points, labels = normalised(dataset, inputs[shown]), labels[shown]
    styles = figure.group_styles(dataset.n_classes)
    axes = part.subplots()
    for label, style in enumerate(styles):
        of_class = points[labels == label].T
        axes.plot(*of_class, **style, ls="none", ms=2, mew=0, label=f"class {label}")
    axes.set_aspect("equal")
    axes.grid(False)
    name = held_out if network else "training"
    part.suptitle(f"{len(shown):,} of {len(inputs):,} {name} examples", size=8)
    axes.set(xlabel="feature 1, as a network sees it", ylabel="feature 2, as a network sees it")
    if network:
        draw_boundary(part, axes, network, [to_rgb(style["color"]) for style in styles])
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=4, markerscale=2)


def draw_boundary(part, axes, network, colours):
    """Where the most probable class changes, and behind it how probable that class is."""
    left, right, bottom, top = edges = [*axes.get_xlim(), *axes.get_ylim()]
    x, y = np.linspace(left, right, 300), np.linspace(bottom, top, 300)
    grid = np.stack(np.meshgrid(x, y), axis=-1)
    p = probabilities(network, grid.reshape(-1, 2)).reshape(*grid.shape[:2], -1)
    axes.imshow(tint(p, colours), extent=edges, origin="lower")
    for label in range(1, len(colours)):
        lead = p[..., label] - np.delete(p, label, axis=-1).max(axis=-1)
        axes.contour(x, y, lead, [0], colors="black", linewidths=1)
    axes.plot([], [], color="black", lw=1, label="decision boundary")
    if len(colours) == 2:
        p = np.linspace(0, 1, 256)
        colormap = ListedColormap(tint(np.stack([1 - p, p], axis=-1), colours))
        part.colorbar(ScalarMappable(cmap=colormap), ax=axes, label="probability of class 1")


def tint(p, colours):
    """The most probable class's colour, lightly, and white where all are equal, (..., 3).

    p (..., n_classes): probabilities; colours: RGB from 0 to 1, of each class.
    """
    n_classes = len(colours)
    certainty = (n_classes * p.max(axis=-1, keepdims=True) - 1) / (n_classes - 1)
    return 1 - 0.4 * certainty * (1 - np.array(colours)[p.argmax(axis=-1)])


def draw_predictions(part, dataset, held_out, is_images, network):
    """The confusion matrix on the held-out examples and, of images, the most confident mistakes."""
    inputs, labels = dataset.held_out
    p = probabilities(network, normalised(dataset, inputs))
    counts = confusion(labels, p.argmax(axis=-1), dataset.n_classes)
    if is_images:
        part, right = part.subfigures(1, 2)
        worst = confident_mistakes(p, labels)[: np.prod(MISTAKES)]
        draw_mistakes(right, inputs[worst], labels[worst], p[worst])
    draw_confusion(part, counts, held_out)


def draw_confusion(part, counts, held_out):
    """Counts (n_classes, n_classes) as text, on shades of their logarithm."""
    axes = part.subplots()
    shades = np.log1p(counts) / np.log1p(counts.max())
    axes.imshow(shades, cmap="Greys", vmax=1.25)
    size = min(6, 60 / len(counts))  # points
    for (true, predicted), count in np.ndenumerate(counts):
        ink = "white" if shades[true, predicted] > 0.7 else "black" if count else "0.7"
        axes.text(predicted, true, f"{count}", color=ink, ha="center", va="center", size=size)
    right, n = counts.trace(), counts.sum()
    part.suptitle(f"{right:,} of {n:,} {held_out} examples right: {right / n:.2%}", size=8)
    axes.set(xlabel="predicted class", ylabel="true class")
    for axis in axes.xaxis, axes.yaxis:
        axis.set_major_locator(MaxNLocator(12, integer=True))
    axes.grid(False)


def draw_mistakes(part, inputs, labels, p):
    """Images (n, n_features), each with its true and its predicted class."""
    part.suptitle("the most confident mistakes", size=8)
    side = isqrt(inputs.shape[1])
    for axes in part.subplots(*MISTAKES).flat:
        axes.axis("off")
    for axes, image, label, p_classes in zip(part.axes[: len(p)], inputs, labels, p, strict=True):
        axes.imshow(image.reshape(side, side), cmap="gray_r")
        predicted = p_classes.argmax()
        axes.set_title(f"true {label}\npredicted {predicted}: {p_classes[predicted]:.1%}", size=6)


if __name__ == "__main__":
    main()
