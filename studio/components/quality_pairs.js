// Lists of pairs to look at; one opened shows all that was said of it and takes the last word.

const LISTS = [["disputed", "Disputed"], ["flagged", "Flagged"], ["relabel", "Model disagrees"], ["adjudicated", "Adjudicated"]];
const ABOUT = {
  disputed: "People disagree most on these, and nobody has had the last word yet.",
  flagged: "Somebody found something wrong with the pair itself. A paused pair is shown to nobody until it is reopened.",
  relabel: "The newest model finds the people’s verdict unlikely: sometimes the model is wrong, sometimes the vote was a slip.",
  adjudicated: "Here a lead has had the last word: it overrides the votes in training, and can be revised or withdrawn.",
};
const VERDICTS = [["a", 3, "A is much better"], ["a", 2, "A clearly"], ["a", 1, "A slightly"], null, ["tie", null, "Tie"], ["both_bad", null, "Both bad"], null,
  ["b", 1, "B slightly"], ["b", 2, "B clearly"], ["b", 3, "B is much better"]];
const STRENGTHS = { 1: "slightly", 2: "clearly", 3: "much" };

function verdictText({ choice, strength }) {
  if (choice !== "a" && choice !== "b") return CHOICE_NAMES[choice].replace(/^./, (letter) => letter.toUpperCase());
  return `${CHOICE_NAMES[choice]}${strength ? `, ${STRENGTHS[strength]}` : ""} better`.replace("better", strength ? "better" : "is better");
}

// ---- lists --------------------------------------------------------------------------------------

function listChips(value) {
  return h("div", { class: "rs-chips", role: "group", "aria-label": "Pairs to look at" }, LISTS.map(([key, label]) => {
    const number = value.totals[key];
    return h("button", { type: "button", class: "rs-chip", "aria-pressed": String(value.list === key), onclick: () => ask("list", { list: key }) },
      number === undefined || number === null ? label : `${label} (${number.toLocaleString("en")})`);
  }));
}

function pairRow(row, value) {
  return h("li", {}, h("button", { type: "button", class: "rs-pair-row", onclick: () => ask("open", { list: value.list, pair: row.pair_id }) },
    h("span", { class: "rs-said" }, row.said), h("span", { class: "rs-asked", dir: "auto" }, row.words), h("span", { class: "rs-about" }, row.about)));
}

function list(value) {
  const total = value.totals[value.list] ?? value.rows.length;
  return [
    h("p", {}, ABOUT[value.list]),
    value.note ? h("p", {}, value.note) : null,
    value.rows.length ? h("ul", { class: "rs-list", "aria-label": LISTS.find(([key]) => key === value.list)[1] }, value.rows.map((row) => pairRow(row, value)))
      : h("p", {}, value.list === "relabel" && value.note ? "" : "There are none."),
    total > value.rows.length ? h("p", {}, `${value.rows.length} of ${total.toLocaleString("en")} are listed, the strongest first.`) : null,
  ];
}

// ---- one pair -----------------------------------------------------------------------------------

function answer(name, text, isChosen) {
  return h("div", { class: `rs-answer ${isChosen ? "chosen" : ""}`, tabindex: 0, role: "region", "aria-label": `Answer ${name}` },
    h("h4", {}, `Answer ${name}`), richText(text.html, text.text));
}

function voteRow(vote) {
  const side = vote.left_side ? (vote.left_side === "a" ? "A left" : "B left") : "–";
  const notes = [...vote.reasons, vote.comment].filter(Boolean).join("\n");
  const purpose = vote.purpose === "label" ? null : h("small", {}, ` ${vote.purpose}`);
  return h("tr", {}, h("th", { scope: "row" }, h("bdi", {}, vote.annotator)), h("td", {}, verdictText(vote), purpose),
    h("td", {}, vote.duration_ms === null ? "–" : `${(vote.duration_ms / 1000).toFixed(1)} s`), h("td", {}, side),
    h("td", { class: "rs-comment", dir: "auto" }, notes || "–"));
}

