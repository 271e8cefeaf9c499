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

const keyNamed = (name) => data.keys.find((key) => key.name === name);
const placeOf = (key, group) => key.ticks[key.of_groups[group]][0];
const nameOf = (key, group) => key.ticks[key.of_groups[group]][1];
const shownGroups = () =>
  bodies.filter((body) => !body.hidden && boxOf(body).checked)
    .map((body) => +body.dataset.group).sort((a, b) => a - b);

function filter() {
  const words = chosen("search").toLowerCase();
  for (const body of bodies) {
    const place = +body.dataset.group;
    const names = [groupOf(body).name, ...groupOf(body).runs.map((run) => data.runs[run].name)];
    const fits = data.keys.every((key) =>
      ["", nameOf(key, place)].includes(chosen(`filter-${key.name}`)));
    body.hidden = !(fits && names.join("\n").toLowerCase().includes(words));
    const entry = byId("legend")?.children[place];
    if (!entry) continue;
    entry.hidden = body.hidden;
    entry.firstElementChild.setAttribute("aria-pressed", boxOf(body).checked);
  }
}

/** Where few groups are shown, those that were grey among many have a look of their own. */
function dress() {
  const shown = shownGroups().map((place) => data.groups[place]);
  const isFew = shown.length <= data.palette.length;
  const used = new Set(shown.map(({ look }) => look.colours[0]));
  const free = data.palette.filter(({ colours }) => !used.has(colours[0]));
  for (const group of data.groups) group.worn = group.look;
  for (const group of isFew ? shown.filter(({ look }) => look.is_grey) : []) {
    group.worn = free.shift();
  }
  for (const body of bodies) {
    const { worn } = groupOf(body), entry = byId("legend")?.children[body.dataset.group];
    for (const swatch of [body, entry].map((within) => within?.querySelector(".swatch"))) {
      if (!swatch) continue;
      swatch.style.color = colourOf(worn);
      swatch.querySelector("path").setAttribute("stroke-width", worn.width);
      swatch.querySelector("use").setAttribute("href", `#marker-${worn.marker}`);
    }
  }
}

// The table

function compare() {
  const metric = chosen("final"), baseline = chosen("baseline");
  const place = data.groups.findIndex(({ name }) => name === baseline);
  const rows = data.comparisons[metric]?.[place];
  for (const cell of all(".difference")) cell.hidden = !rows;
  for (const body of bodies) {
    const texts = rows?.[body.dataset.group] ?? ["", "", "", ""];
    all(".difference", body).forEach((cell, i) => {
      cell.textContent = texts[i];
      cell.dataset.order = i < 3 ? parseFloat(texts[i]) : texts[i];
    });
  }
  byId("comparison").textContent = !rows ? data.why
    : `Differences in ${metric} from ${baseline}, with a 95% Student t ` +
      "interval; p is corrected by Holm's method.";
  const sorted = sortedHead();
  if (sorted?.hidden) sorted.ariaSort = "none";
  else if (sorted) sort(sorted, sorted.ariaSort);
}

const heads = () => all("#groups th[aria-sort]");
const sortedHead = () => heads().find((head) => head.ariaSort !== "none");

function sort(head, direction) {
  const column = [...head.parentElement.children].indexOf(head);
  for (const other of heads()) other.ariaSort = "none";
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
    took: run.seconds === null ? "" : `${round(run.seconds, 3)} s`,
    overrides: run.overrides.join(" "),
    error: run.error,
    configuration: lines({ ...run.config, ...data.shared }).join("\n"),
    environment: lines(data.environments[run.environment]).join("\n"),
  };
  const list = Object.entries(parts).filter(([, content]) => content !== "")
    .flatMap(([name, content]) => [
      make("dt", {}, name),
      make("dd", {}, typeof content === "string" ? make("pre", {}, content) : content),
    ]);
  const shown = [make("summary", {}, title), make("dl", {}, ...list)];
  return make("details", { class: "run", "data-run": run.name }, ...shown);
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

/** Shows low to high on an axis: of what is there. A reader's zoom stays while that is the same. */
function show(plot, axis, low, high, what) {
  const range = plot[`${axis}_range`], { start, end, reset_start, reset_end, tags } = range;
  const isZoomed = tags[0] === what && (start !== reset_start || end !== reset_end);
  range.setv({ reset_start: low, reset_end: high, tags: [what] });
  if (isZoomed || (start === low && end === high)) return;
  range.setv({ start: low, end: high });
  const { state } = Bokeh.index.get_one(plot); // its history begins here
  state.clear();
  state.initial_state.range = undefined;
}

