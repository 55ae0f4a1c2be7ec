// The playground: what is asked and answered, scored by the server as it is typed.

const SETTLE_MS = 60; // after the last key; several keys are one request
const ROLES = ["user", "assistant", "system", "developer", "tool"];
const ROLE_WORDS = { user: "User", assistant: "Assistant", system: "System", developer: "Developer", tool: "Tool" };
const MAX_ANSWERS = 8;
const play = {
  project: null, options: null, pairId: null, hasScored: false, timer: 0, sequence: 0,
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

function say(text, kind = "info", ...more) {
  const status = part("status");
  status.dataset.kind = kind;
  status.replaceChildren(text, ...more);
}

function fail(error) {
  say(sentence(error.message), "error");
}

function openTab(label) {
  for (const tab of document.querySelectorAll('#rs-tabs button[role="tab"]')) {
    if (tab.textContent.trim() === label) tab.click();
  }
}

// ---- prompt and answers ------------------------------------------------------------------------

function area(label, text, onEdit) {
  const box = h("textarea", { class: "rs-area", "aria-label": label, dir: "auto", spellcheck: "false", rows: 1 });
  box.value = text;
  box.addEventListener("input", onEdit);
  return box;
}

function turnElement({ role, content }) {
  const choice = h("select", { class: "rs-input", "aria-label": "Role" },
    ROLES.map((name) => h("option", { value: name, selected: name === role }, ROLE_WORDS[name])));
  choice.addEventListener("change", edited);
  const remove = h("button", { type: "button", class: "rs-x", "aria-label": "Remove this turn", title: "Remove this turn" }, "✕");
  const row = h("div", { class: "rs-turn-edit" }, choice, area("Turn", content, edited), remove);
  remove.addEventListener("click", () => {
    row.remove();
    nameTurns();
    edited();
  });
  return row;
}

// The last turn is the prompt that is answered: screen readers and tests find it by that name.
function nameTurns() {
  const rows = [...part("turns").children];
  rows.forEach((row, i) => {
    row.querySelector("textarea").setAttribute("aria-label", i === rows.length - 1 ? "Prompt" : `Turn ${i + 1}`);
    row.querySelector(".rs-x").disabled = rows.length === 1;
  });
  part("add-system").hidden = rows[0]?.querySelector("select").value === "system";
}

function setTurns(messages) {
  part("turns").replaceChildren(...messages.map(turnElement));
  nameTurns();
}

function turns() {
  return [...part("turns").children].map((row) => ({
    role: row.querySelector("select").value, content: row.querySelector("textarea").value,
  }));
}

function answerElement(text) {
  const remove = h("button", { type: "button", class: "rs-x", title: "Remove this answer" }, "✕");
  const live = h("span", { class: "rs-live" });
  const title = h("h3", {});
  const box = h("section", { class: "rs-answer" }, h("header", {}, title, live, h("span", { class: "rs-push" }), remove), area("", text, edited));
  remove.addEventListener("click", () => {
    box.remove();
    nameAnswers();
    edited();
  });
  return box;
}

function nameAnswers() {
  const boxes = [...part("answers").children];
  boxes.forEach((box, i) => {
    const name = `Answer ${NAMES[i]}`;
    box.querySelector("h3").textContent = name;
    box.querySelector("textarea").setAttribute("aria-label", name);
    const remove = box.querySelector(".rs-x");
    remove.setAttribute("aria-label", `Remove answer ${NAMES[i]}`);
    remove.disabled = boxes.length <= 2;
  });
  part("add-answer").disabled = boxes.length >= MAX_ANSWERS;
}

function addAnswer(text = "") {
  const box = answerElement(text);
  part("answers").append(box);
  nameAnswers();
  return box.querySelector("textarea");
}

function setAnswers(texts) {
  part("answers").replaceChildren();
  for (const text of texts) addAnswer(text);
}

const answers = () => [...part("answers").querySelectorAll("textarea")].map((box) => box.value);

// ---- scoring -----------------------------------------------------------------------------------

// What people said of a pair is not said of an edited one; the numbers follow the edit.
function edited() {
  play.pairId = null;
  if (part("status").dataset.kind === "info") say("");
  nameTurns();
  if (!play.hasScored) return;
  for (const number of element.querySelectorAll(".rs-live")) number.classList.add("stale");
  if (part("live").checked) scoreSoon();
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
  if (isAsked) say("scoring …");
  try {
    const data = await call("score", {
      messages: turns(), answers: answers(), checkpoint_id: numberOf("checkpoint"), against_id: numberOf("against"),
      client: play.client, sequence: mine,
    });
    if (data.stale || mine !== play.sequence || project !== play.project) return;
    showScores(data, isAsked);
  } catch (error) {
    if (mine === play.sequence) fail(error);
  }
}

function numberOf(name) {
  const { value } = part(name);
  return value ? Number(value) : null;
}

function showScores(data, isAsked) {
  play.hasScored = true;
  if (isAsked || part("status").dataset.kind === "error") say("");
  [...element.querySelectorAll(".rs-live")].forEach((number, a) => {
    number.textContent = data.answers[a] ? signed(data.answers[a].reward) : "";
    number.classList.remove("stale");
  });
  part("open-sending").hidden = !play.options?.is_lead;
  showComparison(data);
  if (isAsked) requestAnimationFrame(bringIntoView);
}

// A long prompt and answers above must not hide the result that was asked for.
function bringIntoView() {
  const { top } = part("root").getBoundingClientRect();
  if (top > 0 && top < window.innerHeight * 0.45) return;
  const isCalm = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
  part("root").scrollIntoView({ block: "start", behavior: isCalm ? "auto" : "smooth" });
}

function forgetScores() {
  play.hasScored = false;
  play.sequence += 1; // what is on its way is of another prompt
  for (const number of element.querySelectorAll(".rs-live")) number.textContent = "";
  showComparison(null);
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

async function openPair(kind) {
  if (!await hasProject()) return;
  const wanted = kind === "number" ? part("pair-number").value.trim() : kind;
  try {
    const pair = await call(`pair?wanted=${encodeURIComponent(wanted)}`);
    setTurns(pair.messages);
    setAnswers([pair.response_a, pair.response_b]);
    part("pair-number").value = String(pair.pair_id);
    forgetScores();
    play.pairId = pair.pair_id;
    say(verdictLine(pair));
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
    for (const name of ["checkpoint", "against"]) part(name).replaceChildren();
    forgetScores();
    say("");
    part("sending").hidden = true;
  }
  loadOptions();
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
