"use strict";
// Draws what a reader chooses. Python has worked out the numbers: see __init__.py beside this file.

const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const chosen = (id) => byId(id)?.value ?? "";
const bodies = all("#groups tbody"); // one for each group, best first
const groupOf = (body) => data.groups[body.dataset.group];
const boxOf = (body) => body.querySelector("input");
const brief = (text) => (text.length > 24 ? `${text.slice(0, 23)}…` : text);
const round = (value, figures = 4) => `${+value.toPrecision(figures)}`;

const decoded = [];
function numbers(place) {
  if (!decoded[place]) {
    const text = data.arrays[place];
    const bytes = Uint8Array.from(atob(text.slice(1)), (letter) => letter.charCodeAt(0));
    decoded[place] = new (text[0] === "8" ? Float64Array : Float32Array)(bytes.buffer);
  }
  return decoded[place];
}

// Which groups are shown: those that the filters leave and nobody has switched off

const shownGroups = () =>
  bodies.filter((body) => !body.hidden && boxOf(body).checked)
    .map((body) => +body.dataset.group).sort((a, b) => a - b);

function filter() {
  const words = chosen("search").toLowerCase();
  for (const body of bodies) {
    const place = +body.dataset.group;
    const names = [groupOf(body).name, ...groupOf(body).runs.map((run) => data.runs[run].name)];
    const fits = data.keys.every((key, i) =>
      chosen(`filter-${i}`) === "" || +chosen(`filter-${i}`) === key.places[place]);
    body.hidden = !(fits && names.join("\n").toLowerCase().includes(words));
    const button = byId("legend")?.children[place].firstElementChild;
    if (!button) continue;
    button.parentElement.hidden = body.hidden;
    button.setAttribute("aria-pressed", boxOf(body).checked);
  }
}

// The table

function compare() {
  const metric = chosen("final"), baseline = chosen("baseline");
  const rows = data.comparisons[metric]?.[baseline];
  for (const cell of all(".difference")) cell.hidden = !rows;
  for (const body of bodies) {
    const texts = rows?.[body.dataset.group] ?? ["", "", "", ""];
    all(".difference", body).forEach((cell, i) => {
      cell.textContent = texts[i];
      cell.dataset.order = i < 3 ? parseFloat(texts[i]) : texts[i];
    });
  }
  byId("comparison").textContent = !rows ? data.why
    : `Differences in ${metric} from ${data.groups[baseline].name}, with a 95% Student t ` +
      "interval; p is corrected by Holm's method.";
}

function sort(head, direction) {
  const column = [...head.parentElement.children].indexOf(head);
  for (const other of all("#groups th[aria-sort]")) other.ariaSort = "none";
  head.ariaSort = direction;
  const order = (body) => {
    const text = body.rows[0].cells[column].dataset.order ?? "NaN";
    return text === "" || text === "NaN" ? null : isNaN(text) ? text : +text;
  };
  const sign = direction === "ascending" ? 1 : -1;
  byId("groups").append(...[...bodies].sort((one, two) => {
    const [a, b] = [order(one), order(two)];
    if (a === null || b === null) return (a === null) - (b === null); // the empty ones come last
    return sign * (a < b ? -1 : a > b);
  }));
}

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children); // a text stays a text, whatever it holds
  return element;
}

function openRuns(body, isOpen) {
  body.querySelector(".open").setAttribute("aria-expanded", isOpen);
  if (!isOpen) {
    body.rows[1]?.remove();
  } else if (!body.rows[1]) {
    const runs = groupOf(body).runs.map((place) => describe(data.runs[place]));
    const cell = make("td", { colspan: body.rows[0].cells.length }, ...runs);
    body.append(make("tr", {}, cell));
  }
}

