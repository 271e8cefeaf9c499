"""analysis.table: its numbers against NumPy and SciPy, its layouts, its refusals."""

import csv
import io

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from made_up import error_line, write_run

from analysis import table
from analysis.runs import label
from analysis.sweep import read_sweep
from mlp.errors import UserError

LRS = (0.01, 0.1, 1.0)
FINAL = np.array([[0.5, 0.4, 0.3], [0.2, 0.25, 0.15], [0.9, 0.2, 0.45]])  # final train_loss


@pytest.fixture
def sweep(tmp_path):
    for lr, finals in zip(LRS, FINAL, strict=True):
        for seed, final in enumerate(finals):
            write_run(tmp_path / f"lr={lr},seed={seed}", [2.0] * 3 + [final], lr=lr, seed=seed)
    return tmp_path


def printed(capsys, *arguments):
    table.main(list(map(str, arguments)))
    return capsys.readouterr().out


def rows(capsys, *arguments):
    """The CSV's rows by lr."""
    text = printed(capsys, *arguments, "--format", "csv")
    return {row["lr"]: row for row in csv.DictReader(io.StringIO(text))}


def written(path, capsys, *arguments):
    """The text that the command writes to path, which it names."""
    assert printed(capsys, *arguments, "--out", path) == f"wrote {path}\n"
    return path.read_text()


def test_mean_and_std_are_numpys_best_first(sweep, capsys):
    got = rows(capsys, sweep)
    assert list(got) == ["0.1", "0.01", "1"]
    assert [row["best"] for row in got.values()] == ["True", "False", "False"]
    for lr, finals in zip(LRS, FINAL, strict=True):
        row = got[label(lr)]
        assert row["n"] == "3"
        for name, values in {"train_loss": finals, "val_accuracy": 0.9 - finals}.items():
            assert float(row[f"{name}_mean"]) == values.mean()
            assert float(row[f"{name}_std"]) == values.std(ddof=1)


def test_runs_that_ended_badly_are_counted(sweep, capsys):
    for seed, status in enumerate(["diverged", "diverged", "failed", "interrupted"]):
        path = sweep / f"lr=10.0,seed={seed}"
        write_run(path, [2.0] * 4, status=status, lr=10.0, seed=seed)
    got = rows(capsys, sweep)["10"]
    assert (got["n"], got["diverged"], got["failed"]) == ("0", "2", "1")
    assert got["val_loss_mean"] == got["val_loss_std"] == ""
    assert list(rows(capsys, sweep))[-1] == "10"
    table.main([str(sweep)])
    assert "note: lr=10.0,seed=3: interrupted" in capsys.readouterr().err


def test_a_loss_is_best_where_it_is_least(sweep, capsys):
    for lr in (0.01, 0.1):  # the accuracies of these are now the other way round
        for seed in range(3):
            path = sweep / f"lr={lr},seed={seed}" / "result.json"
            (path.parent / "epochs.csv").unlink()
            path.write_text(path.read_text().replace('"val_accuracy": ', '"val_accuracy": -'))
    assert next(iter(rows(capsys, sweep))) == "1"
    by_loss = rows(capsys, sweep, "--metric", "val_loss")
    assert list(by_loss) == ["0.1", "0.01", "1"]
    assert [row["best"] for row in by_loss.values()] == ["True", "False", "False"]


def test_the_baseline_is_compared_in_the_metric_asked_for(sweep, capsys):
    for metric, sign in ("val_loss", 1), ("train_accuracy", -1):
        got = rows(capsys, sweep, "--baseline", "lr=0.01", "--metric", metric)
        wanted = sign * np.mean(FINAL[1] - FINAL[0])
        assert float(got["0.1"]["difference"]) == pytest.approx(wanted)


def test_equal_runs_have_no_spread(tmp_path, capsys):
    for lr, finals in {0.1: [0.2] * 3, 0.2: [0.1, 0.11, 0.12], 0.3: [0.2, 0.21, 0.22]}.items():
        for seed, final in enumerate(finals):
            write_run(tmp_path / f"{lr}-{seed}", [2.0] * 3 + [final], lr=lr, seed=seed)
    got = rows(capsys, tmp_path, "--metric", "train_accuracy", "--baseline", "lr=0.2")
    assert (got["0.1"]["train_accuracy_mean"], got["0.1"]["train_accuracy_std"]) == ("0.8", "0.0")
    assert got["0.3"]["low"] == got["0.3"]["high"] and got["0.3"]["p"] == "0.0"
    assert "0.8 ± 0 " in printed(capsys, tmp_path)


