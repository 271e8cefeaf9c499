"""What the tools read back is what the runs' logs say, at the same steps, and never twice."""

import json
import shutil
import sys

import numpy as np
import pandas as pd
import pytest
from made_up import error_line, write_run

from analysis.export import STEPS, export, main
from analysis.runs import load_run

LOSSES = np.linspace(2, 0.2, 12)
STATUS = {"good": "finished", "lost": "diverged", "now": "running", "worse": "failed"}


@pytest.fixture
def sweep(tmp_path):
    """A run of each end: two with three epochs, one that has begun its first, one without logs."""
    folder = tmp_path / "sweep"
    write_run(folder / "good", LOSSES / 3, lr=0.5)
    path = write_run(folder / "lost", LOSSES, "diverged", lr=9.0)
    with open(path / "steps.csv", "a") as file:
        file.write("13,4,nan\n")
    path = write_run(folder / "now", LOSSES[:3], "running", optimizer={"name": "adam", "t": 3})
    with open(path / "steps.csv", "a") as file:
        file.write("4,1,0.1")  # not yet whole
    path = write_run(folder / "worse", LOSSES, "failed", error="OSError: disk full", seed=1)
    (path / "steps.csv").unlink()
    (path / "epochs.csv").unlink()
    return folder


def exported(sweep, *options):
    """Run the command twice: the second time must leave the same bytes. Returns where they are."""
    contents = []
    for _ in range(2):
        main([str(sweep), "--to", *map(str, options)])
        contents.append({path: path.read_bytes() for path in files(sweep)})
    assert contents[0] == contents[1]


def files(sweep):
    return [path for path in sweep.rglob("*") if path.is_file() and path.suffix != ".db"]


# Tables


def test_a_table_has_a_row_for_each_run_and_epoch(sweep, capsys):
    exported(sweep, "csv")
    table = pd.read_csv(sweep / "all-epochs.csv")
    out, err = capsys.readouterr()
    assert out == f"{sweep}/all-epochs.csv\n" * 2
    assert "note: worse: failed: OSError: disk full" in err and "note: lost: diverged" in err
    assert table.groupby("run")["status"].unique().str[0].to_dict() == STATUS
    assert table.groupby("run").size().to_dict() == {"good": 4, "lost": 4, "now": 1, "worse": 1}
    good = table[table["run"] == "good"]
    assert (good["lr"] == 0.5).all() and (good["model.hidden_sizes"] == "[300,100]").all()
    log = load_run(sweep / "good").log("epoch")
    for name in log:
        column = "epoch_lr" if name == "lr" else name
        np.testing.assert_array_equal(good[column], log[name])
    assert table[table["run"] == "worse"][["epoch", "step", "val_loss"]].isna().all(axis=None)
    assert not table.columns.has_duplicates


