// How far people agree, in tiles, and a table of annotators that sorts by any column.

const SHOWN_AT_FIRST = 30;
const NEUTRAL_WORDS = { worse: "worse than the rest", better: "better than the rest", odd: "a habit" };
let sorting = { key: "num_verdicts", isDown: true };
let isAllShown = false;

// ---- tiles --------------------------------------------------------------------------------------

function interval(estimate, show) {
  return estimate.low === null ? null : h("small", {}, `${show(estimate.low)} to ${show(estimate.high)}`);
}

function tile(title, estimate, show, words) {
  return h("div", { class: "rs-tile" }, h("h3", {}, title),
    h("strong", {}, estimate.value === null ? "–" : show(estimate.value), interval(estimate, show)), h("p", {}, words));
}

function kappa(number) {
  return number.toFixed(2).replace("-", "−");
}

function tiles(value) {
  const pairs = plural(value.num_shared, "pair", "pairs");
  return h("div", { class: "rs-tiles" },
    tile("Agreement (Krippendorff’s alpha)", value.alpha, kappa, value.alpha_words),
    tile("Two people say the same", value.percent, percent, value.percent.value === null ? "Needs pairs that two people have judged."
      : `of the couples of votes on ${pairs} with two votes or more.`),
    tile("One person, told by the others", value.ceiling, percent, value.ceiling.value === null ? "Needs pairs that three people have judged, or two alike."
      : "is how often somebody’s choice is the majority of the others’: as much as a model’s accuracy against one person can mean."),
    h("div", { class: "rs-tile" }, h("h3", {}, "Votes"), h("strong", {}, value.num_votes.toLocaleString("en")),
      h("p", {}, `on ${value.num_judged.toLocaleString("en")} of ${plural(value.num_pairs, "pair", "pairs")}; ${plural(value.num_trained, "has a target", "have a target")}.`),
      leftOutList(value.left_out)));
}

function otherMeasures(value) {
  const parts = [];
  const show = ({ value: number, low, high }) => `${kappa(number)} (${kappa(low)} to ${kappa(high)})`;
  if (value.cohen.value !== null) parts.push(`Cohen’s kappa is ${show(value.cohen)} in the mean over ${plural(value.num_couples, "couple", "couples")} of annotators with ${value.min_common} pairs in common.`);
  if (value.fleiss.value !== null) parts.push(`Fleiss’ kappa is ${show(value.fleiss)} over the ${plural(value.fleiss.num, "pair", "pairs")} with exactly ${plural(value.fleiss_votes, "vote", "votes")}.`);
  return parts.length ? h("p", { class: "rs-others" }, [...parts, "In brackets are 95 % intervals; they draw the pairs anew."].join(" ")) : null;
}

// ---- annotators ---------------------------------------------------------------------------------

// Coloured only where the interval leaves the neutral value out; `kind` says what a high one means.
function standing(estimate, neutral, kind) {
  if (estimate.value === null || estimate.low === null || neutral === null) return "";
  if (estimate.low <= neutral && estimate.high >= neutral) return "";
  if (kind === "odd") return "odd";
  return (estimate.value > neutral) === (kind === "good") ? "better" : "worse";
}

function columns(value) {
  const share = (key, label, neutral, kind, about) => ({
    key, label, about, sortBy: (row) => row[key].value,
    cell: (row) => {
      const estimate = row[key];
      const is = standing(estimate, neutral, kind);
      if (estimate.value === null) return h("td", { class: "rs-none" }, "–");
      return h("td", { class: is, title: `${plural(estimate.num, "vote", "votes")}${is ? `; ${NEUTRAL_WORDS[is]}` : ""}` },
        percent(estimate.value), is ? h("span", { "aria-hidden": true }, is === "better" ? " ▲" : is === "worse" ? " ▼" : " ◆") : null,
        is ? h("span", { class: "rs-unseen" }, ` (${NEUTRAL_WORDS[is]})`) : null, interval(estimate, percent));
    },
  });
  const number = (key, label, show = (n) => n.toLocaleString("en")) => ({
    key, label, sortBy: (row) => row[key], cell: (row) => h("td", {}, row[key] === null ? "–" : show(row[key])),
  });
  const more = (estimate) => `${estimate > 0 ? "+" : estimate < 0 ? "−" : ""}${Math.abs(100 * estimate).toFixed(0)}`;
  return [
    { key: "name", label: "Annotator", sortBy: (row) => row.name, cell: (row) => h("th", { scope: "row" }, h("bdi", {}, row.name), row.imported ? h("span", { class: "rs-tag" }, "imported") : null) },
    number("num_verdicts", "Verdicts"),
    number("median_ms", "Median time", (ms) => `${(ms / 1000).toFixed(ms < 9950 ? 1 : 0)} s`),
    share("too_fast", "Too fast to read", value.too_fast, "bad", "Given faster than anyone can read the two answers."),
    share("with_others", "As the others", value.with_others, "good", "The verdict is that of the majority of the others on the pair."),
    share("left", "Chose left", 0.5, "odd", "Of two answers, the one on the left; half is no habit."),
    { key: "longer", label: "Chose longer", about: "And by how many points more often than the others on the same pairs.", sortBy: (row) => row.longer_than_others.value,
      cell: (row) => {
        const excess = row.longer_than_others;
        const is = standing(excess, 0, "odd");
        if (row.longer.value === null) return h("td", { class: "rs-none" }, "–");
        return h("td", { class: is, title: plural(row.longer.num, "vote", "votes") }, percent(row.longer.value),
          is ? h("span", { "aria-hidden": true }, " ◆") : null, is ? h("span", { class: "rs-unseen" }, " (a habit)") : null,
          excess.value === null ? null : h("small", {}, `${more(excess.value)} points (${more(excess.low)} to ${more(excess.high)})`));
      } },
    share("gold", "Gold pairs right", value.gold, "good"),
    share("repeats", "Same again", value.repeats, "good", "The own earlier verdict was given again when the pair came back."),
    number("num_skips", "Skips"),
    number("num_flags", "Flags"),
  ];
}

