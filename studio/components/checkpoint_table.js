// The table of checkpoints: one row each, newest first; a row opens the checkpoint below.

const STATUS_WORDS = { promoted: "promoted before", retired: "retired", "held back": "not promoted" };

function statusWord(row, inUse) {
  return row.id === inUse ? "in use" : STATUS_WORDS[row.status] || row.status;
}

function whose(votes) {
  if (!votes) return "–";
  return `${plural(votes.votes, "vote", "votes")} by ${plural(votes.people, "annotator", "annotators")}`;
}

function whoseShort(votes) {
  return votes ? `${votes.votes.toLocaleString("en")} by ${votes.people.toLocaleString("en")}` : "–";
}

// Without the year as long as it is this one.
function whenShort(iso) {
  const at = new Date(iso);
  const year = at.getFullYear() === new Date().getFullYear() ? undefined : "numeric";
  return at.toLocaleString("en-GB", { day: "numeric", month: "short", year, hour: "2-digit", minute: "2-digit" });
}

// The paired difference to the checkpoint that was in use: points, interval, and what it shows.
function difference(compared) {
  if (!compared) return "first";
  if (compared.outcome === null || compared.outcome === undefined) return "not comparable";
  const [low, high] = compared.accuracy_difference_ci;
  return `${signed(100 * compared.accuracy_difference, 1)} (${signed(100 * low, 1)} to ${signed(100 * high, 1)})`;
}

// The correlation, and in brackets how often it is right where the shorter, the longer is better.
function lengthCell(row) {
  const { reward_length_correlation: r, by_length: slices } = row;
  const isKnown = r !== null && r !== undefined;
  const right = slices ? ` (${percent(slices.chosen_shorter?.accuracy, 0)} / ${percent(slices.chosen_longer?.accuracy, 0)})` : "";
  return h("td", { "data-telling": isKnown && Math.abs(r) >= TELLING ? "yes" : "no" }, isKnown ? signed(r, 2) : "–", h("small", {}, right));
}

const COLUMNS = [
  ["No.", "Checkpoint"], ["When", null], ["State", null], ["Votes by people", "On how many votes it was trained, and how many annotators gave them"],
  ["Accuracy", "On pairs it has not seen, with half the width of the 95 % interval; in brackets: length alone"],
  ["Against the one before", "Difference in points to the checkpoint that was in use, on the same pairs, with its 95 % interval"],
  ["Log loss", "Of its probabilities; 0.693 is chance"], ["ECE", "Calibration error; in brackets what a perfect head would show"],
  ["Length", "Correlation of its rewards with the answers' length; in brackets its accuracy where the shorter answer is better, and where the longer one is"],
  ["Head", "Layer and readout"],
];

function tableRow(row, inUse, selected, open) {
  const cells = [
    h("td", {}, h("button", { type: "button", class: "rs-pick", "aria-label": `Checkpoint ${row.id}`, "aria-pressed": row.id === selected ? "true" : "false" }, String(row.id))),
    h("td", {}, whenShort(row.created_at)),
    h("td", {}, h("span", { class: "rs-state", "data-state": row.id === inUse ? "in use" : row.status }, statusWord(row, inUse))),
    h("td", { title: whose(row.votes) }, whoseShort(row.votes)),
    h("td", { class: "rs-number" }, `${percent(row.accuracy)}${plusMinus(row.accuracy_ci)}`,
      h("small", {}, ` (${percent(row.length_only_accuracy)})`)),
    h("td", { "data-outcome": row.comparison?.outcome, title: row.comparison ? `Checkpoint ${row.comparison.against}` : null }, difference(row.comparison)),
    h("td", {}, row.log_loss?.toFixed(3) ?? "–"),
    h("td", {}, row.ece?.toFixed(3) ?? "–", row.ece_noise_floor ? h("small", {}, ` (${row.ece_noise_floor.toFixed(3)})`) : null),
    lengthCell(row),
    h("td", { title: row.head_of ? `Layer, readout and penalty as checkpoint ${row.head_of} chose them` : null },
      row.layer ? `${row.layer} · ${row.readout}` : row.readout || "–", row.head_of ? h("small", {}, ` (as ${row.head_of})`) : null),
  ];
  return h("tr", { "data-id": row.id, "data-selected": row.id === selected ? "yes" : "no", onclick: () => open(row.id) }, cells);
}

// What the table leaves out, and why.
function drawRest({ checkpoints, total, thinned }, showMore) {
  const hidden = total - checkpoints.length;
  const gone = thinned === 1
    ? "1 checkpoint that a rule made and newer ones replaced was thinned"
    : `${thinned.toLocaleString("en")} checkpoints that rules made and newer ones replaced were thinned`;
  if (hidden <= 0 && !thinned) return null;
  return h("div", { class: "rs-rest" },
    hidden > 0 ? h("button", { type: "button", class: "rs-button", onclick: showMore }, `Show ${plural(hidden, "older one", "older ones")}`) : null,
    thinned ? h("p", {}, `${gone}: files deleted, figures kept in the database, runs and votes as they were.`) : null);
}

function drawTable({ checkpoints, in_use: inUse }, selected, open) {
  const heads = COLUMNS.map(([name, about]) => h("th", { scope: "col", title: about }, name));
  return h("div", { class: "rs-scroll", role: "region", tabindex: 0, "aria-label": "Checkpoints" },
    h("table", { class: "rs-list" }, h("thead", {}, h("tr", {}, heads)),
      h("tbody", {}, checkpoints.map((row) => tableRow(row, inUse, selected, open)))));
}
