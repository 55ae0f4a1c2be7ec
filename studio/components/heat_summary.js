// Why one answer scored lower, in words; which answer is best, and how sure that is; the extreme spans.

const SHARE_TO_TELL = 0.6; // of the difference, then the sentence has said enough
const MAX_REASONS = 3;

function percent(probability) {
  const value = 100 * probability;
  return value > 0.95 && value < 99.05 ? `${value.toFixed(0)} %` : value >= 50 ? "> 99 %" : "< 1 %";
}

// Terms that add up to the answer's reward: [{text, amount, unit, i}], of phrases and end tokens.
// A head that reads the end token alone has no share elsewhere: there the changes add up to it.
function termsOf(answer, reading) {
  const { units, ends } = unitsOf(answer, "phrase");
  return [
    // A line break of its own is no end token, which alone has no text.
    ...units.map((unit) => ({ text: unit.text.trim() || "↵", amount: unit[reading], first: unit.first })),
    { text: "", amount: ends.reduce((sum, unit) => sum + unit[reading], 0), first: null },
  ];
}

function isFlat(answers) {
  return answers.every((answer) => answer.tokens.text.every(
    (text, i) => text === "" || answer.tokens.contribution[i] === 0));
}

// The terms that make `low` lower than `high`, greatest first. What both say counts as one term.
function reasons(low, high, answers) {
  const reading = isFlat(answers) ? "change" : "contribution";
  const net = new Map();
  const add = (index, sign) => {
    for (const { text, amount, first } of termsOf(answers[index], reading)) {
      const term = net.get(text) || { text, effect: 0, amounts: {}, places: {} };
      term.effect += sign * amount;
      term.amounts[index] = (term.amounts[index] || 0) + amount;
      term.places[index] ??= first;
      net.set(text, term);
    }
  };
  add(high, 1);
  add(low, -1);
  return [...net.values()].sort((a, b) => b.effect - a.effect);
}

function reasonNodes(term, low, high, decimals) {
  const number = (index) => signed(term.amounts[index], decimals);
  if (term.text === "") {
    return [`how its end token is read (${number(low)} against ${number(high)}), where the head has the whole answer before it`];
  }
  const where = term.amounts[low] === undefined ? high : low;
  const quote = h("button", { type: "button", class: "rs-quote", dir: "auto" },
    `“${shortened(term.text.replaceAll("\n", " "), 80)}”`);
  quote.addEventListener("click", () => jumpToToken(where, term.places[where]));
  const both = term.amounts[low] !== undefined && term.amounts[high] !== undefined;
  const amount = both ? `${number(low)} in ${NAMES[low]}, ${number(high)} in ${NAMES[high]}` : `${number(where)} in ${NAMES[where]}`;
  return [quote, ` (${amount})`];
}

function jumpToToken(a, token) {
  const i = maps[a].all.findIndex((unit) => unit.first <= token && token <= unit.last);
  if (i >= 0) jumpTo(a, i);
}

// "B scored lower by 0.80, mostly because of “…” (−0.50 in B) and “…” (+0.20 in A)."
function whyLower(low, high, data) {
  const difference = data.answers[high].reward - data.answers[low].reward;
  const name = h("b", {}, `${NAMES[low]} scored lower than ${NAMES[high]} by ${difference.toFixed(2)}`);
  if (Math.abs(difference) < 5e-7) return h("p", {}, h("b", {}, `${NAMES[low]} and ${NAMES[high]} have the same reward.`));
  const told = [];
  let share = 0;
  for (const term of reasons(low, high, data.answers)) {
    // The end token alone explains nothing to people: something of the text is always named with it.
    const saysEnough = share >= SHARE_TO_TELL && told.some(({ text }) => text);
    if (told.length === MAX_REASONS || saysEnough || term.effect <= 0) break;
    if (told.some(({ text }) => text) && term.effect < 0.08 * difference) break;
    told.push(term);
    share += term.effect / difference;
  }
  const decimals = difference < 0.1 ? 3 : 2;
  const nodes = told.flatMap((term, n) => [
    n === 0 ? "" : n === told.length - 1 ? " and " : ", ", ...reasonNodes(term, low, high, decimals)]);
  const middle = told.length ? (share >= 0.5 ? ", mostly because of " : ", spread over many places; most of it is ") : ", spread evenly over its text";
  const unsure = data.prob_better[high][low] < 0.6
    ? ` The head hardly tells them apart: P(${NAMES[high]} better) is ${percent(data.prob_better[high][low])}.` : "";
  return h("p", {}, name, middle, nodes, ".", unsure);
}