function describe(run) {
  const lines = (values) => Object.entries(values).map(([key, value]) => `${key}: ${value}`);
  const finals = data.metrics.map((metric, i) => [metric, run.finals[i]])
    .filter(([, value]) => value !== null).map(([metric, value]) => `${metric} ${round(value)}`);
  const title = [`seed=${run.seed}`, run.problem ?? run.status, ...finals].join(", ");
  const parts = {
    folder: make("a", { href: `${run.link}/` }, run.name),
    seconds: run.seconds === null ? "" : round(run.seconds, 3),
    overrides: run.overrides.join(" "),
    error: run.error,
    configuration: lines({ ...data.shared, ...run.config }).join("\n"),
    environment: lines(data.environments[run.environment]).join("\n"),
  };
  const list = Object.entries(parts).filter(([, content]) => content !== "")
    .flatMap(([name, content]) => [
      make("dt", {}, name),
      make("dd", {}, typeof content === "string" ? make("pre", {}, content) : content),
    ]);
  return make("details", { class: "run" }, make("summary", {}, title), make("dl", {}, ...list));
}

// Plots

const model = (name) => Bokeh.documents.map((own) => own.get_model_by_name(name)).find(Boolean);
const create = (kind, attributes = {}) => new (Bokeh.Models.get(kind))(attributes);
const plain = (text) => create("PlainText", { text }); // of a person: no TeX
const withUnit = (metric) =>
  metric.replaceAll("_", " ") + (metric.endsWith("loss") ? " (nats)" : "");

function fill(name, rows) {
  const source = model(name);
  source.data = Object.fromEntries(
    source.columns().map((column) => [column, rows.map((row) => row[column])]));
}

/** Least and greatest of values that come one by one. */
class Span {
  low = Infinity;
  high = -Infinity;
  hold(value) {
    if (value < this.low) this.low = value;
    if (value > this.high) this.high = value;
  }
}

/** Shows low to high on an axis, now and after a reset. */
function show(plot, axis, low, high) {
  plot[`${axis}_range`].setv({ start: low, end: high, reset_start: low, reset_end: high });
}

/** Shows a span on an axis with a margin; isLog: whether the axis is logarithmic. */
function frame(plot, axis, { low, high }, isLog, share = 0.04) {
  if (!(low <= high)) [low, high] = [1, 2]; // nothing is shown
  const line = (axis === "x" ? plot.below : plot.left)[0];
  const kind = isLog ? "Log" : "Linear";
  if (plot[`${axis}_scale`].type !== `${kind}Scale`) {
    plot[`${axis}_scale`] = create(`${kind}Scale`);
    line.ticker = create(isLog ? "LogTicker" : "BasicTicker");
  }
  if (plot.name === "curves") line.ticker.desired_num_ticks = widthOf("curves") > 400 ? 6 : 4;
  if (isLog) {
    const factor = (high / low) ** share || 2;
    show(plot, axis, low / factor, high * factor);
  } else {
    const margin = (high - low) * share || Math.abs(high) * 0.1 || 1;
    show(plot, axis, low >= 0 ? Math.max(0, low - margin) : low - margin, high + margin);
  }
}

/** Names places on an axis, as many as there is room for. */
function nameTicks(line, places, names, room) {
  const step = Math.ceil(places.length / Math.max(2, room));
  const kept = [...places.keys()].filter((i) => i % step === 0);
  line.ticker = create("FixedTicker", { ticks: kept.map((i) => places[i]) });
  line.major_label_overrides = new Map(kept.map((i) => [places[i], plain(brief(names[i]))]));
}

const widthOf = (name) => byId(`plot-${name}`).clientWidth - 80; // without the y axis

/** For how many of these names an x axis has room. */
function roomFor(names, plot) {
  const letters = Math.max(...names.map((name) => brief(name).length));
  return Math.floor(widthOf(plot) / (8 * letters + 16));
}

// Curves

const FAINT = 0.35;

function curveOf(group) {
  const of = group.curves[chosen("metric")]; // loss is the only one with several smoothings
  const at = of?.[Math.min(chosen("smoothing"), of.length - 1)], x = chosen("x");
  if (!at) return null;
  return at[x] ? { ...at[x], times: 1 } : { ...at.step, times: group.times[x] ?? NaN };
}

