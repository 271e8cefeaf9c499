"""Runs for the tools that people look with: TensorBoard, MLflow, and whatever reads a table.

Every run goes out, however it ended, from its folder alone. The same command again replaces what it
wrote. The logs hold no clock times: all that a tool shows as such is when the run's files were
written last.
"""

import logging
import math
import os
import sqlite3
from argparse import ArgumentTypeError
from contextlib import closing, contextmanager, suppress
from hashlib import sha256
from itertools import chain, islice
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from mlp.errors import UserError
from mlp.files import whole_file
from mlp.run_folder import LOGS, Damaged

from . import command
from .runs import EPOCH_METRICS, label, several
from .sweep import Finding, Sweep, read_runs

STEPS = 1000  # TensorBoard shows no more points of a curve
EVENTS = "events.out.tfevents.mlp"  # TensorBoard reads files that have "tfevents" in their name


def main(argv=None):
    parser = command.Parser(
        "export",
        "Writes every run, however it ended, for TensorBoard (event files with hyperparameters), "
        "for MLflow (a local store), or as one table with a row for each run and epoch. The same "
        "command again replaces what it wrote.",
        "outputs/lr-sweep --to tensorboard",
    )
    parser.add_argument("folders", nargs="+", metavar="DIR", help="a sweep, a run, or many")
    parser.add_argument("--to", required=True, choices=WRITERS)
    parser.add_argument(
        "--steps",
        type=number_or_all,
        metavar="N",
        help="the mini-batch loss of N steps a run, evenly spread, or of all; default: "
        f"{STEPS:,} for tensorboard and mlflow. A table then has a row for each step, not epoch",
    )
    parser.add_argument(
        "--out",
        metavar="PATH",
        help="default: tensorboard/, mlflow.db, all-epochs.csv and so on, in DIR",
    )
    args = parser.parse_args(argv)
    with parser.errors_in_one_line():
        sweep, path = export(args.folders, args.to, args.steps, args.out)
        command.print_findings(sweep)
        print(HINTS.get(args.to, "{}").format(path))


def export(folders, to, steps=None, out=None):
    """Write all runs under one folder or several; returns their Sweep, and where they went.

    to: one of WRITERS. steps: of how many steps a run to write the mini-batch loss; None for
    STEPS, or for a table with a row an epoch. out: a folder for TensorBoard, else a file.
    Raises UserError.
    """
    runs, findings, _ = read_runs(folders)
    findings += [Finding(run.name, run.problem) for run in runs if not run.counts]
    sweep = Sweep(runs, [], findings)
    write, name = WRITERS[to]
    path = Path(out or Path(several(folders)[0], name.format("steps" if steps else "epochs")))
    write(sweep, path, steps)
    return sweep, path


@contextmanager
def needing(extra):
    """Within the block, a package of this extra is imported."""
    try:
        yield
    except ImportError as error:
        install = f"install it with: pip install 'mlp-numpy[{extra}]'"
        raise UserError(f"--to {extra} needs {error.name}; {install}") from None


# What a run has


def read_log(sweep, run, clock):
    """The columns of a run's log by name. None of them where it is damaged, and a finding says so.

    clock: "step" or "epoch". The learning rate is epoch_lr here: lr is the hyperparameter.
    """
    try:
        log = run.log(clock)
    except Damaged as damage:
        if run.counts:
            sweep.add_finding(run.name, str(damage))
        return {}
    return {"epoch_lr" if name == "lr" else name: log[name] for name in log}


def spread(log, n):
    """n rows of a log, evenly spread, the first and the last among them."""
    size = len(log.get("step", ()))
    rows = np.linspace(0, size - 1, min(n, size)).round().astype(int)
    return {name: log[name][rows] for name in log}


def scalars(sweep, run, steps):
    """(metric, step, value) of every epoch, and of the mini-batch loss at `steps` of the steps."""
    for log in read_log(sweep, run, "epoch"), spread(read_log(sweep, run, "step"), steps or STEPS):
        for name in log:
            if name not in ("epoch", "step"):
                for step, value in zip(log["step"].tolist(), log[name].tolist(), strict=True):
                    yield name, int(step), value


def sources(run):
    """The files that tell of a run."""
    return [path for name in ("result.json", *LOGS) if (path := run.folder / name).exists()]


def written(run):
    """When the run's files were written last, in seconds since 1970."""
    return max(path.stat().st_mtime for path in sources(run) or [run.folder])


# To the tools


def to_tensorboard(sweep, path, steps):
    """An event file a run, in a folder of the run's name."""
    with needing("tensorboard"):
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2, summary_v2
        from tensorboard.summary.writer.record_writer import RecordWriter

    def ending(status, time):
        ends = {"finished": api_pb2.STATUS_SUCCESS, "running": api_pb2.STATUS_RUNNING}
        end = plugin_data_pb2.SessionEndInfo(
            status=ends.get(status, api_pb2.STATUS_FAILURE), end_time_secs=time
        )
        data = plugin_data_pb2.HParamsPluginData(session_end_info=end)
        kind = metadata.create_summary_metadata(data)
        tag, nothing = metadata.SESSION_END_INFO_TAG, metadata.NULL_TENSOR
        return Summary(value=[Summary.Value(tag=tag, metadata=kind, tensor=nothing)])

    def events(run, time):
        yield Event(file_version="brain.Event:2")
        shown = {key: value for key, value in run.config.items() if value is not None}
        shown["status"] = run.status  # the ending knows no diverged, no interrupted
        yield Event(summary=summary_v2.hparams_pb(shown, run.name, time))
        for name, step, value in scalars(sweep, run, steps):
            yield Event(step=step, summary=Summary(value=[{"tag": name, "simple_value": value}]))
        yield Event(summary=ending(run.status, time))

    for run in progress(sweep.runs):
        time = written(run)
        with whole_file(path / run.name / EVENTS, durable=False) as file:
            records = RecordWriter(file)
            for event in events(run, time):
                event.wall_time = time
                records.write(event.SerializeToString(deterministic=True))


