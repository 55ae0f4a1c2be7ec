// The Checkpoints tab: asks the routes every few seconds while somebody looks, and draws what changed.

const panel = element.querySelector('[data-part="checkpoints"]');
const LOOK_EVERY_MS = 3000;
const state = { project: null, list: null, tag: "", limit: 50, selected: null, detail: null, more: 200, note: "", noteKind: "", asking: 0 };

async function send(url, options = {}) {
  try {
    return await fetch(url, { cache: "no-store", ...options });
  } catch {
    throw new Error("the server cannot be reached");
  }
}

async function ask(url, options) {
  return said(await send(url, options));
}

async function said(response) {
  const answer = (response.headers.get("content-type") || "").includes("json") ? await response.json() : null;
  if (!response.ok || !answer) throw new Error(answer?.error || `the server answered ${response.status}`);
  return answer;
}

function base() {
  return `/api/projects/${state.project}`;
}

async function post(path, done) {
  try {
    await ask(`${base()}/${path}`, { method: "POST", headers: { "content-type": "application/json" }, body: "{}" });
    say(done, "good");
  } catch (error) {
    say(sentence(error.message), "bad");
  }
  await look(true);
}

function say(text, kind) {
  state.note = text;
  state.noteKind = kind;
  draw();
}

function isSeen() {
  return state.project !== null && panel.isConnected && !document.hidden && panel.offsetParent !== null;
}

// The list, or null where it is the one that is shown: then the server says no more than that.
async function askList(force) {
  const headers = force || !state.list ? {} : { "if-none-match": state.tag };
  const response = await send(`${base()}/checkpoints?limit=${state.limit}`, { headers });
  return response.status === 304 ? null : { list: await said(response), tag: response.headers.get("etag") };
}

// Draws only what differs from the last look, so that reading is never disturbed.
async function look(force = false) {
  const turn = ++state.asking;
  try {
    const news = await askList(force);
    const list = news ? news.list : state.list;
    if (turn !== state.asking || (!news && state.detail?.id === state.selected)) return;
    const ids = list.checkpoints.map((row) => row.id);
    const selected = ids.includes(state.selected) ? state.selected : ids[0] ?? null;
    const detail = selected === null ? null : await ask(`${base()}/checkpoints/${selected}`);
    if (turn !== state.asking) return;
    Object.assign(state, { list, selected, detail, tag: news ? news.tag : state.tag });
    draw();
  } catch (error) {
    if (turn === state.asking && !state.list) panel.replaceChildren(h("div", { class: "rs-box" }, h("p", {}, sentence(error.message))));
  }
}

function showMore() {
  state.limit = state.list.total;
  look(true);
}

function open(id) {
  if (id === state.selected) return;
  state.selected = id;
  state.note = "";
  look(true);
}

function isWorking(kind, key, id) {
  return state.list.working.some((run) => run.kind === kind && run.config[key] === id);
}

function drawHead(c) {
  const isReproducing = isWorking("reproduce", "run", c.run_id);
  const older = c.id < (state.list.in_use ?? 0);
  const buttons = [
    c.in_use ? null : h("button", { type: "button", class: "rs-button main", onclick: () => post(`checkpoints/${c.id}/promote`, `Checkpoint ${c.id} is in use now.`) },
      older ? "Roll back to this one" : "Promote"),
    c.status === "retired" ? null : h("button", { type: "button", class: "rs-button", onclick: () => post(`checkpoints/${c.id}/retire`, `Checkpoint ${c.id} is retired.`) }, "Retire"),
    h("button", { type: "button", class: "rs-button", disabled: isReproducing, onclick: () => post(`checkpoints/${c.id}/reproduce`, "") },
      isReproducing ? "Reproducing …" : "Reproduce"),
  ];
  return h("section", { class: "rs-box", "aria-label": `Checkpoint ${c.id}` },
    h("div", { class: "rs-headline" }, h("h2", {}, `Checkpoint ${c.id}`),
      h("span", { class: "rs-state", "data-state": c.in_use ? "in use" : c.status }, c.in_use ? "in use: the playground and scoring read this one" : STATUS_WORDS[c.status] || c.status)),
    c.because ? h("p", {}, c.because) : null,
    c.reproduced ? h("p", { class: c.reproduced.same ? "rs-good" : "rs-bad" }, `Reproduced ${when(c.reproduced.at)}: ${c.reproduced.because}`) : null,
    isReproducing ? null : endedBadly("Reproducing it", c.reproduction),
    h("div", { class: "rs-actions" }, buttons.filter(Boolean)),
    h("p", { role: "status", class: state.noteKind === "bad" ? "rs-bad" : "rs-good" }, state.note));
}