/** The points of a line [x, low, high]: one at each x, or two where low and high differ. */
function pointsOf([x, low, high], times) {
  const xs = [], ys = [], [at, lows, highs] = [x, low, high].map(numbers);
  const isLogX = chosen("axes").includes("x");
  for (let i = 0; i < at.length; i++) {
    if (isLogX && at[i] <= 0) continue; // epoch 0 has no logarithm
    for (const y of low === high ? [lows[i]] : [lows[i], highs[i]]) {
      xs.push(at[i] * times);
      ys.push(y);
    }
  }
  return { xs, ys };
}

function outlineOf([x, low, high], times) {
  const under = pointsOf([x, low, low], times), over = pointsOf([x, high, high], times);
  return { xs: [...under.xs, ...over.xs.reverse()], ys: [...under.ys, ...over.ys.reverse()] };
}

function drawCurves() {
  const plot = model("curves"), band = chosen("band"), metric = chosen("metric");
  const [isLogX, isLogY] = ["x", "y"].map((axis) => chosen("axes").includes(axis));
  const shown = shownGroups().map((place) => data.groups[place]).filter(curveOf);
  const isCrowd = shown.length > data.limits.crowd;
  const rows = { raw: [], bands: [], runs: [], means: [], marks: [] };
  const whole = { x: new Span(), y: new Span() }, late = { x: new Span(), y: new Span() };
  const hasMean = shown.some((group) => curveOf(group).mean);
  const hold = ({ xs, ys }, start) => ys.forEach((y, i) => {
    if (isLogY && !(y > 0)) return;
    for (const { x, y: of } of xs[i] >= start ? [whole, late] : [whole]) {
      x.hold(xs[i]);
      of.hold(y);
    }
  });
  shown.forEach((group, turn) => {
    const curve = curveOf(group), { times } = curve, start = (curve.start ?? -Infinity) * times;
    const colour = colourOf(group.look), isFew = 1 < group.n && group.n <= data.limits.few;
    for (const [place, ...line] of curve.runs) {
      const { counts, name, status } = data.runs[place], points = pointsOf(line, times);
      const alpha = !counts ? 0.8 : isFew && !isCrowd ? FAINT : 0; // under the mouse: 1
      rows.runs.push({ ...points, colour, alpha, run: name, status, counts });
      if (counts ? alpha : !hasMean) hold(points, start);
    }
    if (!curve.mean) return;
    const points = pointsOf(curve.mean, times), n = points.xs.length;
    rows.means.push({ ...points, colour, ...group.look, group: group.name, of: group, curve });
    hold(points, start);
    const { marker } = group.look, every = Math.max(1, Math.floor(n / 8));
    for (let i = Math.floor((turn * every) / shown.length); marker && i < n; i += every) {
      rows.marks.push({ x: points.xs[i], y: points.ys[i], colour, marker, angle: 0, size: 7 });
    }
    const edges = curve.bands[band]?.[+isLogY];
    if (edges && !isCrowd) {
      rows.bands.push({ ...outlineOf(edges, times), colour });
      hold(rows.bands.at(-1), start);
    }
    if (curve.raw && shown.length <= data.limits.pale) {
      rows.raw.push({ ...outlineOf(curve.raw, times), colour });
    }
  });
  const rest = late.y.high - late.y.low;
  const isCut = !isLogY && rest > 0 && whole.y.high - whole.y.low > 1.25 * rest;
  frame(plot, "x", (isCut ? late : whole).x, isLogX);
  frame(plot, "y", (isCut ? late : whole).y, isLogY);
  for (const run of rows.runs.filter(({ counts }) => !counts)) rows.marks.push(endOf(run, plot));
  for (const [name, own] of Object.entries(rows)) fill(name, own);
  plot.below[0].axis_label = plain(data.words.xs[chosen("x")]);
  plot.left[0].axis_label = plain(metric === "loss" ? "mini-batch loss (nats)" : withUnit(metric));
  byId("smoothing").parentElement.hidden = metric !== "loss";
  byId("curves-caption").textContent = describeCurves(rows, isCrowd, isCut, isLogY);
}

