// How votes become targets: the project's settings, and what others would change before they are used.

const METHODS = [["shares", "Share of the votes"], ["majority", "Majority"], ["reliability", "Reliability of each annotator"]];
const ABOUT = {
  shares: "Two votes of three for an answer make it two thirds likely to be better: disagreement is kept, and trains as such.",
  majority: "The answer with more votes is better, fully; an even number is a tie.",
  reliability: "Dawid and Skene: how far each annotator can be trusted is estimated from all votes together, and a vote weighs accordingly.",
};
const TIES = [["half", "count as half a vote for each answer"], ["drop", "are left out"]];
let draft = null; // what is filled in and not yet used; the server's value replaces it

function select(label, options, chosen, onchange) {
  const made = h("select", { "aria-label": label, onchange: () => onchange(made.value) },
    options.map(([key, text]) => h("option", { value: key, selected: key === chosen }, text)));
  return h("label", {}, label, made);
}

function number(label, value, min, max, step, onchange) {
  const made = h("input", { type: "number", min, max, step, value, required: true, "aria-label": label, onchange: () => onchange(Number(made.value)) });
  return h("label", {}, label, made);
}

function excluded(value) {
  const left = value.annotators.filter((name) => !draft.exclude.includes(name));
  const names = draft.exclude.map((name) => h("button", { type: "button", class: "rs-chip", "aria-label": `Count the votes of ${name} again`,
    onclick: () => { draft.exclude = draft.exclude.filter((each) => each !== name); draw(); } }, h("bdi", {}, name), " ×"));
  const add = h("select", { "aria-label": "Leave out the votes of", onchange: () => { if (add.value) { draft.exclude = [...draft.exclude, add.value].sort(); draw(); } } },
    h("option", { value: "" }, "Choose an annotator…"), left.map((name) => h("option", { value: name }, name)));
  return h("div", { class: "rs-form" }, h("label", {}, "Leave out the votes of", add), names.length ? h("div", { class: "rs-names" }, names) : null);
}

function preview(value) {
  const found = value.preview;
  if (!found) return null;
  const change = found.changed ? [h("strong", {}, plural(found.changed, "target", "targets")), ` of ${plural(found.pairs_now, "pair", "pairs")} would change, by ${percent(found.mean_change)} in the mean; `,
    h("strong", {}, found.flipped.toLocaleString("en")), " would favour the other answer."] : ["No target would change."];
  const pairs = [found.gained ? `${plural(found.gained, "pair", "pairs")} would train that ${found.gained === 1 ? "does" : "do"} not now.` : "",
    found.lost ? `${plural(found.lost, "pair", "pairs")} would no longer train.` : ""].filter(Boolean).join(" ");
  const rows = Object.entries(found.reliability).sort((one, other) => other[1].num_votes - one[1].num_votes).slice(0, 100);
  const head = ["Annotator", "Votes", "Names the better answer", "Names the worse one", "Calls it a tie"].map((text) => h("th", { scope: "col" }, text));
  return h("div", { class: "rs-preview", role: "status" }, h("p", {}, ...change), pairs ? h("p", {}, pairs) : null,
    found.has_converged ? null : h("p", { class: "rs-told bad" }, "The estimate had not settled when it was stopped: do not rely on it."),
    leftOutList(found.left_out),
    rows.length ? h("div", { class: "rs-scroll rs-reliable", role: "region", tabindex: 0, "aria-label": "Estimated reliability" },
      h("table", {}, h("thead", {}, h("tr", {}, head)), h("tbody", {}, rows.map(([name, each]) => h("tr", {}, h("th", { scope: "row" }, h("bdi", {}, name)),
        h("td", {}, each.num_votes.toLocaleString("en")), h("td", {}, percent(each.right)), h("td", {}, percent(each.wrong)), h("td", {}, percent(each.tie))))))) : null,
    Object.keys(found.reliability).length > rows.length ? h("p", {}, `The ${rows.length} annotators with the most votes are listed, of ${Object.keys(found.reliability).length.toLocaleString("en")}.`) : null);
}

function draw() {
  const value = parsed(props.value);
  const root = element.querySelector('[data-part="quality"]');
  if (!value) { root.replaceChildren(); return; }
  const set = (key) => (chosen) => { draft[key] = chosen; draw(); };
  const isSame = JSON.stringify(draft) === JSON.stringify(value.settings);
  root.replaceChildren(h("section", { "aria-label": "How votes become targets" },
    ...[h("h2", {}, "How votes become targets"), told(value),
      h("div", { class: "rs-form" }, select("A pair’s target is the", METHODS, draft.method, set("method")), select("Ties", TIES, draft.ties, set("ties")),
        number("Votes a pair needs", draft.min_votes, 1, 100, 1, set("min_votes")),
        draft.method === "reliability" ? number("Votes the average weighs", draft.pseudo_votes, 0, 1000, 0.5, set("pseudo_votes")) : null),
      h("p", {}, ABOUT[draft.method], " Each training keeps the settings that it was made with; a change shows in the next one."),
      value.annotators.length ? excluded(value) : null,
      h("div", { class: "rs-form" }, button("See what would change", () => ask("preview", { settings: draft })),
        button("Use these rules", () => ask("change", { settings: draft }), "primary", { disabled: isSame })),
      preview(value)].filter(Boolean)));
}

function take() {
  const value = parsed(props.value);
  draft = value ? structuredClone(value.draft || value.settings) : null;
  draw();
}
watch("value", take);
take();
