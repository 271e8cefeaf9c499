"""What analysis.dataset counts, predicts and draws, and how it refuses."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from analysis import dataset as command
from analysis import predictions
from analysis.dataset import default_settings, plot_dataset, run_settings
from analysis.predictions import MANY, load_network, predict, probabilities
from mlp.data import Dataset, Npz
from mlp.network import MLP

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run of each model on few synthetic points: {"mlp": folder, "scalar": folder}."""
    where = tmp_path_factory.mktemp("runs")
    settings = "dataset.num_train=2000 dataset.num_val=300 dataset.seed=5 epochs=1 name=few"
    arguments = ["-m", "model=mlp,scalar", "model.hidden_sizes=[4]", *settings.split()]
    subprocess.run([sys.executable, ROOT / "run.py", *arguments], cwd=where, check=True)
    results = where.glob("outputs/few/*/result.json")
    return {
        json.loads(path.read_text())["config"]["model"]["name"]: path.parent for path in results
    }


@pytest.fixture
def folder(runs, tmp_path):
    """A run folder to spoil."""
    return shutil.copytree(runs["mlp"], tmp_path / "run")


@pytest.fixture
def linear():
    """A network without hidden layer: weights (n_in, n_out), bias (n_out,) -> MLP."""

    def linear(weights, bias):
        network = MLP(np.shape(weights), dtype=np.float64)
        parts = network.named(network.params)
        parts["weights_0"][...], parts["bias_0"][...] = weights, bias
        return network

    return linear


@pytest.fixture
def images():
    """2 x 2 pixels of three classes: the pixel of that number is 200, of 255 at most."""
    labels = np.array([0, 1, 2, 2, 1, 0], np.uint8)
    inputs = np.zeros((6, 4), np.uint8)
    inputs[np.arange(6), labels] = 200
    inputs[-1, 3] = 255
    return Dataset((inputs, labels), (inputs, labels), 3, 0.0, 1 / 255, shape=(2, 2))


def texts(axes):
    return [text.get_text() for text in axes.texts]


# What is loaded


def test_without_a_run_the_settings_are_the_defaults_of_the_configuration():
    assert default_settings("synth").num_train == 60_000
    assert default_settings("mnist").normalize == "unit"
    assert default_settings("some/where.npz").path == "some/where.npz"


def test_with_a_run_the_settings_are_its_own(runs):
    settings = run_settings("synth", runs["mlp"])
    assert (settings.num_train, settings.num_val, settings.seed) == (2000, 300, 5)


@pytest.mark.parametrize("model", ["mlp", "scalar"])
def test_the_network_is_the_one_that_the_run_measured(runs, model):
    dataset = run_settings("synth", runs[model]).load()
    p, labels = predict(load_network(runs[model]), dataset)
    metrics = json.loads((runs[model] / "result.json").read_text())["metrics"]
    assert np.mean(p.argmax(axis=1) == labels) == metrics["val_accuracy"]
    assert np.mean(-np.log(p[np.arange(300), labels])) == pytest.approx(metrics["val_loss"], 1e-5)


def test_probabilities_are_the_same_in_one_batch_or_in_many(linear):
    network = linear([[1.0, -1.0, 0.5]], [0.0, 0.3, 0.0])
    inputs = np.linspace(-3, 3, 2 * predictions.BATCH + 1).reshape(-1, 1)
    exps = np.exp(inputs * [1, -1, 0.5] + [0, 0.3, 0])
    p = exps / exps.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(probabilities(network, inputs), p, rtol=1e-12)


# What is counted


def test_counts_and_ranges_are_told(images):
    images.held_out = images.held_out[0][:2], images.held_out[1][:2]
    images.held_out_name = "test"
    assert command.describe(images).splitlines() == [
        "4 features, from 0 to 255 as stored, from 0 to 1 as a network sees them",
        "class   training       test",
        "    0          2          1",
        "    1          2          1",
        "    2          2          0",
        "  all          6          2",
    ]


def test_confusion_has_a_row_for_each_true_class():
    labels, predicted = np.array([0, 0, 2, 2, 2], np.uint8), np.array([0, 1, 1, 1, 2])
    assert predictions.confusion(labels, predicted, 3).tolist() == [[1, 1, 0], [0, 0, 0], [0, 2, 1]]


def test_mistakes_are_the_wrong_ones_surest_first():
    p = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.3, 0.7]])
    assert predictions.confident_mistakes(p, np.array([0, 1, 0, 1])).tolist() == [2, 1]


# What is drawn