/** The mark where a run that does not count ends, or where it leaves the frame. */
function endOf({ xs, ys, colour, status }, { x_range, y_range }) {
  const isInside = (y, i) => y >= y_range.start && y <= y_range.end && xs[i] <= x_range.end;
  const end = Math.min(ys.findLastIndex(isInside) + 1, ys.length - 1);
  const within = (value, { start, end }) => Math.min(Math.max(value, start), end);
  const [marker, angle] = data.words.ends[status];
  const [x, y] = [within(xs[end], x_range), within(ys[end], y_range)];
  return { x, y, colour, marker, angle, size: 11 };
}

/** What the lines and areas are, in the words of the figures; and where the lines end. */
function describeCurves(rows, isCrowd, isCut, isLogY) {
  const select = byId("metric"), { bands, ends } = data.words, words = bands[chosen("band")];
  const isByFactor = isLogY && words.startsWith("±");
  const there = new Set(rows.runs.map((run) => run.status));
  const lasts = rows.means.map(({ of, curve }) => `${of.values}: ${round(curve.last)}`);
  return [
    `${select.selectedOptions[0].text} against ${chosen("x")}` +
      (select.value === "loss" ? `, ${byId("smoothing").selectedOptions[0].text}.` : "."),
    rows.means.every(({ of }) => of.n < 2) ? "Each line is one run." : "Line: mean of n runs.",
    rows.runs.some((run) => run.alpha === FAINT) &&
      `Faint: each run, where n ≤\u00a0${data.limits.few}.`,
    rows.bands.length && `Band: ${isByFactor ? words.replace("±", "+") : words}` +
      (isByFactor ? ", and below by the same factor." : "."),
    isCrowd && "There are too many lines for bands.",
    rows.raw.length && "Pale: middle 80% of single steps.",
    isCut && "The start of training lies outside the frame.",
    ...Object.entries(ends).filter(([status]) => there.has(status))
      .map(([status, [, , sign]]) => `${sign}: ${status}.`),
    lasts.length <= 12 ? `Last values: ${lasts.join("; ")}.` : `${lasts.length} groups.`,
  ].filter(Boolean).join(" ");
}

// Hyperparameters

const meanOf = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
const stdOf = (values, mean = meanOf(values)) =>
  Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (values.length - 1));
const inWords = (values) => round(meanOf(values), 5) +
  (values.length > 1 ? ` ± ${round(stdOf(values), 2)}` : "") + ` (n=${values.length})`;

/** The groups shown, and the final metric of their runs that count; not groups without any. */
function finals() {
  const at = data.metrics.indexOf(chosen("final"));
  return shownGroups().map((place) => {
    const runs = data.groups[place].runs.map((run) => data.runs[run])
      .filter((run) => run.counts && run.finals[at] !== null);
    const values = runs.map((run) => run.finals[at]);
    return { place, group: data.groups[place], runs, values, mean: meanOf(values) };
  }).filter(({ values }) => values.length);
}

function spanOf(values) {
  const span = new Span();
  values.forEach((value) => span.hold(value));
  return span;
}

function drawAgainst() {
  const empty = { cells: [], words: [], trends: [], bars: [], dots: [], groups: [] };
  const key = data.keys[chosen("key")], other = data.keys[chosen("other")];
  const rows = other && other !== key ? heatMap(key, other) : scatter(key);
  for (const [name, own] of Object.entries({ ...empty, ...rows })) fill(name, own);
}

