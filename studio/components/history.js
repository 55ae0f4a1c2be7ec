// One's own past votes: found by verdict and words, opened as they were judged, and revised.

const VERDICTS = props.verdicts; // [{key, choice, strength, group, label, name}]
const FILTERS = props.filters; // [{choice, label}]; choice "" shows all
const PAGE = 20;
const SEARCH_PAUSE_MS = 250;
const root = element.querySelector(".rs-history");
const part = (name) => root.querySelector(`[data-part="${name}"]`);
let config = null;
let sender = null;
let offered = null; // what the project asks for beside a verdict: reasons, skip_reasons, aspects
let filter = "";
let cursor = null;
let wanted = 0; // counts the questions asked, so that a late answer to an old one is dropped
let numShown = 0;
let numSearched = 0;
let typing = null;
let isStale = true; // votes may have been given since the list was fetched
const revised = new Map(); // vote_id of a revision on its way -> what becomes of its row

function verdictName({ choice, strength, skip_reason: reason, is_edit: isEdit }) {
  if (isEdit) return "Your edit is better";
  const verdict = VERDICTS.find((each) => each.choice === choice && each.strength === strength)
    || VERDICTS.find((each) => each.choice === choice);
  if (verdict) return verdict.choice === choice && verdict.strength === strength ? verdict.name : `${verdict.name.split(" ")[0]} is better`;
  return { skip: reason ? `Skipped: ${reason}` : "Skipped", flag: "Flagged" }[choice] || choice;
}

function when(iso) {
  const date = new Date(/[zZ]|[+-]\d\d:\d\d$/.test(iso) ? iso : `${iso}Z`);
  const sameDay = date.toDateString() === new Date().toDateString();
  return new Intl.DateTimeFormat(undefined, sameDay ? { timeStyle: "short" } : { dateStyle: "medium", timeStyle: "short" }).format(date);
}

function firstLine(messages) {
  const asked = messages.findLast((message) => message.role === "user") || messages.at(-1);
  return (asked?.content || "").trim().slice(0, 220) || "(empty prompt)";
}

// ---- one vote ---------------------------------------------------------------------------------

function details(vote) {
  const facts = [
    vote.reasons.length ? `Because: ${vote.reasons.join(", ")}` : "",
    ...Object.entries(vote.aspects || {}).map(([aspect, sides]) => `${aspect}: left ${sides.left ?? "–"}, right ${sides.right ?? "–"}`),
    vote.guidelines_version ? `Guidelines version ${vote.guidelines_version}` : "",
    vote.duration_ms ? `${seconds(vote.duration_ms / 1000)} to decide` : "",
    vote.revises ? "Revised by you" : "",
  ].filter(Boolean);
  return h("p", { class: "rs-facts" }, facts.join(" · "));
}

function answer(side, vote) {
  const source = vote.reveal?.[side];
  return h("article", { class: `rs-answer${vote.choice === side ? " chosen" : ""}`, "aria-label": `${side === "left" ? "Left" : "Right"} answer` },
    h("h3", {}, side === "left" ? "Left" : "Right", source ? h("span", { class: "rs-source" }, `from ${source}`) : null),
    richText(vote[side].html, vote[side].text));
}

function openPair(row, vote, button) {
  const isOpen = button.getAttribute("aria-expanded") !== "true";
  button.setAttribute("aria-expanded", String(isOpen));
  row.querySelector(".rs-pair")?.remove();
  if (!isOpen) return;
  row.append(h("div", { class: "rs-pair" },
    h("section", { class: "rs-prompt", "aria-label": "The prompt" }, conversationNodes(vote.messages, { isOpen: false })),
    h("div", { class: "rs-answers" }, answer("left", vote), answer("right", vote)),
    details(vote), vote.is_edit ? null : revisionBar(vote, offered, (given) => sendRevision(vote, row, given))));
  makeScrollable(row);
}

function voteRow(vote) {
  const row = h("li", { class: "rs-vote", "data-vote": vote.vote_id, "data-choice": vote.choice });
  fillRow(row, vote);
  return row;
}

function fillRow(row, vote) {
  row.dataset.vote = vote.vote_id;
  row.dataset.choice = vote.choice;
  const button = h("button", { type: "button", class: "rs-row", "aria-expanded": "false", onclick: () => openPair(row, vote, button) },
    h("span", { class: "rs-verdict-name" }, verdictName(vote)),
    h("span", { class: "rs-asked", dir: "auto" }, firstLine(vote.messages)),
    h("span", { class: "rs-when" }, when(vote.created_at)));
  row.replaceChildren(button, vote.comment ? h("p", { class: "rs-note", dir: "auto" }, vote.comment) : "",
    h("p", { class: "rs-row-state", role: "status" }));
}

// ---- revising -----------------------------------------------------------------------------------

function tellRow(row, text, state) {
  row.dataset.state = state;
  row.querySelector(".rs-row-state").textContent = text;
}