function sorted(rows, column) {
  const known = rows.filter((row) => column.sortBy(row) !== null);
  const unknown = rows.filter((row) => column.sortBy(row) === null);
  const sign = sorting.isDown ? -1 : 1;
  known.sort((one, other) => {
    const [left, right] = [column.sortBy(one), column.sortBy(other)];
    return sign * (typeof left === "string" ? left.localeCompare(right) : left - right);
  });
  return [...known, ...unknown]; // what is not known stays below, whichever way it is sorted
}

function annotatorTable(value) {
  const all = columns(value);
  const column = all.find((each) => each.key === sorting.key);
  const rows = sorted(value.annotators, column);
  const head = all.map((each) => h("th", { scope: "col", title: each.about, "aria-sort": each === column ? (sorting.isDown ? "descending" : "ascending") : null },
    h("button", { type: "button", "data-key": each.key, onclick: () => sortBy(each) }, each.label)));
  const shown = isAllShown ? rows : rows.slice(0, SHOWN_AT_FIRST);
  return [
    h("div", { class: "rs-scroll", role: "region", tabindex: 0, "aria-label": "Annotators" },
      h("table", {}, h("thead", {}, h("tr", {}, head)), h("tbody", {}, shown.map((row) => h("tr", {}, all.map((each) => each.cell(row))))))),
    rows.length > shown.length ? h("button", { type: "button", class: "rs-link", onclick: () => { isAllShown = true; draw(); } },
      `Show all ${rows.length.toLocaleString("en")} annotators (${shown.length} are shown)`) : null,
  ];
}

function sortBy(column) {
  sorting = { key: column.key, isDown: sorting.key === column.key ? !sorting.isDown : column.key !== "name" };
  draw();
  element.querySelector(`[data-key="${column.key}"]`).focus();
}

function couple(value) {
  const names = value.annotators.map((row) => row.name);
  if (names.length < 2) return null;
  const pick = (label, chosen) => h("select", { "aria-label": label }, names.map((name) => h("option", { value: name, selected: name === chosen }, name)));
  const asked = value.couple || { first: names[0], second: names[1] };
  const [first, second] = [pick("First annotator", asked.first), pick("Second annotator", asked.second)];
  const found = value.couple && value.couple.kappa;
  return h("form", { class: "rs-form", onsubmit: (event) => { event.preventDefault(); ask("couple", { first: first.value, second: second.value }); } },
    h("label", {}, "How far do", first), h("label", {}, "and", second), h("button", { type: "submit", class: "rs-button" }, "agree?"),
    found ? h("p", { role: "status" }, found.value === null
      ? `They have ${plural(found.num, "pair", "pairs")} in common: no kappa can be told.`
      : `Cohen’s kappa is ${kappa(found.value)} (${kappa(found.low)} to ${kappa(found.high)}) over ${plural(found.num, "pair", "pairs")}.`) : null);
}

function annotators(value) {
  return h("section", { "aria-label": "Annotators" }, h("h2", {}, "Annotators"),
    h("p", {}, "Beneath each share is its 95 % interval. A figure is coloured only when that interval leaves out what says nothing: one half for the sides, otherwise the rest of the project. Of twenty people without any habit, one is coloured by chance."),
    ...annotatorTable(value), couple(value));
}

// ---- drawing ------------------------------------------------------------------------------------

function draw() {
  const value = parsed(props.value);
  const root = element.querySelector('[data-part="quality"]');
  if (!value) { root.replaceChildren(); return; }
  if (value.is_waiting) { root.replaceChildren(h("p", { class: "rs-waiting", role: "status" }, "Counting the votes…")); return; }
  root.replaceChildren(...[told(value), tiles(value), otherMeasures(value), value.annotators.length ? annotators(value) : null].filter(Boolean));
}

// Counted when the tab comes into view, and again at every later visit; the server keeps what is
// the same. The margin makes "in view" mean "laid out": scrolling must not count again.
function load() {
  const value = parsed(props.value);
  if (value) act("load", { is_first: Boolean(value.is_waiting) });
}

new IntersectionObserver((entries) => {
  if (entries.some((entry) => entry.isIntersecting)) load();
}, { rootMargin: "1000000px" }).observe(element.querySelector('[data-part="quality"]'));
watch("value", () => {
  draw();
  const root = element.querySelector('[data-part="quality"]');
  if (parsed(props.value)?.is_waiting && root.getClientRects().length) load();
});
draw();