function scatter(key) {
  const plot = model("against"), metric = chosen("final"), found = finals();
  const means = spanOf(found.map(({ mean }) => mean));
  const isLog = metric.endsWith("loss") && means.high > 20 * means.low && means.low > 0;
  const rest = ({ place }) =>
    data.keys.filter((own) => own !== key).map((own) => own.places[place]).join();
  const lines = [...new Set(found.map(rest))];
  const rows = { trends: [], bars: [], dots: [], groups: [] };
  const trends = lines.map(() => []), x = new Span(), y = new Span();
  for (const one of found) {
    const { place, group, runs, values, mean } = one, line = lines.indexOf(rest(one));
    // Words leave room to stand side by side. A number has one place.
    const aside = key.is_numeric ? 0 : 0.6 * ((line + 0.5) / lines.length - 0.5);
    const at = key.places[place] + aside, colour = colourOf(group.look);
    const marker = group.look.marker ?? "circle";
    rows.groups.push({ x: at, y: mean, colour, marker, group: group.name, what: inWords(values) });
    trends[line].push([at, mean]);
    x.hold(at);
    y.hold(mean);
    if (values.length < 2) continue;
    const high = mean + stdOf(values), low = isLog ? mean ** 2 / high : 2 * mean - high;
    rows.bars.push({ x: at, low, high, colour });
    runs.forEach((run, i) => rows.dots.push({ x: at, y: values[i], colour, run: run.name }));
    [low, high, ...values].forEach((value) => y.hold(value));
  }
  for (const points of key.is_numeric ? trends : []) {
    points.sort(([a], [b]) => a - b);
    rows.trends.push({ xs: points.map(([at]) => at), ys: points.map(([, mean]) => mean) });
  }
  frame(plot, "y", y, isLog);
  const margin = (x.high - x.low) * 0.08 || 0.5;
  if (found.length) show(plot, "x", x.low - margin, x.high + margin);
  const [places, names] = [0, 1].map((i) => key.ticks.map((tick) => tick[i]));
  nameTicks(plot.below[0], places, names, roomFor(names, "against"));
  plot.left[0].ticker = create(isLog ? "LogTicker" : "BasicTicker");
  plot.left[0].major_label_overrides = new Map();
  plot.below[0].axis_label = plain(key.name);
  plot.left[0].axis_label = plain(withUnit(metric));
  const bar = isLog ? "+ 1 sample std, and below by the same factor" : "± 1 sample std";
  byId("against-caption").textContent =
    `${withUnit(metric)} at the end of training against ${key.name}. Mark: mean of a group. ` +
    (rows.bars.length ? `Bar: ${bar}. Dot: a run.` : "Each mark is one run.");
  return rows;
}

function heatMap(key, other) {
  const plot = model("against"), cells = new Map();
  const [across, up] = [key, other].map((own) => own.ticks.map(([place]) => place));
  for (const { place, values } of finals()) {
    const at = [across.indexOf(key.places[place]), up.indexOf(other.places[place])];
    const cell = cells.get(at.join()) ?? { at, values: [], n: 0 };
    cell.values.push(...values);
    cell.n += 1;
    cells.set(at.join(), cell);
  }
  const found = [...cells.values()], colours = spanOf(found.map(({ values }) => meanOf(values)));
  const isWide = widthOf("against") / across.length > 50 && up.length <= 20;
  const rows = { cells: [], words: [] };
  for (const { at: [x, y], values } of found) {
    const mean = meanOf(values), isPale = mean >= (colours.low + colours.high) / 2;
    const group = `${key.name}=${key.ticks[x][1]}, ${other.name}=${other.ticks[y][1]}`;
    rows.cells.push({ x, y, mean, group, what: inWords(values) });
    if (isWide) rows.words.push({ x, y, text: round(mean), colour: isPale ? "#000" : "#fff" });
  }
  setColours("heat of cells", colours);
  frame(plot, "y", new Span(), false); // no logarithmic axis
  [["x", plot.below[0], key], ["y", plot.left[0], other]].forEach(([axis, line, own]) => {
    const names = own.ticks.map(([, text]) => text);
    show(plot, axis, -0.5, names.length - 0.5);
    nameTicks(line, [...names.keys()], names, axis === "x" ? roomFor(names, "against") : 20);
    line.axis_label = plain(own.name);
  });
  const pools = found.some(({ n }) => n > 1);
  byId("against-caption").replaceChildren(
    `${withUnit(chosen("final"))} at the end of training. Cell: mean of its runs`,
    pools ? ", whatever their other hyperparameters; filter the groups to choose." : ".",
    ...colourScale(colours, data.heat));
  return rows;
}