function ranked(data) {
  return data.answers.map((_, i) => i).sort((a, b) => data.answers[b].reward - data.answers[a].reward);
}

function drawSummary(target, data) {
  const [best, ...others] = ranked(data);
  target.replaceChildren(...others.map((index) => whyLower(index, best, data)));
}

// ---- ranking and probabilities -----------------------------------------------------------------

function behind(index, best, data) {
  if (index === best) return "–";
  const difference = data.answers[index].reward - data.answers[best].reward;
  const std = data.difference_std?.[index][best];
  return std === undefined ? signed(difference, 2) : `${signed(difference, 2)} ± ${std.toFixed(2)}`;
}

function rankingTable(data) {
  const order = ranked(data);
  const best = order[0];
  const other = data.against;
  const heads = ["", "Answer", "Reward", "Behind the best", "P(better than the best)"];
  if (other) heads.push(`Reward by checkpoint ${other.checkpoint.id}`);
  const rows = order.map((index, rank) => h("tr", { "data-answer": NAMES[index] },
    h("td", { class: "num" }, `${rank + 1}.`), h("th", { scope: "row" }, NAMES[index]),
    h("td", { class: "num" }, signed(data.answers[index].reward)),
    h("td", { class: "num" }, behind(index, best, data)),
    h("td", { class: "num" }, index === best ? "–" : percent(data.prob_better[index][best])),
    other ? h("td", { class: "num" }, signed(other.answers[index].reward)) : null));
  return h("table", { class: "rs-table" },
    h("thead", {}, h("tr", {}, heads.map((text) => h("th", { scope: "col" }, text)))), h("tbody", {}, rows));
}

function matrixTable(data) {
  const order = ranked(data);
  const cell = (row, column) => {
    if (row === column) return h("td", { class: "rs-self" }, "·");
    const probability = data.prob_better[row][column];
    const std = data.difference_std?.[row][column];
    const difference = data.answers[row].reward - data.answers[column].reward;
    const title = `${NAMES[row]} − ${NAMES[column]}: ${signed(difference)}${std === undefined ? "" : ` ± ${std.toFixed(3)}`}`;
    return h("td", { class: "num", title, "data-l": levelOf(probability - 0.5, 0.5) }, percent(probability));
  };
  return h("table", { class: "rs-table rs-matrix" },
    h("caption", {}, "P(row is better than column)"),
    h("thead", {}, h("tr", {}, h("td", {}), order.map((index) => h("th", { scope: "col" }, NAMES[index])))),
    h("tbody", {}, order.map((row) => h("tr", {}, h("th", { scope: "row" }, NAMES[row]), order.map((column) => cell(row, column))))));
}

function drawRanking(target, data) {
  const sure = data.difference_std
    ? "± one standard deviation of the difference, by the Laplace posterior of the head; the probabilities count it in."
    : "This checkpoint was saved without its uncertainty: the probabilities know the rewards alone.";
  target.replaceChildren(...(data.answers.length < 2 ? [] : [
    h("div", { class: "rs-tables" }, rankingTable(data), matrixTable(data)), h("p", { class: "rs-source" }, sure)]));
}

// ---- the extreme spans -------------------------------------------------------------------------

const NUM_EXTREMES = 3;

function drawExtremes(a, reading, decimals) {
  const map = maps[a];
  const inside = map.all.slice(0, map.numInside)
    .map((unit, i) => ({ unit, i })).filter(({ unit }) => unit[reading] !== null && unit.text.trim());
  inside.sort((x, y) => y.unit[reading] - x.unit[reading]);
  const list = (title, items) => h("div", {}, h("span", { class: "rs-extreme-title" }, title),
    items.map(({ unit, i }) => {
      const button = h("button", { type: "button", class: "rs-span", dir: "auto", "data-l": map.spans[i].dataset.l },
        `${shortened(unit.text.trim().replaceAll("\n", "↵"), 48)} `, h("span", { class: "num", dir: "ltr" }, signed(unit[reading], decimals)));
      button.addEventListener("click", () => jumpTo(a, i));
      return button;
    }));
  const [up, down] = reading === "value" ? ["Highest", "Lowest"] : ["Raise it most", "Lower it most"];
  const high = inside.filter(({ unit }) => reading === "value" || unit[reading] > 0).slice(0, NUM_EXTREMES);
  const low = inside.filter(({ unit }) => reading === "value" || unit[reading] < 0).slice(-NUM_EXTREMES).reverse();
  map.extremes.replaceChildren(high.length ? list(up, high) : "", low.length ? list(down, low) : "");
}