/** Shows a span with a margin. */
function frame(plot, axis, { low, high }, isLog, what) {
  if (!(low <= high)) [low, high] = [1, 2]; // nothing is shown
  if (isLog) {
    const factor = high > low ? (high / low) ** 0.04 : 2;
    show(plot, axis, low / factor, high * factor, `log ${what}`);
  } else {
    const margin = (high - low) * 0.04 || Math.abs(high) * 0.1 || 1;
    show(plot, axis, low >= 0 ? Math.max(0, low - margin) : low - margin, high + margin, what);
  }
}

const lineOf = (plot, axis) => (axis === "x" ? plot.below : plot.left)[0];

/** Makes an axis of numbers logarithmic, or linear. */
function scale(plot, axis, isLog) {
  const kind = isLog ? "Log" : "Linear";
  if (plot[`${axis}_scale`].type !== `${kind}Scale`) {
    plot[`${axis}_scale`] = create(`${kind}Scale`);
  }
  const isNarrow = axis === "x" && widthOf(plot.name) < 400;
  lineOf(plot, axis).setv({
    ticker: create(isLog ? "LogTicker" : "BasicTicker", { desired_num_ticks: isNarrow ? 4 : 6 }),
    major_label_overrides: new Map(),
  });
}

const widthOf = (name) => byId(`plot-${name}`).clientWidth - 110; // without axis and tools

/** The ticks that have room beside each other. pixels: of the axis; needs: of a tick's name. */
function roomy(ticks, low, high, pixels, needs) {
  const kept = [];
  for (const tick of ticks) {
    const [before] = kept.at(-1) ?? [-Infinity], [place, name] = tick;
    if (((place - before) / (high - low)) * pixels >= needs(brief(name))) kept.push(tick);
  }
  return kept;
}

/** Names places on an axis that shows low to high. */
function nameTicks(plot, axis, ticks, [low, high]) {
  const kept = axis === "x"
    ? roomy(ticks, low, high, widthOf(plot.name), (name) => 7 * name.length + 14)
    : roomy(ticks, low, high, plot.height - 60, () => 16);
  lineOf(plot, axis).setv({
    ticker: create("FixedTicker", { ticks: kept.map(([place]) => place) }),
    major_label_overrides: new Map(kept.map(([place, name]) => [place, plain(brief(name))])),
  });
}

// Curves

const FAINT = 0.35;

function curveOf(group) {
  const of = group.curves[chosen("metric")]; // loss is the only one with several smoothings
  const at = of?.[Math.min(+chosen("smoothing"), of.length - 1)], x = chosen("x");
  if (!at) return null;
  return at[x] ? { ...at[x], times: 1 } : { ...at.step, times: group.times[x] ?? 0 };
}

function pointsOf([x, y], times) {
  const at = [...numbers(x).keys()]; // no place for epoch 0 on a logarithmic axis
  const kept = chosen("axes").includes("x") ? at.filter((i) => numbers(x)[i] > 0) : at;
  return { xs: kept.map((i) => numbers(x)[i] * times), ys: kept.map((i) => numbers(y)[i]) };
}

function outlineOf([x, low, high], times) {
  const under = pointsOf([x, low], times), over = pointsOf([x, high], times);
  return { xs: [...under.xs, ...over.xs.reverse()], ys: [...under.ys, ...over.ys.reverse()] };
}

