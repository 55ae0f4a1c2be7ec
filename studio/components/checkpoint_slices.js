// Accuracy by part: whose verdicts, which category, which answer was longer, how long both were.

const SIZE_UNITS = "characters an answer";

function sliceRows(title, entries) {
  const rows = entries.filter(([, slice]) => slice && slice.pairs > 0);
  if (!rows.length) return [];
  return [
    h("tr", { class: "rs-grouprow" }, h("th", { colspan: 4, scope: "colgroup" }, title)),
    ...rows.map(([name, slice]) => h("tr", {},
      h("th", { scope: "row", dir: "auto" }, name, h("small", {}, ` ${plural(slice.pairs, "pair", "pairs")}`)),
      h("td", { class: "rs-number" }, percent(slice.accuracy)),
      h("td", { class: "rs-trackcell" }, track(slice.accuracy, slice.accuracy_ci)),
      h("td", { class: "rs-range" }, slice.accuracy_ci ? `95 %: ${between(slice.accuracy_ci)}` : "too few prompts for an interval"))),
  ];
}

function annotatorName(name) {
  return name.startsWith("import:") ? `imported: ${name.split(":").slice(1).join(":")}` : name;
}

// Is it right more often where the longer answer is better? The difference of two shares, with the
// interval that their own intervals give.
function lengthVerdict({ chosen_shorter: shorter, chosen_longer: longer }) {
  if (!shorter?.accuracy_ci || !longer?.accuracy_ci) return "";
  const half = (slice) => (slice.accuracy_ci[1] - slice.accuracy_ci[0]) / 2;
  const gap = longer.accuracy - shorter.accuracy;
  const margin = Math.hypot(half(shorter), half(longer));
  const interval = `95 %: ${(100 * (Math.abs(gap) - margin)).toFixed(0)} to ${(100 * (Math.abs(gap) + margin)).toFixed(0)}`.replace("-", "−");
  if (Math.abs(gap) <= margin) return `No length bias is shown: the two differ by ${(100 * Math.abs(gap)).toFixed(0)} points (${interval}).`;
  const likes = gap > 0 ? "longer" : "shorter";
  return `It leans to the ${likes} answer: where that is the better one it is right ${(100 * Math.abs(gap)).toFixed(0)} points more often (${interval}).`;
}

function slicesCard(figures) {
  const lengths = figures.by_length || {};
  const people = figures.by_annotator || { slices: {}, others: 0 };
  const rows = [
    ...sliceRows("Where the better answer is", [["the shorter", lengths.chosen_shorter], ["the longer", lengths.chosen_longer]]),
    ...sliceRows("By length of both answers", Object.entries(figures.by_size || {}).map(([name, slice]) =>
      [slice.characters ? `${name}, ${slice.characters[0]}–${slice.characters[1]} ${SIZE_UNITS}` : name, slice])),
    ...sliceRows("By category", Object.entries(figures.by_category || {})),
    ...sliceRows("By annotator: agreement with their own verdicts", Object.entries(people.slices || {}).map(([name, slice]) => [annotatorName(name), slice])),
  ];
  if (!rows.length) return null;
  return card("Where it is right", h("table", { class: "rs-shares" }, h("tbody", {}, rows)),
    people.others ? h("p", {}, `${plural(people.others, "further annotator has", "further annotators have")} fewer unseen pairs and ${people.others === 1 ? "is" : "are"} not listed.`) : null,
    h("p", {}, lengthVerdict(lengths)));
}
