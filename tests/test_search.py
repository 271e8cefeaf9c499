"""sweeper=optuna: what is asked, told, pruned, and gone on with; all on run.py."""

import json
import shlex
import signal
import sys
import time
from types import SimpleNamespace

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from test_sweeps import ROOT, Sweep, result, run_py, wait_for

from analysis.sweep import read_sweep
from mlp.errors import UserError

optuna = pytest.importorskip("optuna")
search = pytest.importorskip("mlp_sweeps.search")
space = pytest.importorskip("mlp_sweeps.space")

SMALL = ["sweeper=optuna", "dataset.num_train=500", "dataset.num_val=100", "epochs=1", "name=some"]
LR = "lr=tag(log,interval(0.001,1))"
ONE = "hydra.launcher.workers=1"


def trials(folder, name="some"):
    """What the journal tells: [(state, params, value), ...]."""
    path = folder / f"outputs/{name}/{search.JOURNAL}"
    with search.owned(path) as storage:
        told = optuna.load_study(study_name="search", storage=storage).trials
    return [(trial.state.name, trial.params, trial.value) for trial in told]


def states(folder, name="some"):
    return [state for state, *_ in trials(folder, name)]


# The space


def parsed(*overrides):
    return OverridesParser.create().parse_overrides(list(overrides))


@pytest.mark.parametrize(
    ("override", "words", "ends"),
    [
        ("lr=interval(0.001,1)", "0.001 to 1.0", ["0.001", "1.0"]),
        ("lr=tag(log, interval(0.001, 1))", "0.001 to 1.0, evenly in the logarithm", None),
        ("n=int(interval(1,10))", "1 to 10", ["1", "10"]),
        ("n=range(8,65,8)", "8 to 64 by 8", ["8", "64"]),
        ("n=range(0.,1,0.5)", "0.0 or 0.5", ["0.0", "0.5"]),
        ("n=16,32", "16 or 32", ["16", "32"]),
        ("n=choice([100],[300,100])", "[100] or [300,100]", ["[100]", "[300,100]"]),
    ],
)
def test_a_dimension_in_hydra_s_words(override, words, ends):
    (one,) = space.read_space(parsed(override)).dimensions.values()
    assert one.words == words
    assert ends is None or one.ends == ends


def test_values_have_four_digits_and_stay_inside():
    found = space.read_space(parsed("a=interval(0.123456,0.123457)", "b=tag(log,interval(1e-6,1))"))
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(20):
        a, b = (one.split("=")[1] for one in found.point(study.ask()))
        assert 0.123456 <= float(a) <= 0.123457
        assert float(b) == float(f"{float(b):.4g}")


def test_seeds_and_fixed_values_belong_to_every_trial():
    found = space.read_space(parsed("lr=interval(0,1)", "lr=interval(1,2)", "seed=0,1", "epochs=3"))
    assert found.jobs(["lr=1.5"]) == [
        ["epochs=3", "lr=1.5", "seed=0"],
        ["epochs=3", "lr=1.5", "seed=1"],
    ]
    assert found.tell()["space"] == {"lr": "1.0 to 2.0"}, "the last one wins"
    assert found.tell()["seeds"] == ["seed=0", "seed=1"]


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (
            "lr=interval(1,0.1)",
            r"lr=interval\(1,0.1\): the first number must be less than the last",
        ),
        ("lr=tag(log,interval(0,1))", "with tag log all numbers must be > 0, got 0.0"),
        ("n=tag(log,range(1,9,2))", "tag log and a step don't go together"),
        ("seed=range(3)", "sweeper=optuna needs a space"),
        (f"{LR} seed=interval(0,1)", r"seed=interval\(0,1\): seeds are a list or a range"),
        (f"{LR} fail_fast=true,false", "fail_fast holds for a whole search"),
    ],
)
def test_a_bad_space_takes_one_line(overrides, line):
    with pytest.raises(UserError, match=line):
        space.read_space(parsed(*overrides.split()))


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"n_trials": 0}, "n_trials must be an integer >= 1, got 0"),
        ({"objective": "test_loss"}, "objective must be one of val_loss, "),
        ({"pruning": 1}, "pruning must be true or false, got 1"),
        ({"seed": -1}, "seed must be an integer >= 0, got -1"),
    ],
)
def test_a_bad_option_takes_one_line(options, line):
    good = {"n_trials": 1, "objective": "val_loss", "pruning": True, "seed": 0}
    search.check_options(**good)
    with pytest.raises(UserError, match=f"hydra.sweeper.{line}"):
        search.check_options(**good | options)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("lr=interval(-1,1)", "lr must be a number > 0, got -1.0"),
        ("lrr=interval(0,1)", "unknown key lrr; did you mean lr?"),
        ("optimizer=choice(sgd,adamm)", "optimizer must be one of adam, muon, sgd"),
        (f"{LR} dataset.normalize=none,unit name=${{dataset.normalize}}", "needs one folder"),
        (f"{LR} overwrite=true", "a search can't be overwritten: choose another name="),
        ("sweeper=grid lr=interval(0,1)", "lr=interval(0,1) is for sweeper=optuna; a grid takes"),
    ],
)
def test_all_ends_of_the_space_are_checked_before_the_first_run(tmp_path, arguments, line):
    arguments = arguments.split()
    keys = [argument.split("=")[0] for argument in arguments]
    given = [default for default in SMALL if default.split("=")[0] not in keys]
    one = run_py(tmp_path, *given, *arguments)
    assert one.code == 1
    assert line in one.err
    assert one.err.startswith("run.py: ") and one.err.count("\n") == 1
    assert not list(tmp_path.iterdir()), "nothing was written"


