// Why one answer scored lower, in words: how much of it stands in the text and how much in the end token,
// which phrases weigh most for and against it, and what the length of the answers has to do with it.

const SHARE_TO_TELL = 0.6; // of the text's difference, then the sentence has said enough
const MAX_REASONS = 3;
const ALIKE = 0.05; // answers whose numbers of words differ by less are as long
const WHOLE = "where the head has read the whole answer";

function percent(probability) {
  const value = 100 * probability;
  return value > 0.95 && value < 99.05 ? `${value.toFixed(0)} %` : value >= 50 ? "> 99 %" : "< 1 %";
}

function isFlat(answers) {
  return answers.every((answer) => answer.tokens.text.every(
    (text, i) => text === "" || answer.tokens.contribution[i] === 0));
}

// ---- text and end token ------------------------------------------------------------------------

// How the difference falls to the two parts, both of them `high` minus `low`.
function partsNodes(difference, isAllEnd) {
  if (isAllEnd) return [`: this head reads the end token alone, ${WHOLE}; no place in the text has a share in it`];
  const { text, end, reward } = difference;
  const number = (value) => Math.abs(value).toFixed(decimalsOf(reward));
  const ofText = Math.round((100 * text) / reward);
  if (end === 0) return [": all of it stands in the coloured text"];
  if (text === 0) return [`: all of it stands in the end token, ${WHOLE}`];
  if (text > 0 && end > 0) {
    return [`: ${number(text)} of it (${ofText} %) stands in the coloured text, ${number(end)} (${100 - ofText} %) in the end token, ${WHOLE}`];
  }
  const [winner, against] = end > 0 ? ["end token", "text"] : ["text", "end token"];
  const amounts = { "end token": end, text };
  const named = (name) => (name === "text" ? "coloured text" : `end token, ${WHOLE},`);
  return [`: its ${named(winner)} is ${number(amounts[winner])} lower, but its ${named(against)} is ${number(amounts[against])} `,
    h("em", {}, "higher"), `. The two point in opposite directions, and the ${winner} decides`];
}

function decimalsOf(difference) {
  return Math.abs(difference) < 0.1 ? 3 : 2;
}

// ---- phrases -----------------------------------------------------------------------------------

// What weighs in the text, `effect` being against `low`, greatest first. What both say counts as one term.
function textTerms(low, high, answers) {
  const net = new Map();
  const add = (index, sign) => {
    for (const unit of unitsOf(answers[index], "phrase").units) {
      const text = unit.text.trim() || "↵";
      const term = net.get(text) || { text, effect: 0, amounts: {}, places: {} };
      term.effect += sign * unit.contribution;
      term.amounts[index] = (term.amounts[index] || 0) + unit.contribution;
      term.places[index] ??= unit;
      net.set(text, term);
    }
  };
  add(high, 1);
  add(low, -1);
  return [...net.values()].filter((term) => term.effect !== 0).sort((a, b) => b.effect - a.effect);
}

function termNodes(term, pair) {
  const { low, high, of } = pair;
  const decimals = decimalsOf(Math.max(...Object.values(term.amounts).map(Math.abs)));
  const number = (index) => signed(term.amounts[index], decimals);
  const where = term.amounts[low] === undefined ? high : low;
  const quote = quoteOf(term.text, () => showPhrase(where, of, term.places[where]));
  const both = term.amounts[low] !== undefined && term.amounts[high] !== undefined;
  const amount = both ? `${number(low)} in ${NAMES[low]}, ${number(high)} in ${NAMES[high]}` : `${number(where)} in ${NAMES[where]}`;
  return [quote, ` (${amount})`];
}

// A button within the sentence; a <button> would not break over lines with it.
function quoteOf(text, lead) {
  const quote = h("span", { class: "rs-quote", role: "button", tabindex: 0 }, h("bdi", {}, `“${shortened(text.replaceAll("\n", " "), 80)}”`));
  quote.addEventListener("click", lead);
  quote.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    lead();
  });
  return quote;
}

function showPhrase(index, of, unit) {
  const a = maps.findIndex((map) => map.a === index && map.of === of);
  showTokens(a < 0 ? maps.findIndex((map) => map.a === index) : a, unit.first, unit.last);
}

const listed = (terms, pair) => terms.flatMap((term, n) => [
  n === 0 ? "" : n === terms.length - 1 ? " and " : ", ", ...termNodes(term, pair)]);

// The terms that together make most of a difference, against `low` (sign 1) or for it (sign -1).
function telling(terms, difference, sign) {
  const told = [];
  let share = 0;
  for (const term of sign > 0 ? terms : terms.toReversed()) {
    const part = (sign * term.effect) / difference;
    if (told.length === MAX_REASONS || share >= SHARE_TO_TELL || part <= 0) break;
    if (told.length && part < 0.08) break;
    told.push(term);
    share += part;
  }
  return { told, share };
}

