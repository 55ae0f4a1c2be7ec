// One answer's text as elements: a span a unit and nothing between them, so that it reads, selects and
// copies as the plain answer; marks (↵, the end chip) are drawn by CSS or stand apart.

const NAMES = ["A", "B", "C", "D", "E", "F", "G", "H"];
const part = (name) => element.querySelector(`[data-part="${name}"]`);

function visible(text, limit = 120) {
  if (text === "") return "end token";
  const shown = text.replaceAll("\n", "↵").replaceAll("\t", "⇥").replaceAll(" ", "␣");
  return `“${shortened(shown, limit)}”`;
}

function shortened(text, limit) {
  if (text.length <= limit) return text;
  const whole = Array.from(segments(text, "grapheme"), (piece) => piece.segment);
  return whole.length <= limit ? text : `${whole.slice(0, limit).join("")}…`;
}

function fillUnit(span, text) {
  // Each newline gets an empty element that CSS draws as ↵: a bare "\n" would have no box.
  if (!text.includes("\n")) {
    span.textContent = text;
    return;
  }
  text.split("\n").forEach((line, i) => {
    if (i > 0) span.append(h("i", { class: "nl" }), "\n");
    if (line) span.append(line);
  });
}

function unitElement(unit, a, i) {
  const span = document.createElement("span");
  span.className = unit.isEnd ? "rs-end" : "t";
  span.dataset.i = i;
  span.dataset.a = a;
  if (!unit.isEnd) fillUnit(span, unit.text);
  return span;
}

// {kind, all, spans, root, text, ...}: an answer as it is on the page; `m` is its place among the maps.
function buildMap({ answer }, m, title, kind) {
  const { units, ends } = unitsOf(answer, kind);
  const all = [...units, ...ends];
  const spans = all.map((unit, i) => unitElement(unit, m, i));
  const text = h("div", { class: "rs-tokens", dir: "auto", role: "group", "aria-label": `Text of ${title.replace("Answer", "answer")}` });
  text.append(...spans.slice(0, units.length));
  const start = h("span", { class: "rs-chip", "data-part": `start-${m}` });
  const chips = h("div", { class: "rs-chips" }, start, spans.slice(units.length));
  const reward = h("span", { class: "rs-reward" });
  const best = h("span", { class: "rs-best" });
  const parts = h("div", { class: "rs-parts" });
  const extremes = h("div", { class: "rs-extremes", "data-part": `extremes-${m}` });
  const warnings = answer.warnings.map((warning) => h("p", { class: "rs-warning" }, warning));
  const root = h("article", { class: "rs-map", "aria-label": `Heatmap of ${title.replace("Answer", "answer")}` },
    h("header", {}, h("h3", {}, title), reward, best), parts, warnings, text, chips, extremes);
  spans[0]?.setAttribute("tabindex", "0");
  return { kind, all, numInside: units.length, spans, root, text, start, reward, best, parts, extremes };
}

// The same elements serve as long as the text falls into the same units.
function stillFits(map, { answer }, title, kind) {
  return map && map.kind === kind && map.title === title && map.answer.warnings.length === answer.warnings.length
    && map.answer.tokens.text.length === answer.tokens.text.length
    && map.answer.tokens.text.every((text, i) => text === answer.tokens.text[i]);
}

function renumber(map, { answer }) {
  const { units, ends } = unitsOf(answer, map.kind);
  return { ...map, all: [...units, ...ends] };
}

// The end token has no colour of the scale, which is the text's: its share can be a hundred times as large.
function paintMap(map, reading, scale) {
  map.spans.forEach((span, i) => {
    const unit = map.all[i];
    if (unit.isEnd) {
      span.textContent = `end token ${signed(unit[reading])}`;
      return;
    }
    const level = String(levelOf(unit[reading], scale));
    if (span.dataset.l !== level) span.dataset.l = level;
  });
}

function paintStart(map, reading, decimals) {
  const { prompt_value: value } = map.answer;
  const counts = reading === "change";
  map.start.hidden = value === null || value === undefined || reading === "contribution";
  map.start.textContent = counts
    ? `begins at the prompt's end: ${signed(value, decimals)}` : `prompt's end ${signed(value, decimals)}`;
}