# What is asked and told


@pytest.mark.slow
def test_a_search_finds_a_better_lr_than_the_default(tmp_path):
    fixed = ["dataset=digits", "epochs=3"]
    asked = ["sweeper=optuna", "name=some", *fixed, "lr=tag(log,interval(0.01,10))", "seed=0,1"]
    one = run_py(tmp_path, *asked, "hydra.sweeper.n_trials=12")
    assert (one.code, one.err) == (0, "")
    default = run_py(tmp_path, *fixed, "seed=0,1", "name=default")
    assert default.code == 0
    groups = read_sweep([tmp_path / "outputs"], by=["lr"]).groups
    whole = [group for group in groups if len(group.counted) == 2]  # not a pruned trial's
    losses = {group.values["lr"]: group.finals("val_loss").mean() for group in whole}
    told = [found for found in trials(tmp_path) if found[0] == "COMPLETE"]
    best = min(value for *_, value in told)
    assert best < losses[0.05]
    assert best in losses.values(), "a trial's value is the mean that analysis finds"

    # The command that it prints gives the same bytes again, in a folder of its own
    (line,) = [line for line in one.out.splitlines() if line.startswith("to repeat it: ")]
    _, program, flag, *again = shlex.split(line.removeprefix("to repeat it: "))
    assert ((tmp_path / program).resolve(), flag) == (ROOT / "run.py", "-m")
    assert run_py(tmp_path, *again).code == 0
    repeated = sorted(tmp_path.glob("outputs/some-best/*/steps.csv"))
    assert len(repeated) == 2
    for path in repeated:
        (first,) = tmp_path.glob(f"outputs/some/{path.parent.name.replace('[', '[[]')}/steps.csv")
        assert first.read_bytes() == path.read_bytes()


@pytest.mark.slow
def test_accuracy_is_maximised(tmp_path):
    asked = [*SMALL, LR, "hydra.sweeper.n_trials=4", "hydra.sweeper.objective=val_accuracy"]
    one = run_py(tmp_path, *asked)
    assert one.code == 0
    best = max(value for *_, value in trials(tmp_path))
    (line,) = [line for line in one.out.splitlines() if line.startswith("best: ")]
    assert f"val_accuracy {best:.4g};" in line


@pytest.mark.slow
def test_with_one_worker_the_same_trials_every_time(tmp_path):
    asked = [*SMALL, LR, "batch_size=choice(8,16)", "seed=0,1", "epochs=4"]
    for name, where in {"local": ONE, "serial": "launcher=serial"}.items():
        assert run_py(tmp_path, *asked, f"name={name}", where, "hydra.sweeper.n_trials=9").code == 0
    first = trials(tmp_path, "local")
    assert {state for state, *_ in first} == {"COMPLETE", "PRUNED"}
    assert trials(tmp_path, "serial") == first, "pruned at the same epochs, whenever we looked"
    other = ["name=other", "hydra.sweeper.seed=1", "hydra.sweeper.n_trials=1"]
    assert run_py(tmp_path, *asked, *other).code == 0
    assert trials(tmp_path, "other")[0] != first[0]


