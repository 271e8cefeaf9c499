"""Run folders that an earlier version of the program wrote: every command still reads them."""

import json
from pathlib import Path

import numpy as np
import pytest

from analysis import curves, dataset, sensitivity, table
from analysis.dataset import run_settings
from analysis.predictions import load_network, predict
from analysis.sweep import read_sweep

FORMAT_0 = Path(__file__).parent / "data" / "format-0"  # its result.json names no format
OPTIMIZERS = {"sgd": "sgd", "adam": "adam", "scalar": "sgd"}


def test_a_sweep_of_old_runs():
    sweep = read_sweep(FORMAT_0)
    assert {run.name: run.config["optimizer"] for run in sweep.runs} == OPTIMIZERS
    assert sweep.findings == []
    table = read_sweep(FORMAT_0, by=["model", "optimizer"]).table("val_loss")
    assert list(table.index) == [
        "model=scalar,optimizer=sgd",
        "model=mlp,optimizer=adam",
        "model=mlp,optimizer=sgd",
    ]


@pytest.mark.parametrize(
    ("main", "options"),
    [
        (curves.main, [FORMAT_0, "--metric", "loss,val_loss", "--by", "optimizer,model"]),
        (sensitivity.main, [FORMAT_0, "--x", "optimizer", "--by", "optimizer"]),
        *[(dataset.main, ["synth", "--run", FORMAT_0 / name]) for name in OPTIMIZERS],
    ],
)
def test_figures_of_old_runs(main, options, tmp_path):
    main([*map(str, options), "--out", str(tmp_path / "a.png")])
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_a_table_of_old_runs(capsys):
    table.main([str(FORMAT_0), "--by", "optimizer", "--format", "csv"])
    assert len(capsys.readouterr().out.splitlines()) == 3


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_old_network_predicts_what_its_run_measured(name):
    data = run_settings("synth", FORMAT_0 / name).load()
    p, labels = predict(load_network(FORMAT_0 / name), data)
    metrics = json.loads((FORMAT_0 / name / "result.json").read_text())["metrics"]
    assert np.mean(p.argmax(axis=1) == labels) == metrics["val_accuracy"]
    losses = -np.log(p[np.arange(len(labels)), labels])
    assert losses.mean() == pytest.approx(metrics["val_loss"], rel=1e-5)
