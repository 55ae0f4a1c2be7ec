// Changing one's mind about a past verdict: the verdict itself, or what was said beside it.

function verdictButton(label, name, isStanding, onclick, verdict) {
  return h("button", {
    type: "button", class: "rs-verdict", "aria-label": name, "aria-pressed": String(isStanding), onclick,
    "data-choice": verdict.choice, "data-strength": verdict.strength,
  }, label);
}

// `offered`: the project's {reasons, skip_reasons, aspects}, or null while they are not known: then
// what was said stays as it is.
function revisionBar(vote, offered, onRevise) {
  const comment = h("textarea", { rows: 2, dir: "auto", "aria-label": "Comment" });
  comment.value = vote.comment;
  const { reasons = [], skip_reasons: skipReasons = [], aspects = [] } = offered || {};
  const beside = { reasons: vote.reasons, aspects: vote.aspects || {} };
  const skipReason = h("select", { "aria-label": "Why skip it?" }, h("option", { value: "" }, "No reason"),
    skipReasons.map((reason) => h("option", { value: reason, selected: reason === vote.skip_reason }, reason)));
  const given = () => ({ comment: comment.value, ...beside, skip_reason: skipReason.value || null });
  const revise = (choice, strength) => onRevise({ ...given(), choice, strength });
  const keep = h("button", { type: "button", class: "rs-button small", onclick: () => revise(vote.choice, vote.strength) },
    "Save without changing the verdict");
  const said = () => JSON.stringify([comment.value.trim(), [...beside.reasons].sort(), beside.aspects, vote.choice === "skip" && skipReason.value]);
  const before = said();
  const check = () => { keep.disabled = said() === before; };
  comment.addEventListener("input", check);
  skipReason.addEventListener("change", check);
  const pick = (reason, isOn) => {
    const others = beside.reasons.filter((each) => each !== reason);
    beside.reasons = isOn ? [...others, reason] : others;
    check();
  };
  const rate = (aspect, side, value) => {
    beside.aspects = rated(beside.aspects, aspect, side, value);
    check();
  };
  check();
  return h("div", { class: "rs-revise", role: "group", "aria-label": "Change your verdict" },
    h("h3", {}, "Change your verdict"),
    h("div", { class: "rs-group" }, verdictButtons(vote, revise)),
    h("div", { class: "rs-group" }, notJudgedButtons(vote, revise), skipReasons.length ? h("label", { class: "rs-why" }, "Skip because: ", skipReason) : null),
    reasons.length ? h("div", { class: "rs-group", role: "group", "aria-label": "Reasons" }, reasonChips(reasons, vote.reasons, pick)) : null,
    aspects.length ? h("div", { class: "rs-rated" }, ["left", "right"].map((side) => h("div", { class: "rs-ratings", role: "group", "aria-label": `Ratings of the ${side} answer` },
      h("b", { "aria-hidden": "true" }, side === "left" ? "Left" : "Right"), ratingRows(aspects, side, beside.aspects, rate)))) : null,
    h("div", { class: "rs-comment" }, h("label", {}, h("span", {}, "Comment"), comment), keep),
    h("p", { class: "rs-facts" }, "Nothing is overwritten: your earlier verdict is kept as retracted, the new one counts."));
}

function verdictButtons(vote, revise) {
  return VERDICTS.map((verdict) => verdictButton(
    verdict.group === "middle" ? verdict.label : `${verdict.choice === "left" ? "Left" : "Right"}: ${verdict.label.toLowerCase()}`,
    verdict.name, verdict.choice === vote.choice && verdict.strength === vote.strength,
    () => revise(verdict.choice, verdict.strength), verdict));
}

function notJudgedButtons(vote, revise) {
  return [["skip", "Skip", "Skip: leave this pair to others"], ["flag", "Flag", "Flag: the comment says what is wrong"]].map(([choice, label, name]) =>
    verdictButton(label, name, vote.choice === choice, () => revise(choice, null), { choice, strength: null }));
}

function sendRevision(vote, row, { choice, strength, comment, reasons, aspects, skip_reason: skipReason }) {
  const isSkip = choice === "skip";
  const body = {
    vote_id: newId(), revises: vote.vote_id, choice, strength, comment,
    reasons: isSkip ? [] : reasons, aspects, skip_reason: isSkip ? skipReason : null, duration_ms: null,
  };
  const becomes = { ...vote, ...body, revises: vote.vote_id, created_at: new Date().toISOString() };
  revised.set(body.vote_id, { row, vote, becomes });
  row.querySelector(".rs-pair")?.remove();
  fillRow(row, becomes);
  row.querySelector(".rs-row").focus();
  sender.outbox.add("revise", body);
  sender.pump();
}