def test_examples_stand_in_the_row_of_their_class(images):
    page = plot_dataset(images)
    grid = page.axes[3].images[0].get_array()
    assert grid.shape == (3 * 2, command.PER_CLASS * 2)
    for label in range(3):
        pixels = grid[2 * label : 2 * label + 2, :4].reshape(2, 2, 2).swapaxes(0, 1).reshape(2, 4)
        assert (pixels[:, label] == 200).all() and (np.delete(pixels[:, :3], label, 1) == 0).all()


def test_predictions_are_drawn_as_confusion_matrix_and_mistakes(images, linear):
    to_class_1 = [[0, 2, 0], [0, 2, 0], [0, 0, 5], [0, 0, 0]]  # both of 0 are taken for 1
    page = plot_dataset(images, linear(to_class_1, [0, 0, 0]))
    matrix = next(axes for axes in page.axes if axes.get_ylabel() == "true class")
    assert texts(matrix) == ["0", "2", "0", "0", "2", "0", "0", "0", "2"]
    assert "4 of 6 validation examples right: 66.67%" in [
        part._suptitle.get_text() for part in page.findobj(lambda a: getattr(a, "_suptitle", None))
    ]
    p = np.exp(2 * 200 / 255) / (np.exp(2 * 200 / 255) + 2)
    titles = [axes.get_title() for axes in page.axes if axes.get_title().startswith("true")]
    assert titles == [f"true 0\npredicted 1: {p:.1%}"] * 2


def test_classes_have_their_names_everywhere(images, linear):
    images.classes = "cat", "dog", "barn owl"
    lines = command.describe(images).splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["class", "cat", "dog", "barn", "all"]
    page = plot_dataset(images, linear([[0, 2, 0], [0, 2, 0], [0, 0, 5], [0, 0, 0]], [0, 0, 0]))
    page.canvas.draw()
    bars, *_, rows, matrix = (
        axes for axes in page.axes if "class" in axes.get_ylabel() or axes.get_xlabel() == "class"
    )
    for axis in bars.xaxis, rows.yaxis, matrix.xaxis, matrix.yaxis:
        shown = [text.get_text() for text in axis.get_ticklabels()]
        assert [text for text in shown if text] == ["cat", "dog", "barn owl"]
    titles = [axes.get_title() for axes in page.axes if axes.get_title().startswith("true")]
    assert all(title.startswith("true cat\npredicted dog: ") for title in titles) and titles


def test_pictures_need_not_be_square(linear):
    inputs = np.arange(12, dtype=np.uint8).reshape(2, 6)
    wide = Dataset((inputs, np.array([0, 1])), (inputs, np.array([1, 0])), 2, shape=(2, 3))
    page = plot_dataset(wide, linear(np.zeros((6, 2)), [1, 0]))
    (mistake,) = [axes for axes in page.axes if axes.get_title().startswith("true 1")]
    np.testing.assert_array_equal(mistake.images[0].get_array(), [[0, 1, 2], [3, 4, 5]])


@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_decision_boundary_is_where_the_two_most_probable_classes_meet(linear, n_classes):
    points = np.random.default_rng(0).normal(size=(50, 2)) * 100 + 500
    labels = np.arange(50) % n_classes
    dataset = Dataset((points + 1, labels), (points, labels), n_classes, offset=500, scale=0.01)
    # class 1 against class 0: 3 x1 + x2 = 0.6; class 2, if there is one, has no chance
    network = linear([[0, 3, 0], [0, 1, 0]], [0, -0.6, -99])
    if n_classes == 2:
        network = linear([[0, 3], [0, 1]], [0, -0.6])
    page = plot_dataset(dataset, network)
    axes = next(axes for axes in page.axes if axes.get_xlabel().startswith("feature 1"))
    corners = np.concatenate([contour.get_paths()[0].vertices for contour in axes.collections])
    assert len(corners) > 100
    np.testing.assert_allclose(corners @ [3, 1], 0.6, atol=1e-2)
    assert axes.get_aspect() == plot_dataset(dataset).axes[-1].get_aspect() == 1
    drawn = np.concatenate([line.get_xydata() for line in axes.lines[:n_classes]])
    expected = (points - 500) / 100
    np.testing.assert_allclose(np.sort(drawn, axis=0), np.sort(expected, axis=0))


def test_shading_is_white_in_doubt_and_the_colour_of_the_class_otherwise():
    red, blue = (1, 0, 0), (0, 0, 1)
    doubt, first, second = predictions.tint(np.array([[0.5, 0.5], [1, 0], [0.1, 0.9]]), [red, blue])
    np.testing.assert_allclose(doubt, 1)
    np.testing.assert_allclose(first, [1, 0.6, 0.6])
    assert second[2] == 1 and 0.6 < second[0] == second[1] < 0.7


