// The token heatmap. One span a token and nothing between them, so that the text reads, selects
// and copies as the plain answer; marks (↵, the end chip) are drawn by CSS, never part of it.

const part = (name) => element.querySelector(`[data-part="${name}"]`);
const READINGS = props.readings; // [{key, label, explains}]
let shown = null; // the value on screen
let reading = READINGS[0].key;
let lists = []; // one array of token elements an answer
let current = [0, 0]; // answer and token that Tab reaches

function visible(text) {
  if (text === "") return "end token";
  return `“${text.replaceAll("\n", "↵").replaceAll("\t", "⇥").replaceAll(" ", "␣")}”`;
}

function describe(a, i) {
  const { tokens } = shown.answers[a];
  const value = tokens.value[i] === null ? "not read by the model" : `value ${signed(tokens.value[i])}`;
  const pieces = tokens.pieces[i] ? ` · ${tokens.pieces[i]} pieces of the tokenizer` : "";
  return [visible(tokens.text[i]), value, `contribution ${signed(tokens.contribution[i], 4)}`,
    `sum so far ${signed(tokens.running[i])}${pieces}`];
}

function fillToken(span, text) {
  // Each newline gets an empty element that CSS draws as ↵: a bare "\n" would have no box.
  const lines = text.split("\n");
  lines.forEach((line, i) => {
    if (i > 0) span.append(h("i", { class: "nl" }), "\n");
    if (line) span.append(line);
  });
}

function tokenElement(text, a, i) {
  const span = document.createElement("span");
  span.className = text === "" ? "rs-end" : "t";
  span.dataset.a = a;
  span.dataset.i = i;
  if (text !== "") fillToken(span, text);
  return span;
}

function paintLevels() {
  lists.forEach((list, a) => {
    const levels = shown.answers[a].tokens.levels[reading];
    list.forEach((span, i) => { span.dataset.l = levels[i]; });
  });
  lists.forEach((list, a) => list.forEach((span, i) => {
    if (!span.classList.contains("rs-end")) return;
    const { tokens } = shown.answers[a];
    const number = reading === "value" ? tokens.value[i] : tokens.contribution[i];
    span.textContent = `end token ${signed(number)}`;
  }));
  const { explains } = READINGS.find((item) => item.key === reading);
  const isFlat = reading === "contribution" && shown.reading === "value";
  const scale = shown.scales[reading];
  const decimals = scale < 0.095 ? 4 : scale < 9.5 ? 3 : 1;
  part("explains").textContent = isFlat
    ? `${explains} This head reads the end token alone, so no other token has a share.` : explains;
  part("legend-low").textContent = `≤ ${signed(-scale, decimals)}`;
  part("legend-high").textContent = `≥ ${signed(scale, decimals)}`;
  part("legend").setAttribute("aria-label",
    `Colour scale: orange lowers the reward, down to ${signed(-scale, decimals)}; purple raises it, up to ${signed(scale, decimals)}`);
}

function buildMap(answer, a, isBest) {
  const list = answer.tokens.text.map((text, i) => tokenElement(text, a, i));
  lists.push(list);
  const text = h("div", { class: "rs-tokens", dir: "auto", role: "group", "aria-label": `Tokens of answer ${answer.title}` });
  text.append(...list.filter((span) => !span.classList.contains("rs-end")));
  const ends = list.filter((span) => span.classList.contains("rs-end"));
  const start = answer.prompt_value === null || answer.prompt_value === undefined ? null
    : h("span", { class: "rs-chip" }, `prompt's end ${signed(answer.prompt_value)}`);
  return h("article", { class: "rs-map", "aria-label": `Answer ${answer.title}` },
    h("header", {},
      h("h3", {}, `Answer ${answer.title}`),
      h("span", { class: "rs-reward" }, signed(answer.reward)),
      isBest ? h("span", { class: "rs-best" }, "higher reward") : null),
    answer.warnings.map((warning) => h("p", { class: "rs-warning" }, warning)),
    text,
    h("div", { class: "rs-chips" }, start, ends));
}

function showProbability(prob) {
  if (prob === null || prob === undefined) {
    part("prob").replaceChildren();
    return;
  }
  const percent = 100 * prob;
  const text = percent > 0.95 && percent < 99.05 ? `${percent.toFixed(0)} %` : percent >= 50 ? "> 99 %" : "< 1 %";
  const meter = h("span", { class: "rs-prob-meter", "aria-hidden": "true" }, h("i"));
  meter.firstElementChild.style.inlineSize = `${percent}%`;
  part("prob").replaceChildren(h("span", {}, "P(A better than B) "), h("strong", {}, text), meter);
}