function setColours(name, { low, high }, palette = data.heat) {
  model(name).setv({ low, high: high > low ? high : low + 1, palette });
}

function colourScale({ low, high }, palette) {
  if (!(low <= high)) return [" Nothing is shown."];
  const stops = palette.filter((_, i) => i % 15 === 0).join();
  const gradient = `background: linear-gradient(to right, ${stops})`;
  return [` Colour: ${round(low)}`, make("span", { class: "scale", style: gradient }), round(high)];
}

function drawParallel() {
  const plot = model("parallel"), metric = chosen("final"), found = finals();
  const colours = spanOf(found.map(({ mean }) => mean)), last = data.keys.length;
  const share = (value, { low, high }) => (high > low ? (value - low) / (high - low) : 0.5);
  const spans = data.keys.map((key) => spanOf(key.ticks.map(([place]) => place)));
  const palette = isDark() ? data.heat.slice(70) : data.heat.slice(0, 225); // seen on this page
  for (const name of ["heat of paths", "heat of path"]) setColours(name, colours, palette);
  fill("paths", found.map(({ place, group, values, mean }) => ({
    xs: [...Array(last + 1).keys()],
    ys: [...data.keys.map((key, i) => share(key.places[place], spans[i])), share(mean, colours)],
    mean, group: group.name, what: inWords(values),
  })));
  const words = data.keys.flatMap((key, x) =>
    key.ticks.filter((_, i) => i % Math.ceil(key.ticks.length / 12) === 0)
      .map(([place, text]) => ({ x, y: share(place, spans[x]), text: brief(text) })));
  for (const value of found.length ? new Set([colours.low, colours.high]) : []) {
    words.push({ x: last, y: share(value, colours), text: round(value) });
  }
  fill("values", words.map((word) => ({ ...word, ink: style("--ink"), paper: style("--paper") })));
  const room = 70; // pixels for the words beside the last axis
  show(plot, "x", -0.1, last + ((last + 0.1) * room) / Math.max(room, widthOf("parallel") - room));
  show(plot, "y", -0.08, 1.08);
  const names = [...data.keys.map((key) => key.name), metric];
  nameTicks(plot.below[0], [...names.keys()], names, names.length);
  const fits = roomFor(names, "parallel") >= names.length;
  plot.below[0].major_label_orientation = fits ? "horizontal" : 0.6;
  byId("parallel-caption").replaceChildren(
    `Line: a group, through its hyperparameters to its mean ${withUnit(metric)}.`,
    ...colourScale(colours, palette));
}

// Light, dark, paper

const onPaper = matchMedia("print"), atNight = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => atNight.matches && !onPaper.matches;
const colourOf = (look) => look.colours[+isDark()];
const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function paint() {
  const [ink, soft, line] = ["--ink", "--soft", "--line"].map(style);
  for (const name of Object.keys(data.plots)) {
    const plot = model(name);
    for (const axis of plot ? [...plot.below, ...plot.left] : []) {
      axis.setv({ axis_label_text_color: ink, major_label_text_color: ink,
        axis_line_color: soft, major_tick_line_color: soft });
    }
    for (const grid of plot?.center ?? []) grid.grid_line_color = line;
  }
}

/** Plots keep their size on paper, which has room for some 660 pixels. */
function fitPaper() {
  const { clientWidth } = document.querySelector("main");
  document.documentElement.style.setProperty("--fit", Math.min(1, 660 / clientWidth));
}

/** Names the tools for those who do not see their pictures. */
function nameTools(within) {
  for (const element of all("*", within)) {
    if (element.title && element.tabIndex === 0) {
      element.setAttribute("role", "button");
      element.setAttribute("aria-label", element.title);
    }
    if (element.shadowRoot) nameTools(element.shadowRoot);
  }
}

