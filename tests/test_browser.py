"""Pages of sweeps in a real Chromium: every control does what it says, and nothing leaves."""

import json
import re
import shutil
import time

import numpy as np
import pytest
from made_up import STEPS_PER_EPOCH, write_run
from pages import HOSTILE, losses_of, write_sweep
from scipy import stats

from analysis import page
from analysis.group_curves import trailing_mean
from analysis.page.curves import MOST, both_ways
from analysis.sweep import read_sweep
from analysis.table import tabulate

pytestmark = pytest.mark.browser
LRS, SEEDS, N_STEPS = (0.1, 1.0, 3.0), range(3), 6000


TOOLTIPS = """(function words(within) {
    return [...within.querySelectorAll("*")].filter((element) => element.shadowRoot)
        .map((element) => element.matches(".bk-Tooltip")
            ? [...element.shadowRoot.children].filter((own) => own.tagName !== "STYLE")
                .map((own) => own.textContent).join(" ")
            : words(element.shadowRoot))
        .join("");
})(document)"""


class Browser:
    """Chromium on one page. What the page's own JavaScript sees, tests see by `js`."""

    def __init__(self, driver):
        self.driver = driver
        self.look(1366)

    def look(self, width=1366, height=900, scheme="light", media="", is_phone=False):
        """How the page is looked at, from now on."""
        screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": is_phone}
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        self.driver.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": is_phone})
        media = {"media": media, "features": features}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)

    def open(self, path):
        """Opens a page as if for the first time."""
        self.js("window.remember && removeEventListener('pagehide', remember)")
        self.js("location.protocol === 'file:' && sessionStorage.clear()")
        self.logs("performance")
        self.driver.get(path.resolve().as_uri())
        self.wait("document.documentElement.dataset.ready")

    def js(self, expression):
        return self.driver.execute_script(f"return ({expression});")

    def wait(self, expression):
        """Until it is true."""
        end = time.monotonic() + 20
        while not self.js(expression):
            assert time.monotonic() < end, f"never: {expression}"
            time.sleep(0.02)

    def choose(self, **values):
        """Chooses values of controls, as a person does."""
        for name, value in values.items():
            control = self.driver.find_element("id", name)
            if control.tag_name == "select":
                options = control.find_elements("tag name", "option")
                values = [option.get_attribute("value") for option in options]
                options[values.index(str(value))].click()
            else:
                control.clear()
                control.send_keys(value)

    def click(self, selector, n=0):
        element = self.driver.find_elements("css selector", selector)[n]
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()

    def drawn(self, name):
        """The rows of a plot's source, as dicts."""
        columns = self.js(
            f"Object.fromEntries(model('{name}').columns().map("
            f"column => [column, Array.from(model('{name}').data[column], "
            "value => value?.of ? null : Array.isArray(value) ? Array.from(value) : value)]))"
        )
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    def text(self, id):
        return self.js(f"document.getElementById('{id}').textContent")

    def hover(self, plot, x, y):
        """Moves the mouse to values in a plot. Returns the words of the tooltips."""
        from selenium.webdriver import ActionChains

        self.driver.execute_script(f"byId('plot-{plot}').scrollIntoView({{block: 'center'}})")
        place = self.js(
            f"(() => {{ const view = Bokeh.index.get_one(model('{plot}'));"
            "const box = view.canvas_view.el.getBoundingClientRect(), { frame } = view;"
            f"return [box.x + frame.x_scale.compute({x}), box.y + frame.y_scale.compute({y})] }})()"
        )
        actions = ActionChains(self.driver)
        actions.w3c_actions.pointer_action.move_to_location(*map(round, place))
        actions.perform()
        end = time.monotonic() + 5
        while not (words := self.js(TOOLTIPS)) and time.monotonic() < end:
            time.sleep(0.02)
        return words

    def logs(self, kind):
        return self.driver.get_log(kind)

    def check(self):
        """No error in the console, and no request but for the page itself."""
        serious = [entry for entry in self.logs("browser") if entry["level"] != "INFO"]
        assert serious == []
        messages = [json.loads(entry["message"])["message"] for entry in self.logs("performance")]
        asked = [m["params"] for m in messages if m["method"] == "Network.requestWillBeSent"]
        urls = [one["request"]["url"] for one in asked]
        assert not [url for url in urls if not url.startswith(("file:", "data:", "blob:"))]
        assert len({url for url in urls if url.startswith("file:")}) <= 1