function drawCurves() {
  const plot = model("curves"), band = chosen("band"), metric = chosen("metric");
  const [isLogX, isLogY] = ["x", "y"].map((axis) => chosen("axes").includes(axis));
  const shown = shownGroups().map((place) => data.groups[place]).filter(curveOf);
  const isCrowd = shown.length > data.limits.crowd;
  const rows = { raw: [], bands: [], runs: [], means: [], marks: [] };
  const whole = { x: new Span(), y: new Span() }, late = { x: new Span(), y: new Span() };
  let hasBands = false;
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
    const colour = colourOf(group.worn), isFew = 1 < group.n && group.n <= data.limits.few;
    for (const [place, ...line] of curve.runs) {
      const { counts, name, status } = data.runs[place], points = pointsOf(line, times);
      const alpha = !counts ? 0.8 : isFew && !isCrowd ? FAINT : 0; // under the mouse: 1
      if (!points.xs.length) continue;
      rows.runs.push({ ...points, colour, alpha, run: name, status, counts });
      if (counts ? alpha : !hasMean) hold(points, start);
    }
    if (!curve.mean) return;
    const points = pointsOf(curve.mean, times), n = points.xs.length;
    if (!n) return;
    rows.means.push({ ...points, colour, ...group.worn, group: group.name, of: group });
    hold(points, start);
    const { marker } = group.worn, every = Math.max(1, Math.floor(n / 8));
    for (let i = Math.floor((turn * every) / shown.length); marker && i < n; i += every) {
      rows.marks.push({ x: points.xs[i], y: points.ys[i], colour, marker, angle: 0, size: 7 });
    }
    const edges = curve.bands[band]?.[+isLogY];
    hasBands ||= Boolean(edges);
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
  const limits = isCut ? late : whole;
  for (const [axis, isLog, what] of [["x", isLogX, chosen("x")], ["y", isLogY, metric]]) {
    scale(plot, axis, isLog);
    frame(plot, axis, limits[axis], isLog, what);
  }
  for (const run of rows.runs.filter(({ counts }) => !counts)) rows.marks.push(endOf(run, plot));
  for (const [name, own] of Object.entries(rows)) fill(name, own);
  plot.below[0].axis_label = plain(data.words.xs[chosen("x")]);
  plot.left[0].axis_label = plain(metric === "loss" ? "mini-batch loss (nats)" : withUnit(metric));
  byId("smoothing").parentElement.hidden = metric !== "loss";
  byId("curves-caption").textContent = describeCurves(rows, isCrowd && hasBands, isCut);
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
function describeCurves(rows, hasNoRoom, isCut) {
  const what = byId("metric").selectedOptions[0].text, { bands, ends } = data.words;
  const words = bands[chosen("band")], isLogY = chosen("axes").includes("y");
  const isByFactor = isLogY && words.startsWith("±");
  const there = new Set(rows.runs.map((run) => run.status));
  const lasts = rows.means.map(({ of, ys }) => `${of.values}: ${round(ys.at(-1))}`);
  const isSingle = rows.means.every(({ of }) => of.n < 2);
  return [
    `${what} against ${chosen("x")}` +
      (chosen("metric") === "loss" ? `, ${byId("smoothing").selectedOptions[0].text}.` : "."),
    !rows.runs.length && "No group that is shown has it.",
    lasts.length && (isSingle ? "Each line is one run." : "Line: mean of n runs."),
    rows.runs.some((run) => run.alpha === FAINT) &&
      `Faint: each run, where n ≤\u00a0${data.limits.few}.`,
    rows.bands.length && `Band: ${isByFactor ? words.replace("±", "+") : words}` +
      (isByFactor ? ", and below by the same factor." : "."),
    hasNoRoom && "There are too many lines for bands.",
    rows.raw.length && "Pale: middle 80% of single steps.",
    isCut && "The start of training lies outside the frame.",
    ...Object.entries(ends).filter(([status]) => there.has(status))
      .map(([status, [, , sign]]) => `${sign}: ${status}.`),
    lasts.length && lasts.length <= 7 && `Last values: ${lasts.join("; ")}.`,
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
  const key = keyNamed(chosen("key")), other = keyNamed(chosen("other"));
  const rows = other && other !== key ? heatMap(key, other) : scatter(key);
  for (const [name, own] of Object.entries({ ...empty, ...rows })) fill(name, own);
}

function scatter(key) {
  const plot = model("against"), metric = chosen("final"), found = finals();
  const values = spanOf(found.flatMap((own) => own.values));
  const means = spanOf(found.map(({ mean }) => mean));
  const isLog = metric.endsWith("loss") && means.high > 20 * means.low && values.low > 0;
  const rest = ({ place }) =>
    data.keys.filter((own) => own !== key).map((own) => own.of_groups[place]).join();
  const lines = [...new Set(found.map(rest))];
  const rows = { trends: [], bars: [], dots: [], groups: [] };
  const trends = lines.map(() => []), x = new Span(), y = new Span();
  for (const one of found) {
    const { place, group, runs, values, mean } = one, line = lines.indexOf(rest(one));
    // Words leave room to stand side by side. A number has one place.
    const aside = key.is_numeric ? 0 : 0.6 * ((line + 0.5) / lines.length - 0.5);
    const at = placeOf(key, place) + aside, colour = colourOf(group.worn);
    const marker = group.worn.marker ?? "circle";
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
  scale(plot, "y", isLog);
  frame(plot, "y", y, isLog, metric);
  const margin = (x.high - x.low) * 0.08 || 0.5, [low, high] = [x.low - margin, x.high + margin];
  if (found.length) {
    show(plot, "x", low, high, key.name);
    nameTicks(plot, "x", key.ticks, [low, high]);
  }
  plot.below[0].axis_label = plain(key.name);
  plot.left[0].axis_label = plain(withUnit(metric));
  const bar = isLog ? "+ 1 sample std, and below by the same factor" : "± 1 sample std";
  byId("against-caption").textContent =
    `${withUnit(metric)} at the end of training against ${key.name}. ` + (
      !found.length ? "No group that is shown has it."
        : rows.bars.length ? `Mark: mean of a group. Bar: ${bar}. Dot: a run.`
          : "Each mark is one run.");
  return rows;
}

function heatMap(key, other) {
  const plot = model("against"), cells = new Map();
  for (const { place, values } of finals()) {
    const at = [key.of_groups[place], other.of_groups[place]];
    const cell = cells.get(at.join()) ?? { at, values: [], n: 0 };
    cell.values.push(...values);
    cell.n += 1;
    cells.set(at.join(), cell);
  }
  const found = [...cells.values()], colours = spanOf(found.map(({ values }) => meanOf(values)));
  const isWide = widthOf("against") / key.ticks.length > 50 && other.ticks.length <= 20;
  const rows = { cells: [], words: [] };
  for (const { at: [x, y], values } of found) {
    const mean = meanOf(values), isPale = mean >= (colours.low + colours.high) / 2;
    const group = `${key.name}=${key.ticks[x][1]}, ${other.name}=${other.ticks[y][1]}`;
    rows.cells.push({ x, y, mean, group, what: inWords(values) });
    if (isWide) rows.words.push({ x, y, text: round(mean), colour: isPale ? "#000" : "#fff" });
  }
  setColours("heat of cells", colours);
  scale(plot, "y", false);
  for (const [axis, own] of [["x", key], ["y", other]]) {
    const edges = [-0.5, own.ticks.length - 0.5];
    show(plot, axis, ...edges, `cells of ${own.name}`);
    nameTicks(plot, axis, own.ticks.map(([, name], i) => [i, name]), edges);
    lineOf(plot, axis).axis_label = plain(own.name);
  }
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
  if (!(low <= high)) return [" No group that is shown has it."];
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
    ys: [...data.keys.map((key, i) => share(placeOf(key, place), spans[i])), share(mean, colours)],
    mean, group: group.name, what: inWords(values),
  })));
  const words = data.keys.flatMap((key, x) =>
    roomy(key.ticks.map(([place, name]) => [share(place, spans[x]), name]), 0, 1, 270, () => 14)
      .map(([y, name]) => ({ x, y, text: brief(name) })));
  for (const value of found.length ? new Set([colours.low, colours.high]) : []) {
    words.push({ x: last, y: share(value, colours), text: round(value) });
  }
  fill("values", words.map((word) => ({ ...word, ink: style("--ink"), paper: style("--paper") })));
  const room = 70; // pixels for the words beside the last axis
  const end = last + ((last + 0.1) * room) / Math.max(room, widthOf("parallel") - room);
  show(plot, "x", -0.1, end, "keys");
  show(plot, "y", -0.08, 1.08, "values");
  const names = [...data.keys.map((key) => key.name), metric].map((name, i) => [i, name]);
  const fits = roomy(names, -0.1, end, widthOf("parallel"), (name) => 7 * name.length + 14);
  nameTicks(plot, "x", names, [-0.1, fits.length < names.length ? 0 : end]);
  plot.below[0].major_label_orientation = fits.length < names.length ? 0.6 : "horizontal";
  byId("parallel-caption").replaceChildren(
    `Line: a group, through its hyperparameters to its mean ${withUnit(metric)}.`,
    ...colourScale(colours, palette));
}