def test_losses_of_any_size_fit_into_the_table(tmp_path, capsys, recwarn):
    for lr, size in (0.1, 1.0), (0.2, 1e12), (0.3, 1e300):
        for seed, final in enumerate(FINAL[0]):
            write_run(tmp_path / f"{lr}-{seed}", [2.0] * 3 + [final * size], lr=lr, seed=seed)
    lines = printed(capsys, tmp_path, "--baseline", "lr=0.1", "--metric", "train_loss").splitlines()
    assert [line.split()[2:5] for line in lines[1:4]] == [
        ["0.40", "±", "0.10"],
        ["4e+11", "±", "1e+11"],
        ["4e+299", "±", "1e+299"],
    ]
    assert max(map(len, lines)) < 200
    assert not recwarn.list


def test_the_baseline_is_compared_on_shared_seeds(sweep, capsys):
    write_run(sweep / "more", [2.0] * 3 + [0.3], lr=1.0, seed=3)  # a seed that 0.01 hasn't
    got = rows(capsys, sweep, "--baseline", "lr=0.01")
    tests = {}
    for lr, finals in zip(LRS[1:], FINAL[1:], strict=True):
        row, test = got[label(lr)], scipy.stats.ttest_rel(-finals, -FINAL[0])
        interval = test.confidence_interval(0.95)
        assert (row["test"], row["pairs"]) == ("paired", "3")
        wanted = [np.mean(FINAL[0] - finals), interval.low, interval.high, test.pvalue]
        numbers = [float(row[key]) for key in ("difference", "low", "high", "p")]
        np.testing.assert_allclose(numbers, wanted, rtol=1e-10)
        tests[lr] = test.pvalue
    assert tests[0.1] < tests[1.0]
    np.testing.assert_allclose(float(got["0.1"]["p_holm"]), 2 * tests[0.1], rtol=1e-10)
    wanted = max(2 * tests[0.1], tests[1.0])
    np.testing.assert_allclose(float(got["1"]["p_holm"]), wanted, rtol=1e-10)
    assert got["0.01"]["pairs"] == got["0.01"]["p"] == ""


def test_too_few_pairs_have_no_interval(sweep, capsys):
    write_run(sweep / "alone", [2.0] * 4, lr=5.0, seed=0)
    write_run(sweep / "other", [2.0] * 4, lr=6.0, seed=7)
    got = rows(capsys, sweep, "--baseline", "lr=0.01")
    assert [got[lr]["pairs"] for lr in ("5", "6")] == ["1", "0"]
    assert got["5"]["low"] == got["5"]["p_holm"] == ""
    text = printed(capsys, sweep, "--baseline", "lr=0.01")
    assert next(line for line in text.splitlines() if line.startswith("5 ")).endswith("paired, 1")


def test_without_shared_seeds_the_test_is_welchs_and_said(sweep, capsys):
    for seed, final in enumerate((0.1, 0.3, 0.15, 0.5), 7):
        write_run(sweep / f"other{seed}", [2.0] * 3 + [final], lr=2.0, seed=seed)
    got = rows(capsys, sweep, "--baseline", "lr=0.01")
    others = 0.9 - np.array([0.1, 0.3, 0.15, 0.5])
    test = scipy.stats.ttest_ind(others, 0.9 - FINAL[0], equal_var=False)
    interval = test.confidence_interval(0.95)
    row = got["2"]
    assert (row["test"], row["pairs"], got["0.1"]["test"]) == ("Welch", "", "paired")
    wanted = [others.mean() - (0.9 - FINAL[0]).mean(), interval.low, interval.high, test.pvalue]
    numbers = [float(row[key]) for key in ("difference", "low", "high", "p")]
    np.testing.assert_allclose(numbers, wanted, rtol=1e-10)
    *_, caption = (lines := printed(capsys, sweep, "--baseline", "lr=0.01").splitlines())
    assert caption.endswith("paired on shared seeds, by Welch's test where no two are shared")
    assert next(line for line in lines if line.startswith("2 ")).endswith("Welch")


def write_two_datasets(folder):
    for name, worse in {"digits": 0.2, "synth": 0.0}.items():
        for lr, finals in zip(LRS, FINAL, strict=True):
            for seed, final in enumerate(finals):
                path = folder / f"{name}{lr}{seed}"
                losses = [2.0] * 3 + [final + worse]
                write_run(path, losses, lr=lr, seed=seed, dataset={"name": name})