// The newest look into a checkpoint, where it came to nothing; what it found stands elsewhere.
function endedBadly(what, run) {
  if (!run || run.status === "succeeded") return null;
  if (run.status === "cancelled") return h("p", {}, `${what} was cancelled ${when(run.finished_at)} (run ${run.id}).`);
  return h("div", { class: "rs-failed" },
    h("p", { class: "rs-bad" }, `${what} failed ${when(run.finished_at)} (run ${run.id}): ${run.error ? sentence(run.error) : "it stopped without saying why."}`),
    runLog(state.project, run.id));
}

function drawFigures(c) {
  return card("How good is it?", h("p", {}, onWhat(c.figures)),
    c.left_out_told ? h("p", { class: "rs-missing" }, c.left_out_told) : null, accuracyTable(c.figures), lengthLean(c.figures), headAlone(c.figures), h("p", { class: "rs-answer" }, beside(c.figures)),
    h("dl", { class: "rs-facts" },
      fact("Log loss", c.figures.log_loss?.toFixed(3) ?? "–", c.figures.log_loss_ci ? `95 %: ${c.figures.log_loss_ci.map((v) => v.toFixed(3)).join(" to ")}; chance 0.693` : "chance 0.693"),
      fact("Brier score", c.figures.brier?.toFixed(3) ?? "–", "chance 0.250"),
      fact("Head", c.layer ? `layer ${c.layer} of ${c.backbone?.num_layers ?? "?"}, readout ${c.readout}` : "–", c.penalty ? `penalty ${c.penalty.toPrecision(2)}` : "")));
}

function drawDetail(c) {
  const working = isWorking("curve", "checkpoint", c.id);
  const workOut = () => post(`checkpoints/${c.id}/learning-curve`, "");
  return [
    drawHead(c),
    h("div", { class: "rs-cards" }, [
      drawFigures(c), calibration(c.figures), comparedCard(c),
      curveCard(c, working, state, workOut, draw, working ? null : endedBadly("Working it out", c.curve_run)),
      slicesCard(c.figures), lineageCard(c, pairLookUp(ask, base())), candidatesCard(c), modelCard(c),
    ].filter(Boolean)),
  ];
}

function draw() {
  if (state.project === null || !state.list) {
    panel.replaceChildren();
    return;
  }
  if (!state.list.checkpoints.length) {
    panel.replaceChildren(h("div", { class: "rs-box" }, h("h2", {}, "No checkpoint yet"),
      h("p", {}, "Every training that succeeds leaves one here, with its figures beside what the simplest rules reach."),
      h("div", { class: "rs-actions" }, h("button", { type: "button", class: "rs-button main", onclick: () => trigger("open_train") }, "Go to Train"))));
    return;
  }
  keepingPlace(() => panel.replaceChildren(...[drawTable(state.list, state.selected, open), drawRest(state.list, showMore)].filter(Boolean), ...(state.detail ? drawDetail(state.detail) : [])));
}

// What is opened, how far the list is scrolled and where the keyboard stands, the same after `redraw`.
function keepingPlace(redraw) {
  const title = (node) => node.querySelector("summary")?.textContent;
  const opened = new Set([...panel.querySelectorAll("details[open]")].map(title));
  const { scrollLeft = 0, scrollTop = 0 } = panel.querySelector(".rs-scroll") || {};
  const focused = panel.contains(document.activeElement) ? document.activeElement.closest("tr[data-id]")?.dataset.id : null;
  redraw();
  panel.querySelectorAll("details").forEach((node) => { node.open = opened.has(title(node)); });
  Object.assign(panel.querySelector(".rs-scroll"), { scrollLeft, scrollTop });
  if (focused) panel.querySelector(`tr[data-id="${focused}"] .rs-pick`)?.focus({ preventScroll: true });
}

function start() {
  const project = parsed(props.value)?.project_id ?? null;
  if (project !== state.project) Object.assign(state, { project, list: null, tag: "", limit: 50, selected: null, detail: null, note: "" });
  draw();
  if (project !== null) look();
}

const timer = setInterval(() => {
  if (!panel.isConnected) clearInterval(timer);
  else if (isSeen()) look();
}, LOOK_EVERY_MS);
watch("value", start);
start();