@pytest.mark.slow
def test_two_workers_have_two_trials_at_a_time(tmp_path):
    asked = [*SMALL, "epochs=choice(5,100)", "hydra.sweeper.n_trials=5"]
    assert run_py(tmp_path, *asked, "hydra.launcher.workers=2").code == 0
    with search.owned(tmp_path / "outputs/some" / search.JOURNAL) as storage:
        told = optuna.load_study(study_name="search", storage=storage).trials
    long, short, third, *_ = told
    assert [long.params, short.params] == [{"epochs": "100"}, {"epochs": "5"}]
    assert short.datetime_start < long.datetime_complete
    assert third.datetime_start > short.datetime_complete, "asked once a worker is free, not before"
    assert third.datetime_start < long.datetime_complete, "asked as soon as a worker is free"


# What goes on


@pytest.mark.slow
def test_the_number_of_trials_is_a_total(tmp_path):
    asked = [*SMALL, LR, "seed=0,1", ONE]
    assert run_py(tmp_path, *asked, "hydra.sweeper.n_trials=2").code == 0
    first = trials(tmp_path)
    again = run_py(tmp_path, *asked, "hydra.sweeper.n_trials=2")
    assert again.code == 0
    assert again.out.splitlines()[0] == "search of 2 trials: 2 finished, 0 new"
    more = run_py(tmp_path, *asked, "hydra.sweeper.n_trials=3")
    assert more.out.splitlines()[0] == "search of 3 trials: 2 finished, 1 new"
    assert len(more.lines("finished")) == 2
    assert trials(tmp_path)[:2] == first
    assert states(tmp_path) == ["COMPLETE"] * 3


@pytest.mark.slow
def test_ctrl_c_and_the_same_command_again(tmp_path):
    asked = [*SMALL, LR, "epochs=100", "seed=0,1", "hydra.sweeper.n_trials=2"]
    one = Sweep(tmp_path, *asked, program=ROOT / "run.py")
    wait_for(lambda: len(list(tmp_path.glob("outputs/some/*/epochs.csv"))) == 2)
    one.process.send_signal(signal.SIGINT)
    assert one.finish().code == 130
    assert "search: 1 to go on" in one.out
    again = run_py(tmp_path, *asked)
    assert again.code == 0
    assert again.out.splitlines()[0] == "search of 2 trials: 1 to go on, 1 new"
    assert states(tmp_path) == ["COMPLETE"] * 2


@pytest.mark.slow
@pytest.mark.parametrize("moments", [[1.5], [1, 1.5, 2, 2.5]])
def test_a_search_that_is_killed_asks_what_it_would_have_asked(tmp_path, moments):
    asked = [*SMALL, LR, "batch_size=choice(8,16)", "seed=0,1", "epochs=10", ONE]
    asked.append("hydra.sweeper.n_trials=8")
    assert run_py(tmp_path, *asked, "name=whole").code == 0
    for moment in moments:
        one = Sweep(tmp_path, *asked, program=ROOT / "run.py")
        time.sleep(moment)
        one.process.kill()
        one.finish()
    assert run_py(tmp_path, *asked).code == 0
    found, whole = (
        # How far a pruned trial got until it stopped is a matter of moments
        [(word, point, value if word == "COMPLETE" else None) for word, point, value in told]
        for told in (trials(tmp_path), trials(tmp_path, "whole"))
    )
    assert found == whole


@pytest.mark.slow
def test_a_torn_journal_is_mended_and_a_damaged_one_is_refused(tmp_path):
    asked = [*SMALL, LR, "hydra.sweeper.n_trials=2"]
    assert run_py(tmp_path, *asked).code == 0
    path = tmp_path / "outputs/some" / search.JOURNAL
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"op_code":4,"wor')
    assert run_py(tmp_path, *asked).code == 0
    assert path.read_bytes() == whole
    path.write_bytes(whole[:20] + b"\n" + whole[20:])
    assert run_py(tmp_path, *asked).err == "run.py: outputs/some/optuna.log is damaged\n"