@pytest.fixture(scope="module")
def driver(imported):
    webdriver = imported("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for argument in "--headless=new", "--no-sandbox", "--hide-scrollbars", "--disable-gpu":
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    driver = webdriver.Chrome(options, service)
    yield driver
    driver.quit()


@pytest.fixture
def browser(driver):
    browser = Browser(driver)
    yield browser
    browser.check()
    browser.look()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_sweep(tmp_path_factory.mktemp("sweep"), LRS, len(SEEDS), N_STEPS)


@pytest.fixture(scope="module")
def path(folder):
    page.main([str(folder)])
    return folder / "sweep.html"


@pytest.fixture
def opened(browser, path):
    browser.open(path)
    return browser


def logs_of(folder, lr, metric):
    """(x, values (seeds, x)) of a metric, from the raw logs."""
    name = "steps.csv" if metric == "loss" else "epochs.csv"
    files = [folder / f"lr={lr},seed={seed}" / name for seed in SEEDS]
    logs = [np.genfromtxt(file, delimiter=",", names=True) for file in files]
    return logs[0]["step"], np.array([log[metric] for log in logs])


def edges_of(band, values, is_log):
    """The band at every x, by NumPy and SciPy."""
    mean, std, n = values.mean(axis=0), values.std(axis=0, ddof=1), len(values)
    if band == "minmax":
        return values.min(axis=0), values.max(axis=0)
    if band == "q90":
        return np.quantile(values, [0.05, 0.95], axis=0)
    half = {"std": std, "se": std / n**0.5, "ci95": stats.t.ppf(0.975, n - 1) * std / n**0.5}[band]
    return (mean * (mean / (mean + half)) if is_log else mean - half), mean + half


def in_slices(x, starts, low, high):
    """The outline of low and high: least and greatest in each slice."""
    parts = np.split(np.arange(len(x)), np.searchsorted(x, starts)[1:])
    return [low[part].min() for part in parts], [high[part].max() for part in parts]


@pytest.mark.parametrize("axes", ["", "y", "x", "xy"])
@pytest.mark.parametrize(
    "metric, smoothing",
    [("loss", 0), ("loss", 1), ("loss", 2), ("loss", 3), ("val_accuracy", 0), ("train_loss", 0)],
)
def test_the_curves_are_those_of_numpy(opened, folder, metric, smoothing, axes):
    """The means, runs and bands behind the plot, against the raw logs, to 1e-6."""
    opened.choose(metric=metric, axes=axes)
    if metric == "loss":
        opened.choose(smoothing=smoothing)
    for band, x_name in zip(
        ["std", "se", "ci95", "minmax", "q90", "none"], ["step", "epoch"] * 3, strict=True
    ):
        opened.choose(band=band, x=x_name)
        means, runs, bands = (opened.drawn(name) for name in ("means", "runs", "bands"))
        assert len(means) == 3 and len(runs) == 9 and len(bands) == 3 * (band != "none")
        for i, lr in enumerate(LRS):
            x, values = logs_of(folder, lr, metric)
            window = [1, 5, 50, 500][smoothing]
            values = np.array([trailing_mean(own, window) for own in values])
            starts = x[both_ways(x, MOST)]
            starts = starts[starts > 0] if "x" in axes else starts
            if "x" in axes and metric != "loss":
                x, values = x[1:], values[:, 1:]
            scale = STEPS_PER_EPOCH if x_name == "epoch" else 1
            mean = values.mean(axis=0)
            check_line(means[i], x, starts, mean, scale)
            for own, seed in zip(runs[3 * i : 3 * i + 3], values, strict=True):
                check_line(own, x, starts, seed, scale)
            if band == "none":
                continue
            low, high = edges_of(band, values, "y" in axes)
            greatest = 1 if metric.endswith("accuracy") else np.inf
            low, high = np.clip([low, high], 0, greatest)
            at = np.union1d(starts, x[-1:])
            if band == "q90" and len(starts) < len(x):
                keep = np.append(np.searchsorted(x, starts)[1:] - 1, len(x) - 1)
                x, low, high, at = x[keep], low[keep], high[keep], x[keep]
            n = len(bands[i]["xs"]) // 2
            low, high = in_slices(x, at, low, high)
            np.testing.assert_allclose(np.array(bands[i]["xs"][:n]) * scale, at, rtol=1e-6)
            np.testing.assert_allclose(bands[i]["ys"][:n], low, rtol=1e-6, atol=1e-6)
            np.testing.assert_allclose(bands[i]["ys"][n:][::-1], high, rtol=1e-6, atol=1e-6)


def check_line(drawn, x, starts, values, scale):
    """The least and the greatest of each slice are there, each where it is; and the last."""
    xs, ys = np.array(drawn["xs"]) * scale, np.array(drawn["ys"])
    at = np.searchsorted(x, xs - 0.5)
    np.testing.assert_allclose(xs, x[at], rtol=1e-6)
    np.testing.assert_allclose(ys, values[at], rtol=1e-6)
    assert at[-1] == len(x) - 1 and (np.diff(at) > 0).all()
    parts = np.split(np.arange(len(x)), np.searchsorted(x, starts)[1:])
    for part, kept in zip(
        parts, np.split(at, np.searchsorted(at, [p[0] for p in parts[1:]])), strict=True
    ):
        assert values[kept].min() == values[part].min()
        assert values[kept].max() == values[part].max()
        assert len(kept) <= 3


def test_examples_are_steps_times_batch_size(opened):
    opened.choose(x="examples")
    for row in opened.drawn("means"):
        assert (row["xs"][0], row["xs"][-1]) == (pytest.approx(16, abs=160), 16 * N_STEPS)
    assert "examples" in opened.js("model('curves').below[0].axis_label.text")


def test_axes_are_what_they_say(opened):
    kinds = "[model('curves').x_scale.type, model('curves').y_scale.type]"
    for axes in "y", "xy", "x", "":
        opened.choose(axes=axes)
        assert opened.js(kinds) == [f"{'Log' if a in axes else 'Linear'}Scale" for a in "xy"]
        low, high = opened.js("[model('curves').y_range.start, model('curves').y_range.end]")
        assert 0 <= low < high and (low > 0 or "y" not in axes)


def test_colours_markers_and_words_are_those_of_the_figures(opened):
    from analysis import figure

    styles = figure.group_styles(3)
    assert [row["colour"].lower() for row in opened.drawn("means")] == [
        figure.matplotlib.colors.to_hex(style["color"]) for style in styles
    ]
    assert {row["marker"] for row in opened.drawn("marks")} == {"circle", "square", "triangle"}
    caption = opened.text("curves-caption")
    for words in (
        "Line: mean of n runs.",
        "Faint: each run",
        "Band: ± 1 sample std.",
        "Pale: middle",
    ):
        assert words in caption
    opened.choose(axes="y")
    assert "Band: + 1 sample std, and below by the same factor." in opened.text("curves-caption")


def test_groups_go_off_and_on_by_legend_and_by_row(opened):
    def shown():
        return [row["group"] for row in opened.drawn("means")]

    every = ["lr=0.1", "lr=1", "lr=3"]
    assert shown() == every
    opened.click("#legend button", 1)
    assert shown() == ["lr=0.1", "lr=3"]
    assert {row["group"] for row in opened.drawn("groups")} == {"lr=0.1", "lr=3"}
    pressed = opened.js("all('#legend button').map(button => button.ariaPressed)")
    assert pressed == ["true", "false", "true"]
    opened.click("tbody[data-group='0'] input")
    assert shown() == ["lr=3"]
    opened.click("#none")
    assert shown() == []
    opened.click("#all")
    assert shown() == every


def test_rows_are_found_and_filtered(opened):
    visible = "bodies.filter(body => !body.hidden).length"
    opened.choose(**{"filter-lr": "1"})
    assert opened.js(visible) == 1
    assert [row["group"] for row in opened.drawn("means")] == ["lr=1"]
    opened.click("#none")  # of those that can be seen
    opened.choose(**{"filter-lr": ""})
    assert [row["group"] for row in opened.drawn("means")] == ["lr=0.1", "lr=3"]
    opened.click("#all")
    opened.choose(search="LR=3.0,SEED=2")
    assert [row["group"] for row in opened.drawn("means")] == ["lr=3"]
    opened.choose(search="nothing of the sort")
    assert opened.js(visible) == 0 and opened.drawn("means") == []
    opened.choose(search="lr=")
    assert opened.js(visible) == 3


def test_rows_are_sorted_by_any_column(opened, folder):
    def names():
        return opened.js("all('#groups tbody').map(body => groupOf(body).name)")

    assert names() == list(tabulate(read_sweep(folder)).index)
    heads = opened.js("all('#groups thead th').map(head => head.textContent)")
    for column, key in ("lr", "lr"), ("val_loss", "val_loss_mean"):
        place = heads.index(column) - 1
        table = tabulate(read_sweep(folder))
        order = table[key].astype(float).sort_values()
        opened.click("#groups thead button", place)
        assert names() == list(order.index)
        opened.click("#groups thead button", place)
        assert names() == list(order.index[::-1])
        head = f"document.querySelectorAll('#groups thead th')[{place + 1}].ariaSort"
        assert opened.js(head) == "descending"


def test_a_baseline_is_compared_with(opened, folder):
    opened.choose(baseline="lr=1", final="val_loss")
    table = tabulate(read_sweep(folder), "val_loss", "lr=1")
    for place, name in (0, "lr=0.1"), (2, "lr=3"):
        cells = opened.js(
            f"[...document.querySelectorAll('tbody[data-group=\"{place}\"] .difference')]"
            ".map(cell => [cell.hidden, cell.textContent])"
        )
        assert not any(hidden for hidden, _ in cells)
        width = table["high"][name] - table["low"][name]
        assert float(cells[0][1]) == pytest.approx(table["difference"][name], abs=width / 20)
        assert cells[3][1] == "paired, 3"
    assert "Differences in val_loss from lr=1" in opened.text("comparison")
    head = opened.js("heads().findIndex(head => head.innerText.trim() === 'difference')")
    opened.click("#groups thead button", head)
    for baseline in "lr=3", "lr=0.1":  # rows stay in the order that the head tells
        opened.choose(baseline=baseline)
        differences = tabulate(read_sweep(folder), "val_loss", baseline)["difference"].dropna()
        names = opened.js("all('#groups tbody').map(body => groupOf(body).name)")
        assert names == [*differences.sort_values().index, baseline]
    opened.choose(baseline="")
    assert opened.js("document.querySelector('td.difference').hidden")
    assert opened.js("sortedHead() === undefined")


def test_a_group_opens_to_its_runs_and_a_run_to_all_about_it(opened):
    opened.click("tbody[data-group='0'] .open")
    assert opened.js("document.querySelectorAll('.run').length") == 3
    opened.click(".run summary", 2)
    text = opened.js("document.querySelectorAll('.run')[2].innerText")
    for words in "seed=2, finished", "batch_size: 16", "git_commit: 1234567890", "lr=0.1,seed=2":
        assert words in text
    link = opened.js("document.querySelectorAll('.run a')[2].href")
    assert link.endswith("/lr%3D0.1%2Cseed%3D2/")
    opened.click("tbody[data-group='0'] .open")
    assert opened.js("document.querySelectorAll('.run').length") == 0


def test_one_hyperparameter_shows_runs_means_and_spread(opened, folder):
    finals = read_sweep(folder).frame()
    for metric in "val_accuracy", "train_loss":
        opened.choose(final=metric)
        groups = opened.drawn("groups")
        bars = opened.drawn("bars")
        assert [row["x"] for row in groups] == pytest.approx(np.log10(LRS))
        for lr, group, bar in zip(LRS, groups, bars, strict=True):
            own = finals[metric][finals["lr"] == lr]
            assert group["y"] == pytest.approx(own.mean(), rel=1e-9)
            ends = own.mean() - own.std(), own.mean() + own.std()
            assert (bar["low"], bar["high"]) == pytest.approx(ends, rel=1e-6)
        assert sorted(row["y"] for row in opened.drawn("dots")) == pytest.approx(
            sorted(finals[metric])
        )


def test_two_hyperparameters_are_a_heat_map_and_many_are_parallel(browser, tmp_path):
    for batch_size in 8, 32:
        write_sweep(tmp_path / f"b{batch_size}", [0.1, 1.0], 2, 80, batch_size=batch_size)
    page.main([str(tmp_path)])
    browser.open(tmp_path / "sweep.html")
    finals = read_sweep(tmp_path).frame()
    browser.choose(key="lr", other="batch_size")
    means = finals.groupby(["lr", "batch_size"])["val_accuracy"].mean()
    cells = browser.drawn("cells")
    assert len(cells) == 4 and browser.drawn("groups") == []
    for cell in cells:
        lr, batch_size = re.fullmatch(r"lr=(.*), batch_size=(.*)", cell["group"]).groups()
        assert cell["mean"] == pytest.approx(means[float(lr), int(batch_size)], rel=1e-9)
    paths = browser.drawn("paths")
    assert len(paths) == 4
    low, high = min(means), max(means)
    for own in paths:
        assert set(own["ys"][:2]) <= {0, 1}
        assert own["ys"][2] == pytest.approx((own["mean"] - low) / (high - low))
    browser.choose(other="")
    assert browser.drawn("cells") == [] and len(browser.drawn("groups")) == 4


def test_the_mouse_finds_a_single_run(opened):
    opened.choose(metric="val_loss", band="none")
    run = opened.drawn("runs")[4]
    last = len(run["xs"]) // 3
    words = opened.hover("curves", run["xs"][last], run["ys"][last])
    assert run["run"] in words and f"{run['ys'][last]:.4f}"[:5] in words


FRAME = "[model('curves').x_range.start, model('curves').x_range.end]"


def test_zoom_and_back_by_keyboard(opened):
    from selenium.webdriver import ActionChains, Keys

    def press(tool, key=Keys.ENTER):
        opened.driver.execute_script(
            "(function find(within) { for (const element of within.querySelectorAll('*')) {"
            f"  if (element.ariaLabel === '{tool}') {{ element.focus(); return true; }}"
            "  if (element.shadowRoot && find(element.shadowRoot)) return true;"
            "} })(byId('plot-curves'))"
        )
        ActionChains(opened.driver).send_keys(key).perform()

    for metric in "loss", "val_loss":  # back leads to what was there at first
        opened.choose(metric=metric)
        whole = opened.js(FRAME)
        press("Zoom In")
        near = opened.js(FRAME)
        assert near[1] - near[0] < whole[1] - whole[0]
        press("Zoom In", Keys.SPACE)
        assert opened.js(FRAME)[1] < near[1]
        press("Undo")
        assert opened.js(FRAME) == near
        press("Undo")
        assert opened.js(FRAME) == whole
        press("Redo")
        press("Reset", Keys.SPACE)
        assert opened.js(FRAME) == whole


def test_a_zoom_stays_until_another_quantity_is_shown(opened):
    opened.js("model('curves').x_range.setv({ start: 100, end: 200 })")
    opened.choose(band="se", baseline="lr=1", final="val_loss", smoothing=0)
    opened.click("#legend button", 1)
    assert opened.js(FRAME) == [100, 200]
    opened.choose(x="epoch")
    assert opened.js(FRAME)[1] > N_STEPS / STEPS_PER_EPOCH


def test_hostile_names_are_words(browser, tmp_path):
    for i, name in enumerate(HOSTILE):
        where = tmp_path / name.replace("/", "|")
        for seed in 0, 1:
            own = where.with_name(f"{where.name}{seed}")
            write_run(own, losses_of(seed, 40), lr=10.0**i, seed=seed, optimizer={"name": name})
        write_run(where.with_name(f"f{i}"), [1.0] * 3, "failed", error=name, lr=7.0, seed=i)
    page.main([str(tmp_path)])
    browser.open(tmp_path / "sweep.html")
    title = browser.js("document.title")
    browser.js("document.querySelectorAll('.open').forEach(button => button.click())")
    browser.choose(key="lr")
    browser.choose(key="optimizer", other="lr", baseline=f"lr=1,optimizer={HOSTILE[0]}")
    kinds = "[...model('against').below[0].major_label_overrides.values()].map(one => one.type)"
    assert set(browser.js(kinds)) == {"PlainText"}
    row = browser.drawn("runs")[0]
    browser.choose(band="none")
    assert "run" in browser.hover("curves", row["xs"][20], row["ys"][20])
    time.sleep(0.3)
    assert browser.js("document.title") == title == tmp_path.name
    assert browser.js("document.querySelectorAll('img, iframe').length") == 0
    body = browser.js("document.body.textContent")
    assert all(name in body for name in HOSTILE)


def test_runs_that_do_not_count_are_shown_as_what_they_are(browser, tmp_path):
    write_sweep(tmp_path, [0.1], 3, 400)
    for seed, status in enumerate(["diverged", "running", "failed", "interrupted"]):
        write_run(tmp_path / status, losses_of(seed, 40), status, lr=0.1, seed=10 + seed)
    damaged = write_run(tmp_path / "damaged", losses_of(1, 40), lr=0.1, seed=20)
    (damaged / "result.json").write_text("{")
    page.main([str(tmp_path)])
    browser.open(tmp_path / "sweep.html")
    caption = browser.text("curves-caption")
    marks = {(row["marker"], row["size"]) for row in browser.drawn("marks")}
    for status, mark in [
        ("diverged", "x"),
        ("running", "triangle"),
        ("failed", "cross"),
        ("interrupted", "dash"),
        ("damaged", "asterisk"),
    ]:
        assert f": {status}." in caption and (mark, 11) in marks
        assert f"1 {status}" in browser.js("document.querySelector('header').innerText")
    ends = [(row["x"], row["y"]) for row in browser.drawn("marks") if row["size"] == 11]
    assert len(ends) == 5 and all(1 <= x <= 40 and y > 0 for x, y in ends)
    assert len(browser.drawn("runs")) == 8 and len(browser.drawn("means")) == 1
    assert "result.json is not what a run writes" in browser.text("notes")


def test_an_open_page_follows_a_sweep_and_keeps_what_its_reader_chose(browser, tmp_path):
    write_sweep(tmp_path, [0.3, 1.0], 3, 400)
    write_run(tmp_path / "now", losses_of(9, 40), "running", lr=1.0, seed=9, epochs=100)
    out = tmp_path / "sweep.html"

    def write(every=3600):
        sweep = read_sweep(tmp_path, include=["running", "failed"])
        out.write_text(page.as_html(sweep, "some", every=every))

    write()
    browser.open(out)
    browser.choose(metric="val_loss", band="se", baseline="lr=1", **{"filter-lr": "1"})
    browser.choose(search="seed", **{"filter-lr": ""})
    browser.click("tbody[data-group='0'] input")
    browser.click("tbody[data-group='1'] .open")
    browser.click(".run summary", 1)
    heads = browser.js("heads().map(head => head.innerText.trim())")
    browser.click("#groups thead button", heads.index("val_loss"))
    browser.js("model('curves').x_range.setv({ start: 10, end: 50 })")
    # A lower lr, another column and, later, another hyperparameter
    write_sweep(tmp_path, [0.1], 3, 400)
    write_run(tmp_path / "bad", [1.0] * 3, "failed", lr=0.1, seed=8, epochs=100)
    for rounds in range(2):
        write(3600 if rounds == 0 else None)
        browser.driver.refresh()
        browser.wait(
            f"document.documentElement.dataset.ready && data.groups.length === {3 + rounds}"
        )
        values = browser.js("['metric', 'band', 'search'].map(chosen)")
        assert values == ["val_loss", "se", "seed"]
        assert browser.js("chosen('baseline')") == ("" if rounds else "lr=1")
        shown = [row["group"].split(",")[0] for row in browser.drawn("means")]
        assert shown == ["lr=0.1", "lr=1"] + ["lr=1"] * rounds
        opened = browser.js("all('.run[open]').map(run => run.dataset.run)")
        assert opened == ["lr=1.0,seed=1"]
        sorted_by = browser.js("[sortedHead().innerText.trim(), sortedHead().ariaSort]")
        assert sorted_by == ["val_loss", "ascending"]
        assert browser.js("[model('curves').x_range.start, model('curves').x_range.end]") == [
            10,
            50,
        ]
        if not rounds:
            write_run(
                tmp_path / "another seed", losses_of(1, 400), batch_size=8, lr=1.0, epochs=100
            )


def test_it_loads_itself_again_until_the_sweep_has_ended(browser, tmp_path):
    write_run(tmp_path / "now", losses_of(0, 40), "running")
    for every, is_new in (1, True), (None, False):
        text = page.as_html(read_sweep(tmp_path, include=["running"]), "some", every=every)
        (tmp_path / "sweep.html").write_text(text)
        browser.open(tmp_path / "sweep.html")
        browser.js("window.mark = 1")
        time.sleep(2)
        browser.wait("document.documentElement.dataset.ready")
        assert browser.js("window.mark === undefined") == is_new


# For every reader

CONTRASTS = """(() => {
    const light = (colour) => {
        const [r, g, b] = colour.match(/[0-9.]+/g).map((value) => value / 255)
            .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05;
    };
    const paper = light(getComputedStyle(document.body).backgroundColor);
    return all("p, th, td, dd, dt, figcaption, summary, label, a, button")
        .filter((element) => element.offsetParent)
        .map((element) => light(getComputedStyle(element).color) / paper)
        .map((ratio) => Math.max(ratio, 1 / ratio));
})()"""
FOCUSED = (
    "(({ id, ariaLabel, textContent }) => id || ariaLabel || textContent)(document.activeElement)"
)


@pytest.mark.parametrize("width", [1366, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_the_screen_in_either_theme(browser, path, width, scheme):
    browser.look(width, scheme=scheme, is_phone=width < 500)
    browser.open(path)
    assert browser.js("document.documentElement.scrollWidth") <= width
    assert browser.js("document.querySelector('#plot-curves').clientWidth") > 0.9 * (width - 48)
    assert min(browser.js(CONTRASTS)) > 4.5  # WCAG 2.1, 1.4.3
    ink = browser.js("model('curves').below[0].major_label_text_color")
    assert ink == {"light": "#1c1c1c", "dark": "#e8e8e8"}[scheme]


def test_the_theme_may_change_and_paper_is_light(browser, path):
    browser.open(path)
    ink = "model('curves').below[0].major_label_text_color"
    for scheme, wanted in ("dark", "#e8e8e8"), ("light", "#1c1c1c"), ("dark", "#e8e8e8"):
        browser.look(scheme=scheme)
        browser.wait(f"{ink} === '{wanted}'")
    for event, wanted in ("beforeprint", "#000000"), ("afterprint", "#e8e8e8"):
        browser.js(f"window.dispatchEvent(new Event('{event}'))")
        assert browser.js(ink) == wanted
    assert browser.driver.execute_cdp_cmd("Page.printToPDF", {})["data"]


def test_every_control_and_table_has_a_name(opened):
    unnamed = (
        "all('select, input, button').filter(e => !(e.ariaLabel || e.textContent.trim() && "
        "e.tagName === 'BUTTON' || e.labels?.length)).length"
    )
    assert opened.js(unnamed) == 0
    assert opened.js("all('#groups thead th').every(head => head.scope === 'col')")
    assert opened.js("all('#groups tbody tr').every(row => row.cells[0].scope === 'row')")
    assert opened.js("all('h1, h2, h3').map(head => head.tagName)") == ["H1", "H2", "H2", "H2"]
    captions = opened.js(
        "all('figure').map(one => byId(one.getAttribute('aria-labelledby')).textContent)"
    )
    assert len(captions) == 2 and all(len(text) > 50 for text in captions)
    assert "Last values: 0.1:" in captions[0]
    assert opened.js("document.documentElement.lang") == "en"


def test_by_keyboard_alone(opened):
    """Tab reaches every control, and Space and Enter work them."""
    from selenium.webdriver import ActionChains, Keys

    reached = set()
    opened.driver.execute_script("document.activeElement.blur()")
    for _ in range(80):
        ActionChains(opened.driver).send_keys(Keys.TAB).perform()
        reached.add(opened.js(FOCUSED))
    for name in (
        "search",
        "filter-lr",
        "final",
        "baseline",
        "show lr=1",
        "runs of lr=1",
        "metric",
        "band",
        "axes",
        "key",
    ):
        assert name in reached
    opened.driver.execute_script("document.querySelector('#legend button').focus()")
    ActionChains(opened.driver).send_keys(Keys.SPACE).perform()
    assert [row["group"] for row in opened.drawn("means")] == ["lr=1", "lr=3"]


def test_one_run_and_forty_groups_are_pages(browser, tmp_path):
    write_run(tmp_path / "one/run", losses_of(0, 40))
    lrs = np.linspace(0.1, 2, 40).round(4).tolist()
    write_sweep(tmp_path / "many", lrs, 2, 40)
    for name, n in ("one", 1), ("many", 40):
        page.main([str(tmp_path / name)])
        browser.open(tmp_path / name / "sweep.html")
        assert len(browser.drawn("means")) == n
    assert "There are too many lines for bands." in browser.text("curves-caption")
    browser.click("#none")
    browser.click("#legend button", 3)
    assert len(browser.drawn("bands")) == 1


def test_few_of_many_groups_are_told_apart(browser, tmp_path):
    for name in "abcdefghij":
        write_sweep(tmp_path / name, [0.1], 1, 40, optimizer={"name": name})
        write_sweep(tmp_path / f"{name}2", [1.0], 1, 40, optimizer={"name": name})
    page.main([str(tmp_path)])
    browser.open(tmp_path / "sweep.html")
    colours = "model('means').data.colour"
    assert len(set(browser.js(colours))) == 5  # four best, and grey
    browser.choose(search="optimizer=c")
    assert len(set(browser.js(colours))) == len(browser.js(colours)) == 2
    assert "#bfbfbf" not in browser.js(colours)
    swatch = "getComputedStyle(bodies.find(body => !body.hidden).querySelector('.swatch')).color"
    assert browser.js(swatch) != "rgb(191, 191, 191)"


def test_odd_numbers_have_axes(browser, tmp_path):
    """Equal values, epoch 0 alone, a loss of 0, nothing at all."""
    for seed in 0, 1:
        write_run(tmp_path / f"{seed}", np.zeros(8), seed=seed)
    for seed, losses in enumerate([np.full(8, 0.5), np.full(3, 1e40)]):
        status = "diverged" if seed else "finished"
        write_run(tmp_path / f"2{seed}", losses, status, seed=seed, lr=2.0)
    write_run(tmp_path / "3", np.full(2, 0.5), lr=3.0)
    page.main([str(tmp_path)])
    browser.open(tmp_path / "sweep.html")
    for metric in "loss", "train_loss", "val_accuracy":
        for axes in "", "x", "y", "xy":
            for x in "epoch", "step":
                browser.choose(metric=metric, axes=axes, x=x)
                for plot in "curves", "against":
                    low, high = browser.js(
                        f"[model('{plot}').y_range.start, model('{plot}').y_range.end]"
                    )
                    assert low < high
        if metric != "loss":
            browser.choose(final=metric)
    browser.click("#none")
    assert "No group that is shown has it." in browser.text("curves-caption")
    assert "No group that is shown has it." in browser.text("against-caption")