function votesTable(votes) {
  if (!votes.length) return h("p", {}, "Nobody has voted on it.");
  const head = ["Annotator", "Verdict", "Time", "Shown", "Reasons and comment"].map((text) => h("th", { scope: "col" }, text));
  return h("div", { class: "rs-scroll", role: "region", tabindex: 0, "aria-label": "Votes on this pair" },
    h("table", {}, h("thead", {}, h("tr", {}, head)), h("tbody", {}, votes.map(voteRow))));
}

function modelText(model) {
  const favoured = model.prob_a >= 0.5 ? "A" : "B";
  const probability = percent(Math.max(model.prob_a, 1 - model.prob_a));
  return `Checkpoint ${model.checkpoint_id} gives ${favoured} ${probability}${model.was_unseen ? ", without having seen this prompt" : ", having been trained on this pair or one like it"}.`;
}

function decision(value) {
  const { opened } = value;
  const standing = opened.adjudication;
  const comment = h("textarea", { rows: 2, maxlength: 20000, dir: "auto", "aria-label": "Why" });
  comment.value = standing ? standing.comment : "";
  const give = (choice, strength) => {
    const details = { list: value.list, pair: opened.pair_id, next: opened.next, vote_id: crypto.randomUUID(), choice, strength, comment: comment.value };
    for (const each of element.querySelectorAll(".rs-verdicts button")) each.disabled = true; // one click, one vote
    ask("adjudicate", details);
  };
  const buttons = VERDICTS.map((verdict) => {
    if (!verdict) return h("span", { class: "rs-gap" });
    const [choice, strength, label] = verdict;
    const isGiven = standing && standing.choice === choice && (standing.strength ?? null) === strength;
    return button(label, () => give(choice, strength), "", { "aria-pressed": String(Boolean(isGiven)) });
  });
  return h("div", { class: "rs-decide" },
    standing ? h("p", {}, "Adjudicated by ", h("bdi", {}, standing.annotator), `: ${verdictText(standing)}. Another verdict replaces it; both stay on record.`)
      : h("p", {}, "Your verdict overrides the votes above in training. They stay as they are, and whoever gave them is not told."),
    h("label", {}, "Why (optional)", comment),
    h("div", { class: "rs-verdicts", role: "group", "aria-label": "Your verdict" }, buttons),
    h("div", { class: "rs-head" },
      standing ? button("Withdraw the adjudication", () => ask("withdraw", { list: value.list, pair: opened.pair_id })) : null,
      button(opened.is_paused ? "Reopen the pair for labelling" : "Pause the pair", () => ask("pause", { list: value.list, pair: opened.pair_id, paused: !opened.is_paused }))));
}

function openedPair(value) {
  const { opened } = value;
  const chosen = opened.adjudication?.choice;
  return h("div", { class: "rs-opened" },
    h("div", { class: "rs-head" },
      button("← Back to the list", () => ask("list", { list: value.list })),
      h("h3", { tabindex: -1 }, `Pair ${opened.pair_id}${opened.is_paused ? " · paused" : ""}${opened.gold_choice ? ` · gold: ${CHOICE_NAMES[opened.gold_choice]}` : ""}`),
      opened.next ? button("Next in the list", () => ask("open", { list: value.list, pair: opened.next })) : null),
    h("div", { class: "rs-prompt" }, conversationNodes(opened.messages)),
    h("div", { class: "rs-answers" }, answer("A", opened.response_a, chosen === "a"), answer("B", opened.response_b, chosen === "b")),
    opened.model ? h("p", {}, opened.adjudication ? modelText(opened.model) : "What the model thinks of it stands here once you have judged.") : null,
    votesTable(opened.votes), decision(value));
}

function draw() {
  const value = parsed(props.value);
  const root = element.querySelector('[data-part="quality"]');
  if (!value) { root.replaceChildren(); return; }
  const body = value.opened ? [openedPair(value)] : [listChips(value), ...list(value)];
  root.replaceChildren(h("section", { "aria-label": "Pairs to look at" }, h("h2", {}, "Pairs to look at"), ...[told(value), ...body].filter(Boolean)));
  makeScrollable(root);
  if (value.opened) {
    root.querySelector(".rs-opened h3").focus({ preventScroll: true });
    root.scrollIntoView({ block: "start" });
  }
}
watch("value", draw);
draw();