// Light, dark, paper

const root = document.documentElement, atNight = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => atNight.matches && !root.classList.contains("paper");
const colourOf = (look) => look.colours[+isDark()];
const style = (name) => getComputedStyle(root).getPropertyValue(name).trim();
const plotsThere = () => Object.keys(data.plots).map(model).filter(Boolean);

function paint() {
  const [ink, soft, line] = ["--ink", "--soft", "--line"].map(style);
  for (const plot of plotsThere()) {
    for (const axis of [...plot.below, ...plot.left]) {
      axis.setv({ axis_label_text_color: ink, major_label_text_color: ink,
        axis_line_color: soft, major_tick_line_color: soft });
    }
    for (const grid of plot.center) grid.grid_line_color = line;
  }
  draw();
}

/** Paper is white, and has room for some 660 pixels. Plots keep their proportions there. */
function toPaper() {
  const { clientWidth } = document.querySelector("main");
  root.style.setProperty("--fit", Math.min(1, 660 / clientWidth));
  root.classList.add("paper");
  paint();
  for (const plot of plotsThere()) Bokeh.index.get_one(plot).repaint(); // at once
}

function fromPaper() {
  root.classList.remove("paper");
  paint();
}

/** Lets those use the tools of plots who do not see their pictures, or have no mouse. */
function nameTools(within) {
  for (const element of all("*", within)) {
    if (element.matches(".bk-events")) element.tabIndex = -1; // the tools do all that it does
    else if (element.title && element.tabIndex === 0) nameTool(element);
    if (element.shadowRoot) nameTools(element.shadowRoot);
  }
}

