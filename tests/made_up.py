"""Run folders as run.py leaves them, with curves that are known."""

import json

import yaml

CONFIG = {
    "name": "made-up",
    "seed": 0,
    "lr": 0.1,
    "batch_size": 16,
    "epochs": 3,
    "threads": 1,
    "progress": True,
    "dataset": {"name": "synth", "seed": 0},
    "model": {"name": "mlp", "hidden_sizes": [300, 100], "activation": "relu"},
    "optimizer": {"name": "sgd", "momentum": 0.0},
}
STEPS_PER_EPOCH = 4
EPOCH_COLUMNS = "epoch,step,lr,train_loss,train_accuracy,val_loss,val_accuracy"


def write_run(path, losses, status="finished", on="val", commit="1234567890", error=None, **config):
    """A run of len(losses) steps. Its epochs' losses are the mini-batches' at their ends, its
    accuracies 1 less these; those on validation (or `on`) are worse by 0.1. Returns the path.
    """
    config = CONFIG | config
    path.mkdir(parents=True)
    (path / ".hydra").mkdir()
    (path / ".hydra/config.yaml").write_text(yaml.safe_dump(config))
    steps = [
        f"{step},{(step - 1) // STEPS_PER_EPOCH + 1},{loss:.17g}\n"
        for step, loss in enumerate(losses, 1)
    ]
    (path / "steps.csv").write_text("".join(["step,epoch,loss\n", *steps]))
    columns = EPOCH_COLUMNS.replace("val", on)
    rows = []
    for epoch in range(len(losses) // STEPS_PER_EPOCH + 1):
        loss = float(losses[max(0, epoch * STEPS_PER_EPOCH - 1)])
        row = [epoch, epoch * STEPS_PER_EPOCH, config["lr"]]
        rows.append([*row, loss, 1 - loss, loss + 0.1, 0.9 - loss])
    lines = [",".join(map(repr, row)) + "\n" for row in rows]
    (path / "epochs.csv").write_text("".join([f"{columns}\n", *lines]))
    if status != "running":
        result = {
            "status": status,
            "config": config,
            "overrides": [],
            "metrics": dict(zip(columns.split(","), rows[-1], strict=True)),
            "seconds": 1.0,
            "examples_per_second": 100.0,
            "environment": {"git_commit": commit, "git_dirty": False},
        }
        result |= {"error": error} if error else {}
        (path / "result.json").write_text(json.dumps(result))
    return path


def error_line(capsys, main, *arguments):
    """What a command prints as it fails: one line, on standard error, with an exit code not 0."""
    try:
        main(list(map(str, arguments)))
    except SystemExit as stop:
        assert stop.code
    else:
        raise AssertionError("did not fail")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1 and err.endswith("\n")
    return err