def test_each_dataset_has_its_best_and_its_baseline(tmp_path, capsys):
    write_two_datasets(tmp_path)
    table = read_sweep(tmp_path).table("val_loss", baseline="lr=0.01")
    assert list(table["dataset"]) == ["digits"] * 3 + ["synth"] * 3
    assert list(table["lr"]) == ["0.1", "0.01", "1"] * 2
    assert list(table["best"]) == [True, False, False] * 2
    differences = [FINAL[i].mean() - FINAL[0].mean() for i in (1, 2)]
    got = table["difference"].to_numpy()
    np.testing.assert_allclose(got[[0, 2, 3, 5]], differences * 2)
    assert np.isnan(got[[1, 4]]).all()
    np.testing.assert_allclose(table["p_holm"].min(), 4 * table["p"].min())  # four tests in all
    one = read_sweep(tmp_path).table("val_loss", baseline="lr=0.01,dataset=synth")
    assert list(one["test"].notna()) == [False] * 3 + [True, False, True]
    text = printed(capsys, tmp_path, "--baseline", "lr=0.01")
    assert "from lr=0.01,dataset=digits and lr=0.01,dataset=synth, with" in text


def test_the_test_set_marks_no_best(tmp_path, capsys):
    for lr in (0.1, 0.2):
        write_run(tmp_path / str(lr), [2.0] * 3 + [lr], on="test", lr=lr)
    got = rows(capsys, tmp_path)
    assert list(got) == ["0.1", "0.2"]
    assert {row["best"] for row in got.values()} == {"False"}
    assert got["0.1"]["test_accuracy_mean"] == "0.8"


def test_the_table_is_a_frame_for_python(sweep):
    table = read_sweep(sweep).table(metric="val_loss", baseline="lr=0.1")
    assert list(table.index) == ["lr=0.1", "lr=0.01", "lr=1"]
    assert table.loc["lr=0.1", "train_loss_mean"] == FINAL[1].mean()
    assert table.loc["lr=0.01", "pairs"] == 3
    with pytest.raises(UserError, match=r"^metric: unknown 'loss'; did you mean val_loss"):
        read_sweep(sweep).table("loss")


def test_text(sweep, capsys):
    head, best, middle, *_, caption = printed(capsys, sweep, "--baseline", "lr=0.1").splitlines()
    assert " ".join(head.split()) == (
        "lr n train_loss train_accuracy val_loss val_accuracy difference 95% interval p (Holm) test"
    )
    assert best.startswith("0.1   3  0.200 ± 0.050")
    assert best.endswith("0.700 ± 0.050 *")
    assert middle.startswith("0.01  3 ")
    assert middle.split()[-7:] == ["-0.20", "-0.42", "to", "+0.02", "0.11", "paired,", "3"]
    assert caption == (
        "mean ± sample std of n runs, sorted by val_accuracy; "
        "difference in val_accuracy from lr=0.1, with a 95% t interval, paired on shared seeds"
    )


def test_runs_that_ended_badly_have_columns_where_there_are_any(sweep, capsys):
    assert "diverged" not in printed(capsys, sweep)
    write_run(sweep / "bad", [2.0] * 4, status="diverged", lr=0.1, seed=3)
    head, best, *_ = printed(capsys, sweep).splitlines()
    assert head.split()[:4] == ["lr", "n", "diverged", "train_loss"]
    assert best.split()[:3] == ["0.1", "3", "1"]


def test_columns_are_chosen_and_ordered(sweep, capsys):
    wanted = ["--columns", "val_loss,lr"]
    head, first, *_ = printed(capsys, sweep, *wanted).splitlines()
    assert (head.split(), first.split()) == (["val_loss", "lr"], ["0.300", "±", "0.050", "0.1"])
    lines = printed(capsys, sweep, *wanted, "--format", "csv").splitlines()
    assert lines[0] == "val_loss_mean,val_loss_std,lr" and len(lines) == 4
    wanted = ["--columns", "lr,val_accuracy,difference", "--baseline", "lr=1"]
    head, first, *_ = printed(capsys, sweep, *wanted).splitlines()
    assert "*" in first and head.split()[-5:] == ["95%", "interval", "p", "(Holm)", "test"]


def test_a_row_for_each_run(sweep, capsys):
    write_run(sweep / "bad", [2.0] * 4, status="diverged", lr=0.1, seed=3)
    write_run(sweep / "now", [2.0] * 4, status="running", lr=0.1, seed=4)
    text = printed(capsys, sweep, "--per-run", "--format", "csv")
    table = pd.read_csv(io.StringIO(text), index_col="run")
    assert list(table)[:5] == ["status", "lr", "seed", "epoch", "step"]
    assert list(table["lr"]) == [0.01] * 3 + [0.1] * 5 + [1] * 3
    assert table["status"].value_counts().to_dict() == {"finished": 9, "diverged": 1, "running": 1}
    row = table.loc["lr=0.1,seed=1"]
    assert (row["val_loss"], row["val_accuracy"]) == (FINAL[1, 1] + 0.1, 0.9 - FINAL[1, 1])
    assert "\nnow,running,0.1,4,,,,,,\n" in text and ",finished,0.1,1,1,4," in text
    head, *lines, _, caption = printed(capsys, sweep, "--per-run").splitlines()
    assert head.split() == ["run", *table] and len(lines) == 11
    shown = "lr=0.1,seed=1 finished 0.1 1 1 4 0.25 0.75 0.35 0.65"
    assert " ".join(lines[4].split()) == shown
    assert caption == "last epoch of every run"