function draw() {
  shown = parsed(props.value);
  part("root").hidden = !shown;
  part("tip").hidden = true;
  lists = [];
  current = [0, 0];
  if (!shown) {
    part("maps").replaceChildren();
    return;
  }
  const best = Math.max(...shown.answers.map((answer) => answer.reward));
  const isTied = shown.answers.every((answer) => answer.reward === best);
  part("maps").replaceChildren(...shown.answers.map((answer, a) =>
    buildMap(answer, a, !isTied && answer.reward === best)));
  showProbability(shown.prob_a_better);
  chooseReading(shown.reading);
  part("source").textContent = shown.source ? `Scored by ${shown.source}` : "";
  part("readout").textContent = "Point at a token, or press Tab and the arrow keys.";
  paintLevels();
  for (const list of lists) list[0]?.setAttribute("tabindex", "0");
}

// ---- reading tokens out -----------------------------------------------------------------------

// A long prompt and answers above must not hide the result that was asked for.
function bringIntoView() {
  const { top } = part("root").getBoundingClientRect();
  if (top > 0 && top < window.innerHeight * 0.55) return;
  const isCalm = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
  part("root").scrollIntoView({ block: "start", behavior: isCalm ? "auto" : "smooth" });
}

function tokenAt(target) {
  const span = target instanceof Element ? target.closest("[data-i]") : null;
  return span ? [Number(span.dataset.a), Number(span.dataset.i)] : null;
}

function readOut(a, i) {
  const [text, ...numbers] = describe(a, i);
  part("readout").replaceChildren(h("b", {}, text), ` ${numbers.join(" · ")}`);
}

function placeTip(span, a, i) {
  const tip = part("tip");
  tip.replaceChildren(...describe(a, i).map((line) => h("div", {}, line)));
  tip.hidden = false;
  const box = span.getClientRects()[0] || span.getBoundingClientRect();
  const left = Math.min(Math.max(8, box.left), window.innerWidth - tip.offsetWidth - 8);
  const above = box.top - tip.offsetHeight - 8;
  tip.style.left = `${left}px`;
  tip.style.top = `${above > 8 ? above : box.bottom + 8}px`;
}

function focusToken(a, i) {
  const list = lists[a];
  const index = Math.min(Math.max(0, i), list.length - 1);
  for (const span of list) if (span.tabIndex === 0) span.removeAttribute("tabindex");
  list[index].setAttribute("tabindex", "0");
  list[index].focus();
}

// The token above or below: nearest in x on the closest other line.
function verticalNeighbour(a, i, direction) {
  const list = lists[a];
  const from = list[i].getClientRects()[0];
  if (!from) return i;
  const x = from.left + from.width / 2;
  let best = i;
  let bestTop = null;
  let bestDistance = Infinity;
  for (let j = i + direction; j >= 0 && j < list.length; j += direction) {
    const box = list[j].getClientRects()[0];
    if (!box || Math.abs(box.top - from.top) < from.height / 2) continue;
    if (bestTop === null) bestTop = box.top;
    if (Math.abs(box.top - bestTop) > from.height / 2) break;
    const distance = Math.abs(box.left + box.width / 2 - x);
    if (distance < bestDistance) [best, bestDistance] = [j, distance];
  }
  return best;
}

function onTokenKey(event) {
  const at = tokenAt(event.target);
  if (!at || event.ctrlKey || event.metaKey || event.altKey) return;
  const [a, i] = at;
  const goal = {
    ArrowRight: () => i + 1,
    ArrowLeft: () => i - 1,
    ArrowDown: () => verticalNeighbour(a, i, 1),
    ArrowUp: () => verticalNeighbour(a, i, -1),
    Home: () => 0,
    End: () => lists[a].length - 1,
  }[event.key];
  if (!goal) return;
  event.preventDefault();
  focusToken(a, goal());
}

function chooseReading(key) {
  reading = key;
  for (const radio of part("readings").querySelectorAll("input")) radio.checked = radio.value === key;
}

function buildReadings() {
  part("readings").append(...READINGS.map((item) => {
    const radio = h("input", { type: "radio", name: "rs-reading", value: item.key, checked: item.key === reading });
    radio.addEventListener("change", () => {
      chooseReading(item.key);
      if (shown) paintLevels();
    });
    return h("label", {}, radio, h("span", {}, item.label));
  }));
}

buildReadings();
part("maps").addEventListener("pointerover", (event) => {
  const at = tokenAt(event.target);
  if (!at) return;
  readOut(...at);
  if (event.pointerType === "mouse") placeTip(event.target.closest("[data-i]"), ...at);
});
part("maps").addEventListener("pointerleave", () => { part("tip").hidden = true; });
part("maps").addEventListener("pointerdown", (event) => {
  const at = tokenAt(event.target);
  if (at) readOut(...at);
});
part("maps").addEventListener("focusin", (event) => {
  const at = tokenAt(event.target);
  if (at) readOut(...at);
});
part("maps").addEventListener("keydown", onTokenKey);
window.addEventListener("scroll", () => { part("tip").hidden = true; }, { passive: true });
watch("value", () => {
  draw();
  if (shown) requestAnimationFrame(bringIntoView);
});
draw();