// All of it, and what is remembered when the page loads itself again

function draw() {
  filter();
  compare();
  if (model("curves")) drawCurves();
  if (model("against")) drawAgainst();
  if (model("parallel")) drawParallel();
}

const memory = `page of ${location.pathname}`;
const sortable = () => all("#groups th[aria-sort]");
const plotsThere = () => Object.keys(data.plots).map(model).filter(Boolean);

function remember() {
  const sorted = sortable().findIndex((head) => head.ariaSort !== "none");
  const namesOf = (some) => some.map((body) => groupOf(body).name);
  sessionStorage.setItem(memory, JSON.stringify({
    values: all("select, #search").map(({ id, value }) => [id, value]),
    off: namesOf(bodies.filter((body) => !boxOf(body).checked)),
    open: namesOf(bodies.filter((body) => body.rows[1])),
    sorted: sorted < 0 ? null : [sorted, sortable()[sorted].ariaSort],
    zooms: plotsThere().map(({ name, x_range, y_range }) => [name, [x_range, y_range].map(
      ({ start, end, reset_start, reset_end }) =>
        (start === reset_start && end === reset_end ? null : { start, end }))]),
    focus: document.activeElement.id,
  }));
}

function recall() {
  const { values, off, open, sorted, zooms, focus } = JSON.parse(sessionStorage.getItem(memory));
  for (const [id, value] of values) {
    const before = byId(id)?.value;
    if (before !== undefined) byId(id).value = value;
    if (byId(id)?.value === "" && value !== "") byId(id).value = before; // no longer a choice
  }
  for (const body of bodies) {
    boxOf(body).checked = !off.includes(groupOf(body).name);
    if (open.includes(groupOf(body).name)) openRuns(body, true);
  }
  draw();
  if (sorted && sortable()[sorted[0]]) sort(sortable()[sorted[0]], sorted[1]);
  for (const [name, [x, y]] of zooms) {
    if (x) model(name)?.x_range.setv(x);
    if (y) model(name)?.y_range.setv(y);
  }
  byId(focus)?.focus();
}

function click({ target }) {
  const button = target.closest("button"), body = target.closest("tbody");
  if (!button) return;
  if (button.matches("thead button")) {
    const head = button.parentElement;
    sort(head, head.ariaSort === "ascending" ? "descending" : "ascending");
  } else if (button.matches(".open")) {
    openRuns(body, !body.rows[1]);
  } else {
    for (const one of bodies) {
      if (button.id === "all" || button.id === "none") boxOf(one).checked = button.id === "all";
      else if (one.dataset.group === button.dataset.group) boxOf(one).checked = !boxOf(one).checked;
    }
    draw();
  }
}

async function begin() {
  all("#legend span").forEach((span, place) => (span.textContent = data.groups[place].values));
  for (const [name, item] of Object.entries(data.plots)) {
    if (byId(`plot-${name}`)) await Bokeh.embed.embed_item(item, `plot-${name}`);
  }
  for (const plot of plotsThere()) {
    // A finger moves the page, not the plot, until its owner picks a tool
    if (matchMedia("(pointer: coarse)").matches) plot.toolbar.active_drag = null;
  }
  nameTools(document);
  paint();
  draw();
  byId("search").addEventListener("input", draw);
  document.addEventListener("change", draw);
  addEventListener("beforeprint", fitPaper);
  document.addEventListener("click", click);
  document.addEventListener("submit", (event) => event.preventDefault());
  for (const media of [atNight, onPaper, matchMedia("(max-width: 600px)")]) {
    media.addEventListener("change", () => {
      paint();
      draw();
    });
  }
  if (data.every) {
    if (sessionStorage.getItem(memory)) recall();
    addEventListener("pagehide", remember);
    setTimeout(() => location.reload(), 1000 * data.every);
  }
  document.documentElement.dataset.ready = "yes";
}

begin();