function afterRevision(entry, given) {
  const { row, vote, becomes } = revised.get(entry.vote.vote_id) || {};
  const refused = sender.outbox.memory.get(entry.vote.vote_id)?.refused;
  if (!row) { // of an earlier visit
    if (refused) part("found").textContent = `A revision of an earlier visit was refused: ${sentence(refused)}`;
    if (refused) sender.outbox.remove(entry.vote.vote_id);
  } else if (given) {
    revised.delete(entry.vote.vote_id);
    becomes.reveal = given.reveal; // a skip tells nothing of the sources, a verdict does
    const left = [...(given.set_aside?.reasons || []), ...(given.set_aside?.aspects || [])];
    tellRow(row, `Saved: your revised verdict counts.${left.length ? ` Without what the project no longer offers: ${left.join(", ")}.` : ""}`, "saved");
  } else if (refused) {
    revised.delete(entry.vote.vote_id);
    fillRow(row, vote); // as it still stands
    tellRow(row, `Not revised: ${sentence(refused)}`, "refused");
    sender.outbox.remove(entry.vote.vote_id);
  } else {
    tellRow(row, `Waiting to be saved: ${sender.waitingFor}. Trying again.`, "waiting");
  }
}

function showSending() {
  const waiting = sender.outbox.waiting();
  for (const { vote } of waiting) {
    const { row } = revised.get(vote.vote_id) || {};
    if (row && !sender.pause) tellRow(row, "Saving …", "saving");
  }
  root.dataset.waiting = String(waiting.length);
}

// ---- finding ------------------------------------------------------------------------------------

function drawFilters() {
  part("filters").replaceChildren(...FILTERS.map(({ choice, label }) => h("button", {
    type: "button", class: "rs-chip", "aria-pressed": String(choice === filter), "data-choice": choice,
    onclick: () => { filter = choice; drawFilters(); look(); },
  }, label)));
}

// From the newest vote, or on from where the last page ended. What nobody asked for (`isRefresh`)
// gives way to a pair that was opened while it was on its way.
async function look(isMore = false, isRefresh = false) {
  if (!config) return;
  const before = { cursor, numShown, numSearched };
  wanted += 1;
  const question = wanted;
  const query = part("query").value.trim();
  if (!isMore) { cursor = null; numShown = 0; numSearched = 0; }
  root.dataset.state = "loading";
  part("more").replaceChildren(h("span", { class: "rs-facts" }, "Looking …"));
  const search = new URLSearchParams({ limit: PAGE, ...(filter && { choice: filter }), ...(query && { q: query }), ...(cursor && { before: cursor }) });
  let found = null;
  try {
    if (isRefresh || !offered) offered = await request(`${config.base}/settings`, undefined, config.scope); // a lead may have changed it
    found = await request(`${config.base}/history?${search}`, undefined, config.scope);
  } catch (error) {
    if (question === wanted) showFailure(error, isMore);
    return;
  }
  if (question !== wanted) return;
  if (isRefresh && isAtWork()) {
    ({ cursor, numShown, numSearched } = before);
    root.dataset.state = "ready";
    showFound(query);
    return;
  }
  isStale = false;
  if (!isMore) part("votes").replaceChildren();
  part("votes").append(...found.votes.map(voteRow));
  numShown += found.votes.length;
  numSearched += found.num_searched || 0;
  cursor = found.before;
  root.dataset.state = "ready";
  showFound(query);
}

function showFailure(error, isMore) {
  root.dataset.state = "problem";
  part("found").textContent = `Your votes cannot be fetched: ${sentence(error.message)}`;
  part("more").replaceChildren(h("button", { type: "button", class: "rs-button", onclick: () => look(isMore) }, "Try again"));
}

function showFound(query) {
  const isFiltered = Boolean(query || filter);
  const shown = `${plural(numShown, "vote", "votes")}${isFiltered ? " found" : ""}`;
  const all = cursor ? `${shown} so far${isFiltered ? ` among the newest ${numSearched.toLocaleString("en")}` : ", newest first"}` : `${shown}${isFiltered ? ` in all your ${numSearched.toLocaleString("en")} that were looked through` : ", newest first"}`;
  const nothing = isFiltered ? "No vote of yours matches." : "You have not judged a pair in this project yet.";
  part("found").textContent = numShown || cursor ? `${all}.` : nothing;
  part("more").replaceChildren(...(cursor
    ? [h("button", { type: "button", class: "rs-button", onclick: () => look(true) }, numShown ? "Show more" : "Search on")] : []));
}

function open() {
  const next = parsed(props.value);
  if (JSON.stringify(next) === JSON.stringify(config)) return;
  config = next;
  sender?.stop();
  sender = null;
  offered = null;
  isStale = true;
  part("votes").replaceChildren();
  part("found").textContent = config ? "" : "Choose a project to see your votes in it.";
  part("more").replaceChildren();
  if (!config) return;
  sender = new Sender({
    base: config.base, scope: config.scope, outbox: new Outbox("revision", config.scope), onChange: showSending, onStored: afterRevision,
  });
  sender.pump(); // what an earlier visit could not send
  lookIfSeen();
}

// Fetched when somebody comes to the tab, since votes are given on another.
function lookIfSeen() {
  if (!config || !isStale || element.offsetParent === null) return;
  look(false, true);
}

// An open pair or a revision on its way stays where it is.
function isAtWork() {
  return Boolean(root.querySelector(".rs-pair")) || revised.size > 0;
}

drawFilters();
part("query").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(() => look(), SEARCH_PAUSE_MS);
});
new IntersectionObserver((entries) => {
  if (entries.some((entry) => entry.isIntersecting)) lookIfSeen();
  else if (!isAtWork()) isStale = true;
}).observe(root);
document.addEventListener("reward-studio:saved", () => {
  isStale = true;
  if (element.isConnected && !isAtWork()) lookIfSeen();
});
window.addEventListener("online", () => sender?.pump());
watch("value", open);
open();