@pytest.mark.parametrize("n_classes", [MANY, MANY + 1, pytest.param(300, marks=pytest.mark.slow)])
def test_many_classes_are_drawn_without_their_names(linear, n_classes):
    rng = np.random.default_rng(0)
    for n_features in 2, 5:
        x, y = rng.normal(size=(600, n_features)), np.arange(600) % n_classes
        dataset = Dataset((x, y), (x, y), n_classes)
        network = linear(rng.normal(size=(n_features, n_classes)), np.zeros(n_classes))
        page = plot_dataset(dataset, network)
        assert len(page.axes[0].patches) == (2 * n_classes if n_classes <= MANY else 2)
        axes = next(a for a in page.axes if a.get_xlabel().startswith(("feature 1", "predicted")))
        if n_features == 2:
            drawn = sum(len(line.get_xdata()) for line in axes.lines)
            assert drawn == 600 and bool(axes.get_legend()) == (n_classes <= MANY)
        else:
            assert len(axes.texts) == (n_classes**2 if n_classes <= MANY else 0)
            assert axes.images[0].get_array().shape == (n_classes, n_classes)


def test_predictions_of_thousands_of_classes_are_refused(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(command, "MOST", 1)
    line = refused(["synth", "--run", folder], capsys)
    assert line == "synth: predictions are drawn for 1 classes at most"


@pytest.mark.parametrize(
    ("stored", "how"),
    [*((t, "none") for t in "?bBhHiIlLefdg"), ("e", "unit"), ("f", "unit"), ("L", "standard")],
)
def test_every_type_of_stored_numbers_is_drawn(tmp_path, linear, stored, how, recwarn, capsys):
    dtype = np.dtype(stored)
    highest = np.iinfo(dtype).max if dtype.kind in "iu" else {"e": 4e4, "?": 1}.get(stored, 3e38)
    x = np.clip(np.random.default_rng(0).normal(size=(60, 2)) / 4, -0.99, 0.99)
    x = x > 0 if stored == "?" else (abs(x) if dtype.kind == "u" else x) * float(highest)
    np.savez(tmp_path / "my.npz", x_train=x.astype(dtype), y_train=(np.arange(60) % 2).astype("L"))
    dataset = Npz(path=str(tmp_path / "my.npz"), seed=0, final=False, normalize=how).load()
    network = linear([[1.0, -1.0], [0.5, 0.0]], [0.0, 0.0]) if stored in "eLg" else None
    plot_dataset(dataset, network).draw_without_rendering()
    assert "inf" not in command.describe(dataset) and "nan" not in command.describe(dataset)
    assert not recwarn.list


# The command


def test_the_figure_goes_beside_the_run_unless_told_otherwise(runs, capsys):
    command.main(["synth", "--run", str(runs["scalar"])])
    figure = runs["scalar"] / "dataset-synth.png"
    assert figure.read_bytes().startswith(b"\x89PNG")
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("synth: 2 features") and printed[-1] == f"wrote {figure}"
    assert printed[-2].split() == ["all", "2,000", "300"]


def test_a_file_of_ones_own(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    labels = np.arange(40) % 3
    np.savez("mine.npz", x_train=np.random.default_rng(0).normal(size=(40, 5)), y_train=labels)
    command.main(["mine.npz"])
    assert (tmp_path / "dataset-mine.png").exists()
    command.main(["mine.npz", "--out", "mine.pdf"])
    assert (tmp_path / "mine.pdf").read_bytes().startswith(b"%PDF")
    assert "all         32          8" in capsys.readouterr().out


def refused(arguments, capsys):
    """The one line with which the command refuses."""
    with pytest.raises(SystemExit) as end:
        command.main([str(argument) for argument in arguments])
    assert end.value.code != 0
    (line,) = capsys.readouterr().err.splitlines()
    return line.removeprefix("python -m analysis.dataset: ")


@pytest.mark.parametrize(
    "arguments, line",
    [
        (["mnits"], "did you mean mnist"),
        (
            ["nothing"],
            "mnist, fashion_mnist, digits, iris, wine, breast_cancer, FILE.npz, FILE.csv",
        ),
        (["npz"], "known are"),
        (["nothing.npz"], "nothing.npz does not exist"),
        (["synth", "--run", "nowhere"], "nowhere is not a run folder"),
        (["synth", "--out", "nowhere/synth.png"], "nowhere is no folder"),
        (["synth", "--out", "synth.xyz"], "must be one of png"),
    ],
)
def test_a_wrong_name_folder_or_file_is_refused_in_one_line(arguments, line, capsys):
    assert line in refused(arguments, capsys)


def test_a_figure_that_cannot_be_written(runs, tmp_path, capsys):
    (tmp_path / "folder.png").mkdir()
    run = ["--run", runs["mlp"]]
    assert "folder.png" in refused(["synth", *run, "--out", tmp_path / "folder.png"], capsys)


def test_a_run_on_another_dataset(runs, capsys):
    assert refused(["mnist", "--run", runs["mlp"]], capsys).endswith(
        "is a run on synth, not on mnist"
    )


def test_data_that_cannot_be_read(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("MLP_DATA_DIR", str(tmp_path))
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / "train-images-idx3-ubyte").write_text("not images")
    assert "train-images-idx3-ubyte can't be used" in refused(["mnist"], capsys)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", None])
def test_a_checkpoint_that_is_damaged_or_missing(folder, content, capsys):
    checkpoint = folder / "checkpoint.npz"
    checkpoint.unlink() if content is None else checkpoint.write_bytes(content)
    assert f"{checkpoint} is missing, or" in refused(["synth", "--run", folder], capsys)


def test_a_checkpoint_of_a_narrower_network(folder, capsys):
    state = dict(np.load(folder / "checkpoint.npz"))
    narrow = {"weights_0": state["weights_0"][:, :1], "bias_0": state["bias_0"][:1]}
    np.savez(folder / "checkpoint.npz", **(state | narrow))  # NumPy would stretch it over all units
    line = refused(["synth", "--run", folder], capsys)
    assert "does not hold the network of this run" in line


def test_parameters_that_diverged(folder, capsys):
    state = dict(np.load(folder / "checkpoint.npz"))
    state["weights_0"][0, 0] = np.nan
    np.savez(folder / "checkpoint.npz", **state)
    assert "not all parameters are finite" in refused(["synth", "--run", folder], capsys)


def test_a_result_that_is_no_configuration(folder, capsys):
    path = folder / "result.json"
    for content in ("{", '{"config": {"sede": 1}}'):
        path.write_text(content)
        line = refused(["synth", "--run", folder], capsys)
        assert line == f"{folder}: result.json is not what a run writes"
    path.unlink()
    assert "no readable result.json" in refused(["synth", "--run", folder], capsys)


def change(folder, group, **values):
    """Change settings of a group in a run's result, and drop those that are to be 'drop'."""
    path = folder / "result.json"
    result = json.loads(path.read_text())
    settings = result["config"][group] | values
    result["config"][group] = {k: v for k, v in settings.items() if v != "drop"}
    path.write_text(json.dumps(result))


def test_only_the_settings_that_matter_are_read(folder):
    result = json.loads((folder / "result.json").read_text())
    del result["config"]["optimizer"], result["config"]["lr"], result["config"]["schedule"]
    result["config"]["sede"] = 1
    (folder / "result.json").write_text(json.dumps(result))
    change(folder, "model", init="forgotten", flavour="sour")
    change(folder, "dataset", normalize="drop", noise=None, shuffled=False)
    command.main(["synth", "--run", str(folder)])
    assert run_settings("synth", folder).normalize == "none"


def test_a_setting_that_the_data_depended_on_and_that_is_unknown(folder, capsys):
    change(folder, "dataset", noise=0.1)
    line = refused(["synth", "--run", folder], capsys)
    assert line == f"{folder} set dataset.noise, which this version of the program lacks"


@pytest.mark.parametrize(
    ("group", "values", "what"),
    [
        ("dataset", {"num_train": -1}, "run: dataset.num_train must be"),
        ("model", {"hidden_sizes": [5]}, "does not hold the network of this run"),
        ("model", {"hidden_sizes": [4, 4]}, "does not hold the network of this run"),
        ("model", {"hidden_sizes": None}, "does not hold the network of this run"),
        ("model", {"activation": "step"}, "does not hold the network of this run"),
    ],
)
def test_settings_that_cannot_be(folder, group, values, what, capsys):
    change(folder, group, **values)
    assert what in refused(["synth", "--run", folder], capsys)


def test_data_of_another_shape_than_the_networks(folder, tmp_path, capsys):
    result = json.loads((folder / "result.json").read_text())
    result["config"]["dataset"] = dict(name="npz", path="a.npz", seed=0, normalize="none")
    (folder / "result.json").write_text(json.dumps(result))
    np.savez(tmp_path / "a.npz", x_train=np.zeros((9, 5)), y_train=np.arange(9) % 3)
    line = refused([tmp_path / "a.npz", "--run", folder], capsys)
    assert "a network of 2 features and 2 classes" in line and "has 5 and 3" in line