def test_markdown(sweep, capsys):
    write_run(sweep / "odd", [2.0] * 4, optimizer={"name": "a|b"})
    lines = written(sweep / "a.md", capsys, sweep, "--by", "optimizer,lr").splitlines()
    assert {line.replace(r"\|", "").count("|") for line in lines[:6]} == {8}
    assert set(lines[1]) == set("| -")
    assert "**0.700 ± 0.050**" in lines[2]
    assert lines[5].startswith(r"| a\|b")


def test_tex(sweep, capsys):
    write_run(sweep / "odd", [2.0] * 4, optimizer={"name": r"50%_$&#{}~^\x"})
    lines = written(sweep / "a.tex", capsys, sweep, "--by", "optimizer,lr").splitlines()
    assert lines[1:4] == [r"% \usepackage{booktabs}", r"\begin{tabular}{lllllll}", r"\toprule"]
    assert r"train\_loss" in lines[4] and lines[5] == r"\midrule"
    assert r"\textbf{0.700 $\pm$ 0.050}" in lines[6]
    escaped = r"50\%\_\$\&\#\{\}\textasciitilde{}\textasciicircum{}\textbackslash{}x"
    assert lines[9].startswith(f"{escaped} & 0.1 ")
    assert lines[9].endswith(r"\\")
    assert lines[-2:] == [r"\bottomrule", r"\end{tabular}"]


def test_a_files_ending_is_its_layout(sweep, capsys):
    for ending, layout in {"txt": "text", "csv": "csv"}.items():
        text = written(sweep / f"a.{ending}", capsys, sweep)
        assert text == printed(capsys, sweep, "--format", layout)


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (["--metric", "val_acuracy"], "--metric: unknown 'val_acuracy'; did you mean val_accuracy"),
        (["--metric", "test_loss"], "--metric: unknown 'test_loss'"),
        (["--baseline", "lr=7"], "--baseline lr=7 must be one group; it is no group"),
        (["--baseline", "lr"], "--baseline wants KEY=VALUE"),
        (["--baseline", "batch_size=16"], "--baseline: unknown 'batch_size'; known are lr"),
        (["--by", "batch_size", "--baseline", "batch_size=16"], "several runs of one seed"),
        (["--where", "lr=0.1", "--baseline", "lr=0.1"], "unknown 'lr'; known are none"),
        (["--columns", "lr,loss"], "--columns: unknown 'loss'; did you mean val_loss?"),
        (["--columns", "difference"], "--columns: unknown 'difference'"),
        (["--per-run", "--baseline", "lr=1"], "--baseline compares groups; --per-run shows runs"),
        (["--out", "a.xls"], "--out a.xls: its ending must be one of .txt, .md, .tex, .csv"),
        (["--out", "/nowhere/a.md"], "No such file or directory: '/nowhere/a.md'"),
        (["--out", "a.md", "--format", "md"], "--format: not allowed with argument --out"),
        (["--format", "html"], "invalid choice: 'html'"),
    ],
)
def test_refusals_are_one_line(sweep, capsys, options, what):
    line = error_line(capsys, table.main, sweep, *options)
    assert line.startswith("python -m analysis.table: ")
    assert what in line


def test_a_baseline_must_be_one_group(sweep, capsys):
    write_run(sweep / "large", [2.0] * 4, lr=0.1, batch_size=32)
    line = error_line(capsys, table.main, sweep, "--baseline", "lr=0.1")
    assert "it is lr=0.1,batch_size=16 and lr=0.1,batch_size=32" in line
    for conditions in (
        ["--baseline", "lr=0.1", "--baseline", "batch_size=16"],
        ["--baseline", "lr=0.1,batch_size=16"],
        ["--baseline", "batch_size<32,lr=1e-1"],
    ):
        assert "from lr=0.1,batch_size=16, with" in printed(capsys, sweep, *conditions)


def test_help_has_an_example(capsys):
    with pytest.raises(SystemExit):
        table.main(["--help"])
    assert "\nexample: python -m analysis.table outputs/" in capsys.readouterr().out
