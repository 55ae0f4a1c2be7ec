// The playground: what is asked and answered, scored by the server as it is typed.

const SETTLE_MS = 30; // after the last key; a request that a newer key overtakes is dropped by the server
const ASK_LOADING_MS = 700; // a score that takes longer may be waiting for the backbone
const play = {
  project: null, options: null, pair: null, hasScored: false, timer: 0, sequence: 0, saidBy: "", known: null,
  client: Array.from(crypto.getRandomValues(new Uint32Array(4)), (n) => n.toString(36)).join(""),
};

// A click may come before the page has said which project is chosen.
const NO_PROJECT_MS = 4000;
let nameProject = null;
const projectNamed = new Promise((done) => { nameProject = done; });

async function hasProject() {
  if (play.project === null) {
    await Promise.race([projectNamed, new Promise((done) => { setTimeout(done, NO_PROJECT_MS); })]);
  }
  if (play.project === null) say("No project is chosen; choose one above.", "error");
  return play.project !== null;
}

const route = (name) => `/api/projects/${play.project}/playground/${name}`;

async function call(name, body) {
  const asked = body === undefined ? {} : {
    method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body),
  };
  let answer;
  try {
    answer = await fetch(route(name), asked);
  } catch (error) {
    throw new Error("The server cannot be reached; check that it runs and try again.", { cause: error });
  }
  const data = await answer.json().catch(() => ({ error: `The server answered ${answer.status}.` }));
  if (!answer.ok) throw new Error(data.error || `The server answered ${answer.status}.`);
  return data;
}

// `by` is who may take it back: what a score says goes with the next one, and nothing else does.
function say(text, kind = "info", { by = "", more = [] } = {}) {
  const status = part("status");
  status.dataset.kind = kind;
  status.replaceChildren(text, ...more);
  play.saidBy = by;
}

function unsay(by) {
  if (play.saidBy === by) say("");
}

function fail(error, by = "") {
  say(sentence(error.message), "error", { by });
}

function openTab(label) {
  for (const tab of document.querySelectorAll('#rs-tabs button[role="tab"]')) {
    if (tab.textContent.trim() === label) tab.click();
  }
}

// ---- scoring -----------------------------------------------------------------------------------

// The numbers follow the edit, or are marked as those of the texts before it.
function edited() {
  nameTurns();
  tellVerdict();
  tellEmpty();
  if (part("status").dataset.kind === "info" && play.saidBy !== "writing") say("");
  if (!play.hasScored) return;
  for (const number of element.querySelectorAll(".rs-live")) number.classList.add("stale");
  if (part("live").checked) scoreSoon();
  else markStale();
}

function markStale() {
  const again = h("button", { type: "button", class: "rs-goto", onclick: () => score(true) }, "Score again");
  tellStale("Figures and colours below are of the texts before your edits. ", again);
}

function scoreSoon() {
  clearTimeout(play.timer);
  play.timer = setTimeout(() => score(false), SETTLE_MS);
}

async function score(isAsked) {
  clearTimeout(play.timer);
  play.sequence += 1;
  const mine = play.sequence;
  const project = play.project;
  if (isAsked) say("scoring …", "info", { by: "score" });
  play.isWaiting = true;
  const asking = setInterval(() => tellLoading(mine), ASK_LOADING_MS);
  try {
    const data = await call("score", {
      messages: turns(), answers: answers(), checkpoint_id: numberOf("checkpoint"), against_id: numberOf("against"),
      client: play.client, sequence: mine,
    });
    if (data.stale || mine !== play.sequence || project !== play.project) return;
    showScores(data, isAsked);
  } catch (error) {
    if (mine !== play.sequence) return;
    fail(error, "score");
    if (play.hasScored) markStale();
  } finally {
    clearInterval(asking);
    if (mine === play.sequence) play.isWaiting = false;
  }
}

// The first score after a start or a training may wait for the backbone: seconds, on a busy machine more.
async function tellLoading(mine) {
  const { loading } = await call("loading").catch(() => ({ loading: false }));
  if (mine !== play.sequence || !play.isWaiting) return;
  if (loading) say("loading the backbone …", "info", { by: "score" });
  else if (play.saidBy === "score") say("scoring …", "info", { by: "score" });
}

function numberOf(name) {
  const { value } = part(name);
  return value ? Number(value) : null;
}

function showScores(data, isAsked) {
  play.hasScored = true;
  play.isWaiting = false;
  unsay("score");
  [...element.querySelectorAll(".rs-live")].forEach((number, a) => {
    number.textContent = data.answers[a] ? liveFigure(data, a) : "";
    number.classList.remove("stale");
  });
  part("open-sending").hidden = !play.options?.is_lead;
  showComparison(data);
  tellEmpty();
  if (isAsked) requestAnimationFrame(bringIntoView);
}

function liveFigure(data, a) {
  const by = (made) => `${signed(made.answers[a].reward)} by ${made.checkpoint.id}`;
  return data.against ? `${by(data)} · ${by(data.against)}` : signed(data.answers[a].reward);
}

// A long prompt and answers above must not hide the result that was asked for, nor what people said.
function bringIntoView() {
  const result = part("verdict").hidden ? part("root") : part("verdict");
  const { top } = result.getBoundingClientRect();
  if (top > 0 && top < window.innerHeight * 0.45) return;
  const isCalm = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
  result.scrollIntoView({ block: "start", behavior: isCalm ? "auto" : "smooth" });
}

function forgetScores() {
  play.hasScored = false;
  play.sequence += 1; // what is on its way is of another prompt
  unsay("score");
  for (const number of element.querySelectorAll(".rs-live")) number.textContent = "";
  showComparison(null);
  tellEmpty();
}