@pytest.mark.parametrize(("steps", "rows"), [("all", range(12)), (1, [0]), (4, [0, 4, 7, 11])])
def test_a_table_of_steps(sweep, steps, rows):
    exported(sweep, "csv", "--steps", steps)
    table = pd.read_csv(sweep / "all-steps.csv")
    good = table[table["run"] == "good"]
    assert good["step"].tolist() == [row + 1 for row in rows]
    assert good["epoch"].tolist() == [row // 4 + 1 for row in rows]
    assert good["loss"].tolist() == (LOSSES / 3)[list(rows)].tolist()
    assert good["lr"].unique() == [0.5]
    assert table["run"].nunique() == 4


def test_parquet_keeps_types(sweep, imported):
    imported("pyarrow")
    exported(sweep, "parquet")
    exported(sweep, "csv")
    table = pd.read_parquet(sweep / "all-epochs.parquet")
    kinds = {key: str(table[key].dtype) for key in table}
    assert kinds["epoch"] == kinds["step"] == kinds["optimizer.t"] == "Int64"
    assert (kinds["seed"], kinds["progress"], kinds["val_loss"]) == ("int64", "bool", "float64")
    csv = pd.read_csv(sweep / "all-epochs.csv", dtype=table.dtypes.to_dict())
    pd.testing.assert_frame_equal(table, csv)


def test_a_sweep_without_a_good_run_is_exported(sweep):
    shutil.rmtree(sweep / "good")
    exported(sweep, "csv")
    assert set(pd.read_csv(sweep / "all-epochs.csv")["run"]) == {"lost", "now", "worse"}
    shutil.rmtree(sweep / "lost")
    shutil.rmtree(sweep / "worse")
    exported(sweep, "csv")
    (row,) = pd.read_csv(sweep / "all-epochs.csv").to_dict("records")
    assert (row["status"], row["epoch"], row["val_loss"]) == ("running", 0, LOSSES[0] + 0.1)


def test_a_damaged_log_is_named_and_spoils_no_other(sweep, capsys):
    (sweep / "good/epochs.csv").write_text("epoch,step\n0,")
    exported(sweep, "csv")
    assert "note: good: epochs.csv: the last line is torn" in capsys.readouterr().err
    table = pd.read_csv(sweep / "all-epochs.csv")
    assert table.groupby("run").size().to_dict() == {"good": 1, "lost": 4, "now": 1, "worse": 1}


def test_several_folders_and_a_file_of_ones_own(sweep, tmp_path):
    write_run(tmp_path / "more/a", LOSSES)
    out = tmp_path / "new/table.csv"
    main([str(sweep), str(tmp_path / "more"), "--to", "csv", "--out", str(out)])
    names = {*(f"sweep/{name}" for name in STATUS), "more/a"}
    assert set(pd.read_csv(out)["run"]) == names


# TensorBoard


def read_events(imported, folder):
    """({tag: (steps, values)}, hyperparameters, status of the session), by TensorBoard's reader."""
    event_processing = "tensorboard.backend.event_processing"
    accumulator = imported(f"{event_processing}.event_accumulator")
    hparams = imported("tensorboard.plugins.hparams.metadata")
    api = imported("tensorboard.plugins.hparams.api_pb2")
    events = accumulator.EventAccumulator(str(folder), {accumulator.SCALARS: 0}).Reload()
    scalars = {}
    for tag in events.Tags()["scalars"]:
        read = events.Scalars(tag)
        scalars[tag] = [event.step for event in read], [event.value for event in read]
    data = events.PluginTagToContent("hparams")
    start = hparams.parse_session_start_info_plugin_data(data[hparams.SESSION_START_INFO_TAG])
    end = hparams.parse_session_end_info_plugin_data(data[hparams.SESSION_END_INFO_TAG])
    given = {key: getattr(value, value.WhichOneof("kind")) for key, value in start.hparams.items()}
    return scalars, given, api.Status.Name(end.status)


def test_tensorboard_reads_every_run(sweep, imported, capsys):
    imported("tensorboard")
    exported(sweep, "tensorboard")
    assert f"tensorboard --logdir {sweep}/tensorboard" in capsys.readouterr().out
    assert len(list((sweep / "tensorboard").rglob("*tfevents*"))) == 4
    read = {name: read_events(imported, sweep / "tensorboard" / name) for name in STATUS}
    scalars, given, _ = read["good"]
    log = load_run(sweep / "good").log("epoch")
    for name in ("train_loss", "train_accuracy", "val_loss", "val_accuracy"):
        steps, values = scalars.pop(name)
        assert steps == log["step"].tolist() == [0, 4, 8, 12]
        np.testing.assert_array_equal(values, log[name].astype(np.float32))
    assert scalars.pop("epoch_lr") == ([0, 4, 8, 12], [0.5] * 4)
    steps, values = scalars.pop("loss")
    assert steps == list(range(1, 13)) and not scalars
    np.testing.assert_array_equal(values, (LOSSES / 3).astype(np.float32))
    expected = {"lr": 0.5, "batch_size": 16, "progress": True, "model.hidden_sizes": "[300,100]"}
    assert {key: given[key] for key in expected} == expected
    ends = {name: (given["status"], status) for name, (_, given, status) in read.items()}
    assert ends == {
        "good": ("finished", "STATUS_SUCCESS"),
        "lost": ("diverged", "STATUS_FAILURE"),
        "now": ("running", "STATUS_RUNNING"),
        "worse": ("failed", "STATUS_FAILURE"),
    }
    assert read["lost"][0]["loss"][0] == list(range(1, 13))
    assert read["now"][0]["loss"][0] == [1, 2, 3]
    assert read["worse"][0] == {}


def test_a_long_run_is_thinned_evenly_unless_all_is_asked_for(tmp_path, imported):
    imported("tensorboard")
    n = 4 * STEPS
    losses = np.linspace(2, 1, n)
    write_run(tmp_path / "long", losses)
    for option, count in ((), STEPS), (["--steps", "all"], n), (["--steps", "7"], 7):
        main([str(tmp_path), "--to", "tensorboard", *option])
        scalars, *_ = read_events(imported, tmp_path / "tensorboard/long")
        steps, values = scalars["loss"]
        assert (len(steps), steps[0], steps[-1]) == (count, 1, n)
        assert len(set(np.diff(steps))) <= 2
        np.testing.assert_array_equal(values, losses[np.array(steps) - 1].astype(np.float32))
        assert scalars["val_loss"][0] == list(range(0, n + 1, 4))


# MLflow


@pytest.mark.slow
def test_mlflow_reads_every_run_and_none_twice(sweep, tmp_path, imported, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    mlflow = imported("mlflow")
    main([str(sweep), "--to", "mlflow"])
    uri = f"sqlite:///{sweep}/mlflow.db"
    assert f"mlflow ui --backend-store-uri {uri}" in capsys.readouterr().out
    client = mlflow.MlflowClient(uri)
    (experiment,) = [e for e in client.search_experiments() if e.name != "Default"]
    assert experiment.name == "made-up"

    def read():
        found = client.search_runs([experiment.experiment_id])
        assert len({run.info.run_name for run in found}) == len(found)
        return {run.info.run_name: run for run in found}

    runs = read()
    assert {name: run.data.tags["status"] for name, run in runs.items()} == STATUS
    assert {name: run.info.status for name, run in runs.items()} == {
        "good": "FINISHED",
        "lost": "FAILED",
        "now": "RUNNING",
        "worse": "FAILED",
    }
    good = runs["good"]
    assert good.info.end_time - good.info.start_time == 1000
    params = good.data.params
    assert float(params["lr"]) == 0.5 and params["model.hidden_sizes"] == "[300,100]"
    assert runs["worse"].data.tags["mlflow.note.content"] == "failed: OSError: disk full"

    def history(name, metric):
        points = client.get_metric_history(runs[name].info.run_id, metric)
        return sorted((point.step, point.value) for point in points)

    log = load_run(sweep / "good").log("epoch")
    for metric in ("train_loss", "train_accuracy", "val_loss", "val_accuracy"):
        assert history("good", metric) == list(zip(log["step"], log[metric], strict=True))
    assert history("good", "loss") == list(zip(range(1, 13), LOSSES / 3, strict=True))
    assert [step for step, _ in history("now", "loss")] == [1, 2, 3]

    # Again: what is the same stays, what has changed is replaced
    shutil.rmtree(sweep / "now")
    write_run(sweep / "now", LOSSES, optimizer={"name": "adam", "t": 3})
    before = runs
    main([str(sweep), "--to", "mlflow"])
    runs = read()
    assert runs.keys() == STATUS.keys()
    same = {name for name in runs if runs[name].info.run_id == before[name].info.run_id}
    assert same == {"good", "lost", "worse"}
    assert runs["now"].info.status == "FINISHED"
    assert [step for step, _ in history("now", "loss")] == list(range(1, 13))
    assert len(history("good", "loss")) == 12
    assert [path.name for path in tmp_path.iterdir()] == ["sweep"], "nothing lies elsewhere"

    (sweep / "no.db").write_text("no")
    capsys.readouterr()
    line = error_line(capsys, main, sweep, "--to", "mlflow", "--out", sweep / "no.db")
    assert line == f"python -m analysis.export: {sweep}/no.db: file is not a database\n"


# What it refuses


@pytest.mark.parametrize(
    ("to", "package"),
    [("tensorboard", "tensorboard"), ("mlflow", "alembic"), ("parquet", "pyarrow")],
)
def test_a_tool_that_is_not_installed(sweep, to, package, monkeypatch, capsys):
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    line = error_line(capsys, main, sweep, "--to", to)
    assert line.startswith(f"python -m analysis.export: --to {to} needs {package}")
    assert line.endswith(f"; install it with: pip install 'mlp-numpy[{to}]'\n")


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["none", "--to", "csv"], "none: no such folder"),
        (["sweep", "--to", "xls"], "argument --to: invalid choice: 'xls'"),
        (["sweep", "--to", "csv", "--steps", "0"], "argument --steps: must be a number >= 1, or"),
        (["sweep", "--to", "csv", "--steps", "some"], "argument --steps: must be a number >= 1"),
    ],
)
def test_what_cannot_be_exported(sweep, tmp_path, monkeypatch, arguments, what, capsys):
    monkeypatch.chdir(tmp_path)
    assert what in error_line(capsys, main, *arguments)


def test_from_python(sweep):
    found, path = export(sweep, "csv")
    assert path == sweep / "all-epochs.csv"
    assert len(found.runs) == 4
    result = json.loads((sweep / "good/result.json").read_text())
    assert found.frame().loc["good", "val_loss"] == result["metrics"]["val_loss"]