@pytest.mark.slow
def test_failed_runs_are_failed_trials_and_are_tried_again(tmp_path):
    import numpy

    x = numpy.random.default_rng(0).random((200, 3))
    numpy.savez(tmp_path / "mine.npz", x_train=x, y_train=numpy.arange(200) % 2)
    asked = ["sweeper=optuna", "name=some", "dataset=npz", "epochs=1", "seed=0,1", LR]
    asked += ["dataset.path=mine.npz,late.npz", "hydra.sweeper.n_trials=6", ONE]
    asked.append("hydra.sweeper.pruning=false")
    one = run_py(tmp_path, *asked)
    assert one.code == 1
    first = states(tmp_path)
    n = first.count("FAIL")
    assert n and set(first) == {"COMPLETE", "FAIL"}
    assert f"search: {6 - n} finished, {n} failed" in one.out
    assert len(one.lines("failed")) <= 2 * n
    (tmp_path / "late.npz").write_bytes((tmp_path / "mine.npz").read_bytes())
    again = run_py(tmp_path, *asked)
    assert again.code == 0
    assert again.out.splitlines()[0] == f"search of 6 trials: {6 - n} finished, {n} failed, {n} new"
    told = trials(tmp_path)
    assert [params for state, params, _ in told if state == "FAIL"] == [
        params for _, params, _ in told[6:]
    ]
    assert states(tmp_path).count("COMPLETE") == 6


@pytest.mark.parametrize(
    ("objective", "worst"), [("val_loss", float("inf")), ("val_accuracy", -float("inf"))]
)
def test_a_diverged_run_is_the_worst_of_all(tmp_path, objective, worst):
    asked = [*SMALL, "model.activation=relu", "lr=0.1,1e30", "hydra.sweeper.n_trials=6", ONE]
    asked += ["hydra.sweeper.pruning=false", f"hydra.sweeper.objective={objective}"]
    assert run_py(tmp_path, *asked).code == 0
    values = {params["lr"]: value for _, params, value in trials(tmp_path)}
    assert values["1e+30"] == worst and 0 < values["0.1"] < 1


# What is pruned


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_run_that_is_pruned_is_said_to_be_so(tmp_path, workers):
    asked = [*SMALL, "lr=tag(log,interval(1e-6,1))", "dataset.num_train=2000", "epochs=30"]
    where = f"hydra.launcher.workers={workers}"
    one = run_py(tmp_path, *asked, "seed=0,1", "hydra.sweeper.n_trials=8", where)
    assert one.code == 0
    n = states(tmp_path).count("PRUNED")
    assert n, "some are much worse"
    assert len(one.lines("pruned")) >= n
    assert f", {n} pruned" in one.out.splitlines()[-3]
    told = [found for path in tmp_path.glob("outputs/some/*") if (found := reason(path))]
    assert len(told) >= 1
    assert all(text.startswith("pruned: trial ") for text in told)
    notes = [what for _, what in read_sweep([tmp_path / "outputs/some"]).findings]
    assert f"interrupted: {told[0]}" in notes, "analysis names it"
    # A grid over the same point is not held up by it
    path = next(path for path in tmp_path.glob("outputs/some/*") if reason(path))
    asked = [text for text in result(path)["overrides"] if "=" in text]
    again = run_py(tmp_path, *asked, "name=some", "sweeper=grid")
    assert again.code == 0
    assert result(path)["status"] == "finished"