function nameTool(element) {
  const tell = () => {
    const has = (word) => element.classList.contains(`bk-${word}`);
    element.ariaDisabled = has("disabled");
    if (has("OnOffButton")) element.ariaPressed = has("active");
  };
  element.setAttribute("role", "button");
  element.ariaLabel = element.title;
  tell();
  new MutationObserver(tell).observe(element, { attributeFilter: ["class"] });
  element.addEventListener("keydown", (event) => {
    if (event.key !== " ") return;
    event.preventDefault();
    element.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter" }));
  });
}

// All of it, and what is remembered when the page is loaded again

function draw() {
  filter();
  dress();
  compare();
  if (model("curves")) drawCurves();
  if (model("against")) drawAgainst();
  if (model("parallel")) drawParallel();
}

const memory = `page of ${location.pathname}`;
const scroller = document.querySelector(".scroll");
const namedBy = ({ id, className, ariaLabel, textContent }) =>
  id || `${className} ${ariaLabel ?? textContent}`;
const zoomOf = ({ start, end, reset_start, reset_end }) =>
  (start === reset_start && end === reset_end ? null : { start, end });

/** Groups by their runs: a new hyperparameter gives groups new names. */
function remember() {
  const runsOf = (some) =>
    some.flatMap((body) => groupOf(body).runs.map((run) => data.runs[run].name));
  const sorted = sortedHead();
  sessionStorage.setItem(memory, JSON.stringify({
    values: all("select, #search").map(({ id, value }) => [id, value]),
    off: runsOf(bodies.filter((body) => !boxOf(body).checked)),
    open: runsOf(bodies.filter((body) => body.rows[1])),
    read: all(".run[open]").map((run) => run.dataset.run),
    notes: byId("notes")?.open,
    sorted: sorted && [sorted.textContent, sorted.ariaSort],
    zooms: plotsThere().map(({ name, x_range, y_range }) =>
      [name, zoomOf(x_range), zoomOf(y_range)]),
    focus: namedBy(document.activeElement),
    scrolled: [scroller.scrollLeft, scroller.scrollTop, scrollX, scrollY],
  }));
}

function recall() {
  const { values, off, open, read, notes, sorted, zooms, focus, scrolled } =
    JSON.parse(sessionStorage.getItem(memory));
  for (const [id, value] of values) {
    const control = byId(id), before = control?.value;
    if (!control) continue;
    control.value = value;
    if (control.value !== value) control.value = before; // no longer a choice
  }
  for (const body of bodies) {
    const own = groupOf(body).runs.map((run) => data.runs[run].name);
    const isAmong = (names) => own.some((name) => names.includes(name));
    boxOf(body).checked = !isAmong(off);
    if (isAmong(open)) openRuns(body, true);
  }
  for (const run of all(".run")) run.open = read.includes(run.dataset.run);
  if (byId("notes") && notes !== undefined) byId("notes").open = notes;
  draw();
  const head = sorted && heads().find(({ textContent }) => textContent === sorted[0]);
  if (head && !head.hidden) sort(head, sorted[1]);
  for (const [name, x, y] of zooms) {
    if (x) model(name)?.x_range.setv(x);
    if (y) model(name)?.y_range.setv(y);
  }
  all("button, input, select, summary, a, .scroll").find((own) => namedBy(own) === focus)?.focus();
  scroller.scrollTo(scrolled[0], scrolled[1]);
  scrollTo(scrolled[2], scrolled[3]);
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
    for (const one of bodies.filter(({ hidden }) => !hidden)) {
      const box = boxOf(one), isIt = one.dataset.group === button.dataset.group;
      box.checked = button.id ? button.id === "all" : box.checked !== isIt;
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
  if (sessionStorage.getItem(memory)) recall();
  byId("search").addEventListener("input", draw);
  document.addEventListener("change", draw);
  document.addEventListener("click", click);
  document.addEventListener("submit", (event) => event.preventDefault());
  atNight.addEventListener("change", paint);
  matchMedia("(max-width: 600px)").addEventListener("change", draw);
  addEventListener("beforeprint", toPaper);
  addEventListener("afterprint", fromPaper);
  addEventListener("pagehide", remember);
  if (data.every) setTimeout(() => location.reload(), 1000 * data.every);
  root.dataset.ready = "yes";
}

begin();
