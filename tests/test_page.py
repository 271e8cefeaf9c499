"""analysis.page: what stands in the file. test_browser.py looks at it in a browser."""

import builtins
import tracemalloc
from html.parser import HTMLParser
from itertools import product
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest
from made_up import CONFIG, error_line, write_run
from pages import HOSTILE, data_of, losses_of, numbers, write_sweep

from analysis import page
from analysis.group_curves import trailing_mean
from analysis.page import arrays, content
from analysis.page.curves import MOST, both_ways
from analysis.statistics import holm
from analysis.sweep import read_sweep
from analysis.table import tabulate


class Elements(HTMLParser):
    """The elements and the texts of a page, scripts and styles apart."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.texts, self._within = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes.append(dict(attributes))
        self._within.append(tag)

    def handle_endtag(self, tag):
        while self._within and self._within.pop() != tag:
            pass

    def handle_data(self, text):
        if not {"script", "style"} & set(self._within):
            self.texts.append(" ".join(text.split()))


def write(folder, *options):
    """The page that the command writes: (its path, what it says on standard output)."""
    page.main([str(folder), *map(str, options)])
    return folder / "sweep.html"


def text_of(path):
    return " ".join(filter(None, Elements(path.read_text(encoding="utf-8")).texts))


def test_it_says_where_it_wrote_and_which_runs_are_left_out(tmp_path, capsys):
    write_sweep(tmp_path, n_steps=40)
    write_run(tmp_path / "lost", [9.0] * 9, "diverged", lr=5.0, error="loss is inf at step 10")
    path = write(tmp_path)
    out, err = capsys.readouterr()
    assert out == f"wrote {path}\n"
    assert err == "".join(f"note: {run}: {what}\n" for run, what in read_sweep(tmp_path).findings)
    text = text_of(path)
    assert "7 runs: 6 finished, 1 diverged; 2 missing, of seeds that most groups have." in text
    assert "lr=5,epochs=3,seed=0 : diverged: loss is inf at step 10" in text


def test_the_head_tells_what_has_not_ended_and_where_runs_come_from(tmp_path):
    write_sweep(tmp_path, n_steps=40)
    write_run(tmp_path / "now", [1.0] * 9, "running", lr=0.1, seed=9)
    (tmp_path / ".runs.json").write_text('["now", "later", "last"]')
    text = text_of(write(tmp_path))
    assert "7 runs: 6 finished, 1 running; 2 still to come" in text
    assert "This sweep has not ended, or somebody killed it." in text
    assert "code 1234567" in text and "Only runs with" not in text
    text = text_of(write(tmp_path, "--where", "lr<1", "--where", "seed!=9"))
    assert "Only runs with lr<1 and seed!=9." in text


def test_groups_stand_best_first_with_their_means(tmp_path):
    write_sweep(tmp_path, lrs=[0.1, 1.0, 0.3])
    path = write(tmp_path)
    sweep = read_sweep(tmp_path)
    table = tabulate(sweep)
    columns, rows = content.table_of_groups(sweep, "val_accuracy")
    assert [row["name"] for row in rows] == list(table.index)
    for row, (_, wanted) in zip(rows, table.iterrows(), strict=True):
        orders = dict(zip(columns, (order for _, order in row["cells"]), strict=True))
        assert orders["n"] == 3 and "left out" not in orders
        for metric in sweep.metrics:
            assert orders[metric] == wanted[f"{metric}_mean"]
    assert rows[0]["best"] == columns.index("val_accuracy")
    assert {row["best"] for row in rows[1:]} == {None}
    assert text_of(path).count("★ best") == 1


@pytest.mark.parametrize("metric", ["val_accuracy", "train_loss"])
def test_differences_are_those_of_the_table(tmp_path, metric):
    write_sweep(tmp_path, lrs=[0.1, 1.0, 0.3], n_seeds=4)
    data = data_of(write(tmp_path))
    for place, group in enumerate(data["groups"]):
        table = tabulate(read_sweep(tmp_path), metric, group["name"])
        np.testing.assert_array_equal(table["p_holm"], holm(table["p"]))
        for other, cells in zip(
            data["groups"], data["comparisons"][metric][str(place)], strict=True
        ):
            row = table.loc[other["name"]]
            if other is group:
                assert cells == [""] * 4
                continue
            low, high = map(float, cells[1].split(" to "))
            width = row["high"] - row["low"]
            assert float(cells[0]) == pytest.approx(row["difference"], abs=width / 20)
            assert [low, high] == pytest.approx([row["low"], row["high"]], abs=width / 20)
            assert cells[2:] == [f"{row['p_holm']:.2g}", "paired, 4"]


def test_the_comparisons_have_a_bound(tmp_path, monkeypatch):
    write_sweep(tmp_path, lrs=[0.1, 0.2, 0.3, 0.4], n_steps=8)
    monkeypatch.setattr(content, "COMPARISONS", 2 * 4 * 4)
    data = data_of(write(tmp_path))
    best = tabulate(read_sweep(tmp_path)).index[:2]
    compared = [data["groups"][int(place)]["name"] for place in data["comparisons"]["val_loss"]]
    assert sorted(compared) == sorted(best)
    assert data["why"] == "The best 2 groups can be compared with."


def test_groups_with_two_runs_of_a_seed_are_not_compared(tmp_path):
    write_sweep(tmp_path / "a", n_steps=40)
    write_sweep(tmp_path / "b", n_steps=40, batch_size=8)
    data = data_of(write(tmp_path, "--by", "lr"))
    assert data["comparisons"] == {}
    assert data["why"].startswith("Groups are not compared: lr=0.1 has several runs of one seed")


# Curves: the arrays in the page against NumPy on the raw logs


def test_means_and_runs_keep_every_extreme(tmp_path):
    folder = write_sweep(tmp_path, n_steps=20_000)
    data = data_of(write(folder))
    lrs, windows = zip(data["groups"], (0.1, 1.0), strict=True), enumerate([1, 20, 200, 2000])
    for (group, lr), (place, window) in product(lrs, windows):
        curve = group["curves"]["loss"][place]["step"]
        logs = [pd.read_csv(folder / f"lr={lr},seed={seed}/steps.csv") for seed in range(3)]
        smooth = [trailing_mean(log["loss"].to_numpy(), window) for log in logs]
        lines = [(curve["mean"], np.mean(smooth, axis=0))]
        lines += [(run[1:], own) for run, own in zip(curve["runs"], smooth, strict=True)]
        for packed, wanted in lines:
            x, y = (numbers(data, array) for array in packed)
            assert 700 < len(x) <= 2 * MOST + 1
            assert x[-1] == 20_000 and (np.diff(x) > 0).all()
            np.testing.assert_allclose(y, wanted[x.astype(int) - 1], rtol=1e-7)
            np.testing.assert_allclose([y.min(), y.max()], [wanted.min(), wanted.max()], rtol=1e-7)


def test_smoothings_are_named_by_what_they_do(tmp_path):
    path = write(write_sweep(tmp_path / "long", n_steps=3000))
    names = ["single steps", "mean of the last 2 steps", "mean of the last 20 steps"]
    assert all(f">{name}</option>" in path.read_text() for name in names)
    assert "selected>mean of the last 20 steps<" in path.read_text()
    path = write(write_sweep(tmp_path / "short", n_steps=40))
    assert "selected>single steps<" in path.read_text()
    assert "mean of the last 10 steps" in path.read_text()


def test_slices_serve_both_kinds_of_axis():
    x = np.arange(1.0, 100_001)
    starts = both_ways(x, 1000)
    assert starts[0] == 0 and 700 < len(starts) <= 1000
    per_decade = np.histogram(np.log10(x[starts]), [0, 1, 2, 3, 4, 5])[0]
    assert per_decade[0] == 9 and (per_decade[1:] >= 30).all()
    widths = np.diff(x[starts])
    assert widths.max() < 200 and widths[-600:].min() > 130  # none is a sliver between others
    assert np.array_equal(both_ways(x[:7], 1000), np.arange(7))


def test_pooled_batch_sizes_are_joined_where_they_meet(tmp_path):
    """Step 2 of a batch of 16 is example 32, as is step 4 of a batch of 8."""
    for batch_size in 8, 16:
        losses = np.arange(1.0, 9) * batch_size
        write_run(tmp_path / f"{batch_size}", losses, batch_size=batch_size)
    data = data_of(write(tmp_path, "--by", "lr"))
    curve = data["groups"][0]["curves"]["loss"][0]["examples"]
    x, y = (numbers(data, array) for array in curve["mean"])
    assert x.tolist() == [16, 32, 48, 64]
    assert y.tolist() == [16, 32, 48, 64]  # (2i * 8 + i * 16) / 2


def test_runs_that_do_not_count_have_curves_too(tmp_path):
    write_sweep(tmp_path, lrs=[0.1], n_steps=40)
    for status in "diverged", "interrupted", "failed", "running":
        write_run(tmp_path / status, losses_of(1, 8), status, seed=1, lr=0.5)
        data = data_of(write(tmp_path))
        (place, *line), *_ = data["groups"][1]["curves"]["loss"][0]["step"]["runs"]
        assert data["runs"][place]["status"] == status
        np.testing.assert_allclose(numbers(data, line[1]), losses_of(1, 8), rtol=1e-6)
        assert data["groups"][1]["curves"]["loss"][0]["step"]["mean"] is None
        for file in sorted((tmp_path / status).rglob("*"), reverse=True):
            file.unlink() if file.is_file() else file.rmdir()
        (tmp_path / status).rmdir()


def test_a_run_that_never_began_has_one_note(tmp_path):
    write_sweep(tmp_path, lrs=[0.1], n_steps=8)
    lost = write_run(tmp_path / "lost", [1.0], "failed", seed=2, lr=0.1, error="no data")
    torn = tmp_path / "lr=0.1,seed=1"
    for path in lost / "steps.csv", lost / "epochs.csv", torn / "steps.csv":
        path.unlink()
    sweep = read_sweep(tmp_path, include=["failed"])
    page.as_html(sweep, "some")
    told = [what for run, what in sweep.findings if run in ("lost", torn.name)]
    assert told == ["failed: no data", "steps.csv is missing"]


def test_a_run_that_stops_within_the_first_epoch_does_not_stretch_the_others(tmp_path):
    write_run(tmp_path / "a", losses_of(0, 3), "diverged")
    write_run(tmp_path / "b", losses_of(1, 40), seed=1)
    (group,) = data_of(write(tmp_path))["groups"]
    assert group["times"] == {"epoch": 0.25, "examples": 16}


def test_zero_stands_below_the_least_on_a_logarithmic_axis(tmp_path):
    for i, lr in enumerate([0, 1e-4, 1e-2]):
        write_run(tmp_path / f"{i}", losses_of(1, 40), lr=lr)
    (key,) = data_of(write(tmp_path))["keys"]
    assert key["ticks"] == [[-5, "0"], [-4, "0.0001"], [-2, "0.01"]] and key["is_numeric"]


def test_a_sweep_of_which_no_run_has_ended_is_a_page(tmp_path):
    write_run(tmp_path / "now", losses_of(1, 8), "running")
    text = text_of(write(tmp_path))
    assert "1 run: 1 running." in text
    assert data_of(tmp_path / "sweep.html")["metrics"] == []


def test_numbers_of_any_size_find_room():
    several = arrays.Arrays()
    data = {"arrays": several.texts}
    whole, huge, usual = [2.0**24 + 1, 3], [1e300, 0.1], [0.1, -1e-30]
    for values in whole, huge:
        assert numbers(data, several.add(values)).tolist() == values
        assert numbers(data, several.add(np.repeat(values, 2)[::2])).tolist() == values
    np.testing.assert_allclose(numbers(data, several.add(usual)), usual, rtol=6e-8)
    assert several.add(whole) == 0 and len(several.texts) == 3


# What a person typed


def test_names_are_shown_and_are_no_markup(tmp_path):
    write_sweep(tmp_path / "plain", n_steps=8)
    for seed, name in enumerate(HOSTILE):
        where = tmp_path / name.replace("/", "|")
        write_run(where, [1.0] * 8, seed=seed, optimizer={"name": name}, name=name)
        write_run(where.with_name(f"x{seed}"), [1.0] * 3, "failed", error=name, lr=7.0, seed=seed)
    path = write(tmp_path, "--by", "name,lr,optimizer")
    text = path.read_text(encoding="utf-8")
    elements = Elements(text)
    assert elements.tags.count("script") == 3  # data, Bokeh, page.js
    assert {"img", "iframe", "object", "embed", "base"}.isdisjoint(elements.tags)
    assert not any(name.startswith("on") for own in elements.attributes for name in own)
    for name in HOSTILE:
        assert any(name in part for part in elements.texts)
    data = data_of(path)
    names = {group["name"] for group in data["groups"]}
    assert all(any(name in own for own in names) for name in HOSTILE)


def test_only_the_scripts_of_the_page_may_run(tmp_path):
    write_sweep(tmp_path, n_steps=8)
    text = write(tmp_path).read_text(encoding="utf-8")
    policy = next(own["content"] for own in Elements(text).attributes if "http-equiv" in own)
    parts = dict(part.split(" ", 1) for part in policy.split("; "))
    assert parts.keys() == {"default-src", "img-src", "style-src", "script-src"}
    assert parts["default-src"] == "'none'" and parts["img-src"] == "data: blob:"
    scripts = text.split("<script>")[1:]
    wanted = [f"'{page.digest(script.split('</script>')[0])}'" for script in scripts]
    assert parts["script-src"].split() == wanted and len(wanted) == 2


def test_links_lead_from_the_page_to_the_runs(tmp_path):
    write_sweep(tmp_path / "my sweep", n_steps=8)
    write_run(tmp_path / "my sweep/javascript:alert(1)#?", [1.0] * 8, seed=7)
    out = tmp_path / "elsewhere.html"
    write(tmp_path / "my sweep", "--out", out)
    for run in data_of(out)["runs"]:
        assert (out.parent / unquote(run["link"]) / "steps.csv").exists()
        assert ":" not in run["link"] and "#" not in run["link"]


def test_a_run_tells_all_about_itself(tmp_path):
    write_sweep(tmp_path, n_steps=8)
    write_run(tmp_path / "broken", [1.0] * 3, "failed", error="OSError: full\nmore", lr=3.0)
    data = data_of(write(tmp_path))
    run = next(run for run in data["runs"] if run["name"] == "broken")
    assert run["error"] == "OSError: full\nmore" and run["problem"] == "failed: OSError: full"
    config = data["shared"] | run["config"]
    assert config["lr"] == "3" and config["model.hidden_sizes"] == "[300,100]"
    assert len(config) == sum(
        len(value) if isinstance(value, dict) else 1 for value in CONFIG.values()
    )
    assert data["environments"][run["environment"]]["git_commit"] == "1234567890"


# The command


def test_bad_input_is_told_in_one_line(tmp_path, capsys):
    assert "no runs under" in error_line(capsys, page.main, tmp_path)
    assert "no such folder" in error_line(capsys, page.main, tmp_path / "none")
    assert "no such folder" in error_line(capsys, page.main, tmp_path / "none", "--watch", 1)
    write_sweep(tmp_path, n_steps=8)
    asked = tmp_path, "--metric", "val_acuracy"
    assert "did you mean val_accuracy?" in error_line(capsys, page.main, *asked)
    assert "did you mean val_accuracy?" in error_line(capsys, page.main, *asked, "--watch", 1)
    assert "its ending must be .html" in error_line(capsys, page.main, tmp_path, "--out", "a.pdf")
    assert "must be 1 to 86400" in error_line(capsys, page.main, tmp_path, "--watch", 0)
    assert "nowhere" in error_line(
        capsys, page.main, tmp_path, "--out", tmp_path / "nowhere/a.html"
    )


def test_it_says_how_to_install_bokeh(tmp_path, capsys, monkeypatch):
    original = builtins.__import__

    def without(name, *args):
        if name == "bokeh":
            raise ImportError(name)
        return original(name, *args)

    write_sweep(tmp_path, n_steps=8)
    monkeypatch.setattr(builtins, "__import__", without)
    assert "pip install 'mlp-numpy[page]'" in error_line(capsys, page.main, tmp_path)


def test_watching_ends_with_the_sweep(tmp_path, capsys, monkeypatch):
    write_run(tmp_path / "a", losses_of(0, 8), "running")
    pages = []

    def sleep(seconds):
        pages.append((seconds, data_of(tmp_path / "sweep.html")["every"]))
        if len(pages) == 2:
            write_run(tmp_path / "b", losses_of(1, 8), seed=1)
        if len(pages) == 3:
            (tmp_path / "a/steps.csv").unlink()
            (tmp_path / "a").rename(tmp_path.parent / "gone")

    monkeypatch.setattr(page.time, "sleep", sleep)
    write(tmp_path, "--watch", 7)
    assert pages == [(7, 7)] * 3
    out = capsys.readouterr().out.splitlines()
    assert "every 7 s until the sweep has ended" in out[0]
    assert out[1:] == [f"wrote {tmp_path / 'sweep.html'}"]
    assert data_of(tmp_path / "sweep.html")["every"] is None


def test_watching_waits_for_the_first_run_and_stops_on_ctrl_c(tmp_path, capsys, monkeypatch):
    def sleep(_):
        if (tmp_path / "a").exists():
            raise KeyboardInterrupt
        write_run(tmp_path / "a", losses_of(0, 8), "running")

    monkeypatch.setattr(page.time, "sleep", sleep)
    path = write(tmp_path, "--watch", 7)
    assert "not yet: no runs under" in capsys.readouterr().out
    assert data_of(path)["every"] is None
    assert "loads itself again" not in text_of(path)


@pytest.mark.slow
def test_memory_does_not_follow_the_number_of_runs_times_steps(tmp_path):
    def peak(n_seeds, n_steps):
        folder = tmp_path / f"{n_seeds}-{n_steps}"
        sweep = read_sweep(write_sweep(folder, lrs=[0.1], n_seeds=n_seeds, n_steps=n_steps))
        tracemalloc.start()
        page.as_html(sweep, "some")
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(1, 8)  # imports
    few, many = (peak(12, n_steps) - peak(4, n_steps) for n_steps in (20_000, 80_000))
    assert many < 1.3 * few