// A page with nothing in it says what can be done here.
function tellEmpty() {
  const isBlank = [...turns().map(({ content }) => content), ...answers()].every((text) => text === "");
  part("empty").hidden = play.hasScored || !isBlank || !play.options?.checkpoints.length;
  part("empty-pair").hidden = !play.options?.has_pairs;
}

// ---- pairs and checkpoints ---------------------------------------------------------------------

function verdictLine({ pair_id: id, verdict }) {
  if (!verdict) return `Pair ${id} still waits for your own verdict, so what others said is not told.`;
  const { target, num_votes: count, of } = verdict;
  if (of === "you") {
    if (target === null) return `Pair ${id}: you found both answers bad.`;
    return `Pair ${id}: you judged ${target === 0.5 ? "a tie" : `answer ${target > 0.5 ? "A" : "B"} better`}.`;
  }
  if (target === null || target === undefined) return `Pair ${id} is not judged yet.`;
  const votes = plural(count, "vote", "votes");
  if (target === 0.5) return `Pair ${id}: judged a tie (${votes}).`;
  const share = target > 0.5 ? target : 1 - target;
  const agreed = share === 1 ? "" : `, ${(100 * share).toFixed(0)} % of them for it`;
  return `Pair ${id}: answer ${target > 0.5 ? "A" : "B"} was judged better (${votes}${agreed}).`;
}

// What people said of a pair holds while prompt and both answers are as it has them.
const pairTexts = () => JSON.stringify([turns(), answers().slice(0, 2)]);

function tellVerdict() {
  const isAsOpened = play.pair !== null && play.pair.texts === pairTexts();
  part("verdict").hidden = !isAsOpened;
  part("verdict").textContent = isAsOpened ? play.pair.line : "";
}

async function openPair(kind) {
  if (!await hasProject()) return;
  const wanted = kind === "number" ? part("pair-number").value.trim() : kind;
  try {
    const pair = await call(`pair?wanted=${encodeURIComponent(wanted)}`);
    setTurns(pair.messages);
    setAnswers([pair.response_a, pair.response_b]);
    part("pair-number").value = String(pair.pair_id);
    play.pair = { line: verdictLine(pair), texts: pairTexts() };
    say("");
    forgetScores();
    tellVerdict();
    await play.known; // a pair may be opened before it is known whether there is a checkpoint
    if (part("live").checked && play.options?.checkpoints.length) score(false);
  } catch (error) {
    fail(error);
  }
}

function checkpointLabel({ id, accuracy, promoted }, newest) {
  const figures = typeof accuracy === "number" ? ` · ${(100 * accuracy).toFixed(1)} %` : "";
  return `${id}${figures}${id === newest ? " · in use" : promoted ? "" : " · not promoted"}`;
}

function fillCheckpoints({ checkpoints, newest }) {
  const kept = [part("checkpoint").value, part("against").value];
  const listed = () => checkpoints.map((each) => h("option", { value: each.id }, checkpointLabel(each, newest)));
  part("checkpoint").replaceChildren(h("option", { value: "" }, newest ? `in use (${newest})` : "none yet"), ...listed());
  part("against").replaceChildren(h("option", { value: "" }, "nothing"), ...listed());
  [part("checkpoint"), part("against")].forEach((select, i) => {
    if ([...select.options].some((option) => option.value === kept[i])) select.value = kept[i];
  });
  part("unready").hidden = newest !== null || checkpoints.length > 0;
}

async function loadOptions() {
  if (play.project === null) return;
  const project = play.project;
  try {
    const options = await call("options");
    if (project !== play.project) return;
    play.options = options;
    fillCheckpoints(options);
    fillWriting(options);
    tellEmpty();
    part("open-sending").hidden = !play.hasScored || !options.is_lead;
    element.querySelector('[data-pair="disputed"]').hidden = !options.is_lead;
  } catch (error) {
    fail(error);
  }
}

function takeValue() {
  const value = parsed(props.value);
  const project = value?.project_id ?? null;
  if (project !== play.project) {
    play.project = project;
    if (project !== null) nameProject();
    play.options = null;
    play.pair = null;
    tellVerdict();
    for (const name of ["checkpoint", "against"]) part(name).replaceChildren();
    forgetScores();
    say("");
    part("sending").hidden = true;
  }
  play.known = loadOptions();
}

function setUpPlayground() {
  setTurns([{ role: "user", content: "" }]);
  setAnswers(["", ""]);
  part("score").addEventListener("click", async () => { if (await hasProject()) score(true); });
  for (const button of element.querySelectorAll("[data-pair]")) {
    button.addEventListener("click", () => openPair(button.dataset.pair));
  }
  part("pair-number").addEventListener("keydown", (event) => { if (event.key === "Enter") openPair("number"); });
  part("add-turn").addEventListener("click", () => {
    const last = turns().at(-1);
    part("turns").append(turnElement({ role: last?.role === "user" ? "assistant" : "user", content: "" }));
    nameTurns();
    part("turns").lastElementChild.querySelector("textarea").focus();
  });
  part("add-system").addEventListener("click", () => {
    part("turns").prepend(turnElement({ role: "system", content: "" }));
    nameTurns();
    part("turns").firstElementChild.querySelector("textarea").focus();
  });
  part("empty-pair").addEventListener("click", () => openPair("random"));
  part("live").addEventListener("change", () => { if (part("live").checked && !part("stale").hidden) score(false); });
  part("add-answer").addEventListener("click", () => addAnswer().focus());
  part("to-train").addEventListener("click", () => openTab("Train"));
  for (const name of ["checkpoint", "against"]) {
    part(name).addEventListener("change", () => { if (play.hasScored) score(false); });
  }
  element.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) part("score").click();
  });
  view.extra = () => ({ prompt: turns() });
}