// "In the text it is mostly because of “…” (−0.50 in B); most for it is “…” (+0.20 in B)." Where places
// cancel, both sums are told: then no phrase alone is the reason.
function textNodes(pair, answers) {
  const terms = textTerms(pair.low, pair.high, answers);
  if (!terms.length) return [];
  const sum = (sign) => terms.reduce((total, { effect }) => total + Math.max(0, sign * effect), 0);
  const [against, forIt] = [sum(1), sum(-1)];
  const [worst, best] = [terms[0], terms.at(-1)];
  const name = NAMES[pair.low];
  if (Math.min(against, forIt) > 0.5 * Math.max(against, forIt)) {
    const decimals = decimalsOf(Math.max(against, forIt));
    return [` In the text many places outweigh each other, ${against.toFixed(decimals)} against ${name} and ${forIt.toFixed(decimals)} for it: most against it `,
      ...termNodes(worst, pair), ", most for it ", ...termNodes(best, pair), "."];
  }
  if (forIt > against) {
    const { told } = telling(terms, forIt - against, -1);
    return [` In the text most speaks for ${name}: `, ...listed(told, pair), ...opposing(worst.effect > 0, "against", worst, pair), "."];
  }
  const difference = against - forIt;
  const { told, share } = telling(terms, difference, 1);
  const begin = share >= 0.5 ? " In the text it is mostly because of " : " In the text it is spread over many places; the largest are ";
  const isOpposed = best.effect < 0 && (worst.effect > difference || forIt > 0.25 * difference);
  return [begin, ...listed(told, pair), ...opposing(isOpposed, "for", best, pair), "."];
}

const opposing = (isThere, side, term, pair) => (isThere ? [`; most ${side} it is `, ...termNodes(term, pair)] : []);

// ---- the sentences -----------------------------------------------------------------------------

function whyLower(low, high, data) {
  const [one, other] = [partsOf(data.answers[high]), partsOf(data.answers[low])];
  const difference = one.reward - other.reward;
  if (Math.abs(difference) < 5e-7) return [h("b", {}, `${NAMES[low]} and ${NAMES[high]} have the same reward.`)];
  const decimals = decimalsOf(difference);
  const flat = isFlat(data.answers);
  const parts = written({ text: one.text - other.text, end: one.end - other.end, reward: difference }, decimals);
  const unsure = data.prob_better[high][low] < 0.6
    ? ` The head hardly tells them apart: P(${NAMES[high]} better) is ${percent(data.prob_better[high][low])}.` : "";
  return [
    h("b", {}, `${NAMES[low]} scored lower than ${NAMES[high]} by ${difference.toFixed(decimals)}`),
    ...partsNodes(parts, flat), ".", ...(flat ? [] : textNodes({ low, high, of: data }, data.answers)), unsure];
}

function ranked(data) {
  return data.answers.map((_, i) => i).sort((a, b) => data.answers[b].reward - data.answers[a].reward);
}

// The second best in full; of more answers the first words, which open.
function whyNodes(data) {
  const [best, ...others] = ranked(data);
  if (others.length < 3) return others.map((index) => h("p", {}, whyLower(index, best, data)));
  return others.map((index, n) => {
    const [headline, ...rest] = whyLower(index, best, data);
    const key = `${data.checkpoint.id} ${index}`;
    const isOpen = view.opened.has(key) ? view.opened.get(key) : n === 0;
    const box = h("details", { class: "rs-why", open: isOpen }, h("summary", {}, headline), h("p", {}, tidied(rest)));
    box.addEventListener("toggle", () => view.opened.set(key, box.open));
    return box;
  });
}

// What follows a headline, as a sentence of its own.
function tidied([first, ...rest]) {
  return typeof first === "string" ? [sentenceStart(first), ...rest] : [first, ...rest];
}

function sentenceStart(text) {
  const trimmed = text.replace(/^[:,.]\s*/, "");
  return trimmed.charAt(0).toUpperCase() + trimmed.slice(1);
}

// ---- length ------------------------------------------------------------------------------------

// "This head leans to longer answers (r = .91 with length on held-out pairs); B is 143 words shorter."
function lengthLine(data) {
  const { length } = data;
  if (!length) return "";
  const measured = length.correlation !== null
    ? `r = ${signed(length.correlation, 2).replace("+", "").replace("0.", ".")} with length on ${length.measured_on}`
    : `on ${length.measured_on} it is right in ${percent(length.right_longer)} where the better answer is the longer, in ${percent(length.right_shorter)} where it is the shorter`;
  return h("p", { class: "rs-length" }, `This head leans to ${length.leans_to} answers (${measured}); ${comparedLengths(data)}.`);
}

function comparedLengths(data) {
  const [best, worst, ...more] = ranked(data);
  const counts = data.answers.map((answer) => numWords(answer.tokens.text.join("")));
  if (worst === undefined) return `${NAMES[best]} has ${plural(counts[best], "word", "words")}`;
  if (more.length) return `words: ${[best, worst, ...more].map((index) => `${NAMES[index]} ${counts[index].toLocaleString("en")}`).join(", ")}`;
  const longer = counts[worst] - counts[best];
  if (Math.abs(longer) < ALIKE * Math.max(...counts)) return `${NAMES[worst]} and ${NAMES[best]} are about as long`;
  const isExpected = (longer < 0) === (data.length.leans_to === "longer");
  return `${NAMES[worst]} is ${plural(Math.abs(longer), "word", "words")} ${longer < 0 ? "shorter" : "longer"}${isExpected ? "" : ", which speaks for it"}`;
}

// One block for every checkpoint that is shown, named where there are two.
function drawSummary(target, shown) {
  target.replaceChildren(...shown.flatMap((data) => [
    view.data.against ? h("h4", {}, `By checkpoint ${data.checkpoint.id}`) : "", ...whyNodes(data), lengthLine(data)]));
}
