"""What a trained network makes of a dataset: probabilities, confusion, mistakes, boundary."""

from math import ceil

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap
from scipy.special import softmax

from mlp.errors import UserError
from mlp.network import MLP
from mlp.run_folder import Damaged, read_checkpoint, read_result

from . import figure

BATCH = 512  # examples at once
HELD_OUT = {"val": "validation", "test": "test"}
MISTAKES = (4, 4)  # rows and columns of images
MANY = 40  # classes that numbers, names and lines have room for
MOST = 500  # classes that a figure of predictions can show


# From a run's folder to its network


def run_config(folder):
    """The nested configuration of the run in folder. Raises UserError."""
    try:
        return read_result(folder)["config"]
    except FileNotFoundError:
        raise UserError(
            f"{folder} is not a run folder, or its run has not ended: no readable result.json"
        ) from None
    except Damaged as damage:
        raise UserError(f"{folder}: {damage}") from None


def load_network(folder):
    """The MLP of the run in folder, as its last checkpoint has it. Raises UserError.

    A network of plain Python becomes an MLP of sigmoid units.
    """
    config = run_config(folder)
    path = f"{folder}/checkpoint.npz"
    try:
        arrays = read_checkpoint(folder)
        hidden_sizes = config["model"]["hidden_sizes"]
        n_classes = len(arrays[f"bias_{len(hidden_sizes)}"])
        sizes = [len(arrays["weights_0"]), *hidden_sizes, n_classes]
        activation = config["model"].get("activation", "sigmoid")
        network = MLP(sizes, activation, config["dtype"])
        for name, view in network.named(network.params).items():
            if arrays[name].shape != view.shape:
                raise ValueError(name)
            view[...] = arrays[name]
    except (Damaged, ValueError, LookupError, TypeError, AttributeError):
        raise UserError(f"{path} is missing, or does not hold the network of this run") from None
    if not np.isfinite(network.params).all():
        raise UserError(f"{path}: not all parameters are finite; there is nothing to predict with")
    return network


# From a network to numbers


def probabilities(network, inputs):
    """The probability of each class, (n, n_classes), for normalised inputs (n, n_features)."""
    batches = np.array_split(inputs, max(1, ceil(len(inputs) / BATCH)))
    with np.errstate(over="ignore", invalid="ignore"):
        logits = np.concatenate([network.forward(batch).copy() for batch in batches])
    return softmax(logits, axis=-1)


def predict(network, dataset):
    """Probabilities (n, n_classes) for the held-out examples, and their labels (n,)."""
    inputs, labels = dataset.held_out
    return probabilities(network, dataset.normalised(inputs, network.params.dtype)), labels


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


# From numbers to a figure


def draw_boundary(part, axes, network, colours, classes):
    """Where the most probable class changes, and behind it how probable that class is."""
    left, right, bottom, top = edges = [*axes.get_xlim(), *axes.get_ylim()]
    x, y = np.linspace(left, right, 300), np.linspace(bottom, top, 300)
    grid = np.stack(np.meshgrid(x, y), axis=-1)
    p = probabilities(network, grid.reshape(-1, 2).astype(network.params.dtype))
    p = p.reshape(*grid.shape[:2], -1)
    axes.imshow(tint(p, colours), extent=edges, origin="lower")
    if len(colours) <= MANY:
        for label in range(1, len(colours)):
            lead = p[..., label] - np.delete(p, label, axis=-1).max(axis=-1)
            axes.contour(x, y, lead, [0], colors="black", linewidths=1)
        axes.plot([], [], color="black", lw=1, label="decision boundary")
    if len(colours) == 2:
        p = np.linspace(0, 1, 256)
        colormap = ListedColormap(tint(np.stack([1 - p, p], axis=-1), colours))
        part.colorbar(
            ScalarMappable(cmap=colormap), ax=axes, label=f"probability of class {classes[1]}"
        )


def tint(p, colours):
    """The most probable class's colour, lightly, and white where all are equal, (..., 3).

    p (..., n_classes): probabilities; colours: RGB from 0 to 1, of each class.
    """
    n_classes = len(colours)
    certainty = (n_classes * p.max(axis=-1, keepdims=True) - 1) / (n_classes - 1)
    return 1 - 0.4 * certainty * (1 - np.array(colours)[p.argmax(axis=-1)])


def draw_predictions(part, dataset, network):
    """The confusion matrix on the held-out examples and, of images, the most confident mistakes."""
    p, labels = predict(network, dataset)
    counts = confusion(labels, p.argmax(axis=-1), dataset.n_classes)
    if len(dataset.shape) == 2:
        part, right = part.subfigures(1, 2)
        worst = confident_mistakes(p, labels)[: np.prod(MISTAKES)]
        images = dataset.held_out[0][worst].reshape(-1, *dataset.shape)
        draw_mistakes(right, images, labels[worst], p[worst], dataset.classes)
    draw_confusion(part, counts, HELD_OUT[dataset.held_out_name], dataset.classes)


def draw_confusion(part, counts, held_out, classes):
    """Counts (n_classes, n_classes) as text, on shades of their logarithm."""
    axes = part.subplots()
    shades = np.log1p(counts) / np.log1p(counts.max())
    axes.imshow(shades, cmap="Greys", vmax=1.25)
    size = min(6, 60 / len(counts))  # points
    for (true, predicted), count in np.ndenumerate(counts) if len(counts) <= MANY else ():
        ink = "white" if shades[true, predicted] > 0.7 else "black" if count else "0.7"
        axes.text(predicted, true, f"{count}", color=ink, ha="center", va="center", size=size)
    right, n = counts.trace(), counts.sum()
    part.suptitle(f"{right:,} of {n:,} {held_out} examples right: {right / n:.2%}", size=8)
    axes.set(xlabel="predicted class", ylabel="true class")
    for axis in axes.xaxis, axes.yaxis:
        figure.name_classes(axis, classes)
    axes.grid(False)


def draw_mistakes(part, images, labels, p, classes):
    """Images (n, height, width), each with its true and its predicted class."""
    part.suptitle("the most confident mistakes", size=8)
    for axes in part.subplots(*MISTAKES).flat:
        axes.axis("off")
    for axes, image, label, p_classes in zip(part.axes[: len(p)], images, labels, p, strict=True):
        axes.imshow(image, cmap="gray_r")
        predicted = p_classes.argmax()
        named = f"true {classes[label]}\npredicted {classes[predicted]}: {p_classes[predicted]:.1%}"
        axes.set_title(named, size=6)