def reason(path):
    try:
        found = result(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.get("error") if found["status"] == "interrupted" else None


def test_only_whole_lines_of_a_running_log_are_read(tmp_path):
    assert list(search.epochs(tmp_path, "val_loss")) == []
    path = tmp_path / "epochs.csv"
    path.write_text("epoch,step,val_lo")
    assert list(search.epochs(tmp_path, "val_loss")) == []
    path.write_text("epoch,step,val_loss\n0,0,3\n1,4,2.5\n2,8,nan\n3,12,1.5\n4,16,1.")
    assert list(search.epochs(tmp_path, "val_loss")) == [(1, 2.5), (3, 1.5)]
    assert list(search.epochs(tmp_path, "val_accuracy")) == []


# What is refused, and what is only looked at


@pytest.mark.slow
def test_a_dry_run_tells_and_writes_nothing(tmp_path):
    asked = [*SMALL, LR, "batch_size=8,16", "hydra.sweeper.n_trials=3"]
    one = run_py(tmp_path, *asked, "dry_run=true")
    assert one.out.splitlines() == [
        "search of 3 trials: 3 new",
        "lr: 0.001 to 1.0, evenly in the logarithm",
        "batch_size: 8 or 16",
    ]
    assert not list(tmp_path.iterdir())
    run_py(tmp_path, *asked)
    one = run_py(tmp_path, *asked, "dry_run=true")
    assert one.out.splitlines()[0] == "search of 3 trials: 3 finished, 0 new"


@pytest.mark.slow
def test_another_search_in_the_same_folder_is_refused(tmp_path):
    asked = [*SMALL, "hydra.sweeper.n_trials=1"]
    assert run_py(tmp_path, *asked, LR).code == 0
    one = run_py(tmp_path, *asked, "lr=interval(0.001,1)")
    assert one.err == (
        "run.py: outputs/some holds another search: space.lr is 0.001 to 1.0, evenly in the "
        "logarithm there, 0.001 to 1.0 here; choose another name=\n"
    )
    path = next(tmp_path.glob("outputs/some/*/result.json"))
    found = json.loads(path.read_text())
    found["config"]["dataset"]["normalize"] = "unit"
    path.write_text(json.dumps(found))
    one = run_py(tmp_path, *asked, LR)
    assert "holds another configuration: dataset.normalize is unit there, none here" in one.err


@pytest.mark.slow
def test_trials_that_propose_the_same_share_its_runs(tmp_path):
    asked = [*SMALL, "lr=0.1,0.2", "epochs=10", "hydra.sweeper.n_trials=8"]
    asked.append("hydra.sweeper.pruning=false")
    one = run_py(tmp_path, *asked, "hydra.launcher.workers=2")
    assert one.code == 0
    assert len(one.lines("finished")) == 2
    assert len({value for *_, value in trials(tmp_path)}) == 2
    assert states(tmp_path) == ["COMPLETE"] * 8


@pytest.mark.slow
def test_one_search_at_a_time(tmp_path):
    asked = [*SMALL, LR, "hydra.sweeper.n_trials=1"]
    (tmp_path / "outputs/some").mkdir(parents=True)
    path = tmp_path / "outputs/some" / search.JOURNAL
    with search.owned(path):
        one = run_py(tmp_path, *asked)
    assert one.err == "run.py: outputs/some/optuna.log: another search writes it\n"
    assert run_py(tmp_path, *asked).code == 0


def test_without_optuna_the_line_says_what_to_install(monkeypatch):
    from hydra_plugins.mlp_sweeps import OptunaSweeper, SerialLauncher

    monkeypatch.setitem(sys.modules, "optuna", None)
    monkeypatch.delitem(sys.modules, "mlp_sweeps.search")
    sweeper = OptunaSweeper()
    sweeper.launcher = SerialLauncher()
    with pytest.raises(UserError, match="pip install"):
        sweeper.sweep([])


def test_a_run_stopped_for_one_trial_goes_on_for_another(tmp_path):
    one = search.Search.__new__(search.Search)
    one._pruning, one._again, one.n_jobs = False, [], 0
    asked = SimpleNamespace(number=3)
    pruned, other = (search.Trial(asked, [], pending={str(tmp_path)}) for _ in range(2))
    pruned.pruned = "epoch 2"
    job = SimpleNamespace(folder=str(tmp_path))
    one._runs = {job.folder: [pruned, other]}
    (tmp_path / "result.json").write_text(
        '{"status": "interrupted", "config": {}, "metrics": {}, "environment": {}}'
    )
    assert one.ended(job, "interrupted", None) == "pruned"
    assert result(tmp_path)["error"] == "pruned: trial 3 at epoch 2"
    assert list(one._again) == [job]
    assert one._runs == {job.folder: [other]}
    assert other.pending == {job.folder}