def to_mlflow(sweep, path, steps):
    """A run each in an SQLite store, in an experiment of the sweep's name.

    We know a run again by its folder, seen from the store. If its files are the same, it stays;
    else it moves to the store's trash and is written anew.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read when MLflow is imported
    with needing("mlflow"):
        import alembic  # noqa: F401  the light MLflow leaves out what an SQLite store takes
        import mlflow
        from mlflow.entities import Metric, Param

    logging.getLogger("mlflow").setLevel(logging.WARNING)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with closing(sqlite3.connect(path)) as store:
            store.execute("pragma schema_version")  # MLflow tries for a minute, and then fails
        client = mlflow.MlflowClient(f"sqlite:///{path.resolve()}")
        for run in progress(sweep.runs):
            experiment = experiment_id(client, run.config.get("name", path.stem), path)
            folder = os.path.relpath(run.folder, path.parent)
            key = digest(folder.encode())
            content = digest(str(steps).encode(), *(file.read_bytes() for file in sources(run)))
            before = client.search_runs([experiment], f"tags.run = '{key}'")
            if [old.data.tags.get("content") for old in before] == [content]:
                continue
            for old in before:
                client.delete_run(old.info.run_id)
            tags = {"run": key, "folder": folder, "status": run.status}
            tags["mlflow.note.content"] = run.problem or ""  # shown as the description
            time = int(1000 * written(run))
            began = time if math.isnan(run.seconds) else time - int(1000 * run.seconds)
            new = client.create_run(experiment, began, tags, run.name).info.run_id
            params = [Param(name, label(value)) for name, value in run.config.items()]
            client.log_batch(new, params=params)
            rows = scalars(sweep, run, steps)
            metrics = (Metric(name, value, time, step) for name, step, value in rows)
            while batch := list(islice(metrics, 1000)):  # as many as MLflow takes at once
                client.log_batch(new, batch)
            if run.status != "running":
                ends = {"finished": "FINISHED", "interrupted": "KILLED"}
                client.set_terminated(new, ends.get(run.status, "FAILED"), time)
            client.set_tag(new, "content", content)  # now the run is whole
    except (sqlite3.Error, mlflow.MlflowException) as error:
        raise UserError(f"{path}: {str(error).splitlines()[0]}") from None


def experiment_id(client, name, path):
    """The id of the experiment of this name, which begins where there is none."""
    if found := client.get_experiment_by_name(name):
        return found.experiment_id
    return client.create_experiment(name, path.with_suffix("").resolve().as_uri())


def to_csv(sweep, path, steps):
    with whole_file(path, durable=False) as file:
        for i, table in enumerate(tables(sweep, steps)):
            table.to_csv(file, header=i == 0, index=False)


def to_parquet(sweep, path, steps):
    with needing("parquet"):
        import pyarrow
        from pyarrow.parquet import ParquetWriter

    parts = (
        pyarrow.Table.from_pandas(table, preserve_index=False) for table in tables(sweep, steps)
    )
    first = next(parts)
    with whole_file(path, durable=False) as file, ParquetWriter(file, first.schema) as writer:
        for part in chain([first], parts):
            writer.write_table(part)


def tables(sweep, steps):
    """A DataFrame for each run: run, status, hyperparameters, seconds, and then its log's columns.

    It has a row for each epoch, or for each of `steps` steps. A run without any has one all the
    same.
    """
    clock, columns = "step", ["loss"]
    if not steps:
        known = {name for run in sweep.runs for name in read_log(sweep, run, "epoch")}
        clock = "epoch"
        columns = [name for name in ("epoch_lr", *EPOCH_METRICS) if name in known]
    types = dict.fromkeys(["epoch", "step"], "Int64") | dict.fromkeys(columns, float)
    frame = sweep.frame().reset_index().drop(columns=["epoch", "step", *sweep.metrics])
    for i, run in enumerate(progress(sweep.runs)):
        log = read_log(sweep, run, clock)
        log = pd.DataFrame(spread(log, steps or math.inf), columns=list(types)).astype(types)
        yield frame.iloc[[i]].merge(log if len(log) else log.reindex([0]), how="cross")


def progress(runs):
    return tqdm(runs, "exporting", disable=None, leave=False)


def digest(*parts):
    return sha256(b"\0".join(parts)).hexdigest()


def number_or_all(text):
    """math.inf for all."""
    with suppress(ValueError):
        if text == "all" or int(text) >= 1:
            return math.inf if text == "all" else int(text)
    raise ArgumentTypeError(f"must be a number >= 1, or all; got {text!r}")


WRITERS = {  # and where they write by default
    "tensorboard": (to_tensorboard, "tensorboard"),
    "mlflow": (to_mlflow, "mlflow.db"),
    "csv": (to_csv, "all-{}.csv"),
    "parquet": (to_parquet, "all-{}.parquet"),
}
HINTS = {
    "tensorboard": "{0}; look at it with: tensorboard --logdir {0}",
    "mlflow": "{0}; look at it with (pip install mlflow): mlflow ui --backend-store-uri sqlite:///{0}",
}


if __name__ == "__main__":
    main()
