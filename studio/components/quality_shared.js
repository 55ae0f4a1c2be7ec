// What the parts of the Quality page share: asking the server, and figures as text.

const PATIENCE_MS = 10_000; // an answer that changes nothing is not drawn: then the part is free again

function act(action, details = {}) {
  trigger("act", { action, ...details });
}

// The same, marked as being worked on until the answer is drawn.
function ask(action, details) {
  const part = element.querySelector("section");
  part.setAttribute("aria-busy", "true");
  setTimeout(() => {
    part.removeAttribute("aria-busy");
    for (const each of part.querySelectorAll(".rs-verdicts button")) each.disabled = false;
  }, PATIENCE_MS);
  act(action, details);
}

function button(label, onclick, kind = "", more = {}) {
  return h("button", { type: "button", class: `rs-button ${kind}`, onclick, ...more }, label);
}

function percent(share, decimals = 0) {
  return share === null || share === undefined ? "–" : `${(100 * share).toFixed(decimals)} %`;
}

function told(value) {
  if (value.error) return h("p", { class: "rs-told bad", role: "alert" }, sentence(value.error));
  return value.done ? h("p", { class: "rs-told", role: "status" }, sentence(value.done)) : null;
}

const CHOICE_NAMES = { a: "A", b: "B", tie: "tie", both_bad: "both bad", skip: "skip", flag: "flag" };

function countsText(counts) {
  return Object.entries(counts).map(([choice, number]) => `${CHOICE_NAMES[choice]} ${number}`).join(" · ");
}

// What is left out of training, in the words of docs/training-rules.md.
const LEFT_OUT = {
  pairs_not_judged: ["pair that nobody has judged", "pairs that nobody has judged"],
  pairs_flag_only: ["pair that was flagged and not judged", "pairs that were flagged and not judged"],
  pairs_both_bad_only: ["pair judged as both bad only", "pairs judged as both bad only"],
  pairs_skip_only: ["pair that was only skipped", "pairs that were only skipped"],
  pairs_tie_only: ["pair with ties only", "pairs with ties only"],
  pairs_excluded_only: ["pair judged by excluded annotators only", "pairs judged by excluded annotators only"],
  pairs_too_few_votes: ["pair with too few votes", "pairs with too few votes"],
  pairs_adjudicated_both_bad: ["pair adjudicated as both bad", "pairs adjudicated as both bad"],
  votes_both_bad: ["vote “both bad” on a pair that trains", "votes “both bad” on pairs that train"],
  votes_skip: ["skip on a pair that trains", "skips on pairs that train"],
  votes_flag: ["flag on a pair that trains", "flags on pairs that train"],
  votes_tie: ["tie that is dropped", "ties that are dropped"],
  votes_excluded: ["vote of an excluded annotator", "votes of excluded annotators"],
  votes_overridden: ["vote overridden by an adjudication", "votes overridden by adjudications"],
  votes_gold: ["vote on a gold pair", "votes on gold pairs"],
  votes_repeat: ["vote on a repeated pair", "votes on repeated pairs"],
};

function leftOutList(counts) {
  const lines = Object.entries(counts).map(([reason, number]) => {
    const words = LEFT_OUT[reason] || [reason.replaceAll("_", " "), reason.replaceAll("_", " ")];
    return h("li", {}, plural(number, ...words));
  });
  return lines.length ? h("details", { class: "rs-left-out" }, h("summary", {}, "What is left out of training, and why"), h("ul", {}, lines)) : null;
}
