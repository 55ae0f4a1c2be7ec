// The vote card: one pair, its verdict bar, the keys. Queue and sending are in vote_queue.js.

const VERDICTS = props.verdicts; // [{key, choice, strength, group, label, name}]
const ACTIONS = props.actions; // [{key, action, label, name}]
const card = element.querySelector(".rs-card");
const part = (name) => card.querySelector(`[data-part="${name}"]`);
let queue = null;
let config = null;
let shownShowing = null;
let seenSince = null; // when the pair came on screen, or null while the page is hidden
let seenMs = 0;

function keyCap(key) {
  return h("kbd", { "aria-hidden": "true" }, key);
}

function buildVerdictBar() {
  for (const group of ["left", "middle", "right"]) {
    part(`verdicts-${group}`).append(...VERDICTS.filter((v) => v.group === group).map((v) => h("button", {
      type: "button", class: "rs-verdict", "data-choice": v.choice, "data-strength": v.strength,
      "aria-label": v.name, "aria-keyshortcuts": v.key, onclick: () => give(v),
    }, h("span", {}, v.label), keyCap(v.key))));
  }
  part("actions").append(...ACTIONS.map((a) => h("button", {
    type: "button", class: "rs-action", "data-action": a.action, "aria-label": a.name,
    "aria-keyshortcuts": a.key, onclick: () => act(a.action),
  }, h("span", {}, a.label), keyCap(a.key))));
}

function buildKeyMap() {
  const rows = [
    ...VERDICTS.map((v) => [v.key, v.name]),
    ["← →", "Left or right is clearly better"],
    ...ACTIONS.map((a) => [a.key, a.name]),
  ];
  part("key-list").append(...rows.map(([key, name]) =>
    h("tr", {}, h("td", {}, h("kbd", {}, key)), h("td", {}, name))));
  part("keys-close").addEventListener("click", () => part("keys").close());
}

// ---- what is on screen ------------------------------------------------------------------------

function watchSeen() {
  const isVisible = document.visibilityState === "visible";
  if (seenSince !== null) seenMs += performance.now() - seenSince;
  seenSince = isVisible ? performance.now() : null;
}

function showPair(showing) {
  if (shownShowing === showing) return;
  shownShowing = showing;
  renderConversation(part("prompt"), showing.messages);
  part("left-text").replaceChildren(plainText(showing.left.text));
  part("right-text").replaceChildren(plainText(showing.right.text));
  card.dataset.showing = showing.showing_id;
  card.dataset.pair = showing.pair_id;
  seenMs = 0;
  seenSince = document.visibilityState === "visible" ? performance.now() : null;
  if (card.getBoundingClientRect().top < 0) card.scrollIntoView({ block: "start" });
}

function blank(title, text, ...buttons) {
  shownShowing = null;
  delete card.dataset.showing;
  part("blank").replaceChildren(h("h2", {}, title), h("p", {}, text),
    h("div", { class: "rs-blank-actions" }, buttons));
}

function link(label, onclick, kind = "") {
  return h("button", { type: "button", class: `rs-button ${kind}`, onclick }, label);
}

function showEmpty() {
  const progress = queue.progress || {};
  const again = link("Look again", () => queue.fill());
  if (!progress.total) {
    blank("This project has no pairs yet", "Import a file of prompts and answers, and they appear here.",
      link("Go to Projects", () => trigger("open_projects"), "primary"), again);
    return;
  }
  const skipped = progress.skipped ? ` ${plural(progress.skipped, "pair was", "pairs were")} skipped.` : "";
  blank("No pair is left for you",
    (progress.judged_by_you ? `You judged ${plural(progress.judged_by_you, "pair", "pairs")}; ` : "")
    + `${progress.judged} of the project's ${plural(progress.total, "pair", "pairs")} are judged.${skipped} `
    + "Next: train a reward model on them.",
    link("Go to Train", () => trigger("open_train"), "primary"), again);
}

function showState() {
  const showing = queue.pairs[0];
  let state = "pair";
  if (showing) showPair(showing);
  else if (queue.problem) {
    state = "problem";
    blank("Pairs cannot be fetched right now", `${sentence(queue.problem)} ${queue.isGivenUp ? "" : "Trying again by itself; "}nothing you judged is lost.`,
      link("Try now", () => queue.retryNow(), "primary"));
  } else if (queue.isExhausted) {
    state = "empty";
    showEmpty();
  } else {
    state = "loading";
    blank("Fetching pairs …", "");
  }
  card.dataset.state = state;
  for (const button of card.querySelectorAll(".rs-verdict, [data-action=skip], [data-action=flag]")) {
    button.disabled = state !== "pair";
  }
  part("bar").hidden = state === "loading";
}

function showProgress() {
  const { progress } = queue;
  if (!progress) return;
  const open = progress.open_for_you ?? 0;
  const done = progress.judged_by_you ?? 0;
  const share = done + open ? (100 * done) / (done + open) : 0;
  part("count").textContent = `${done.toLocaleString("en")} judged · ${open.toLocaleString("en")} left`;
  const bar = part("progress");
  bar.setAttribute("aria-valuenow", String(Math.round(share)));
  bar.setAttribute("aria-valuetext", part("count").textContent);
  bar.firstElementChild.style.inlineSize = `${share}%`;
}

function savedSentence() {
  const { lastSaved } = queue;
  if (!lastSaved) return "Every verdict is saved as you give it";
  const verdict = VERDICTS.find((v) => v.choice === lastSaved.choice && v.strength === lastSaved.strength);
  const name = verdict ? verdict.name : { skip: "Skipped", flag: "Flagged" }[lastSaved.choice];
  const surplus = lastSaved.status === "surplus" ? " (the pair had its votes already: kept as surplus)" : "";
  return `Saved: ${name}${surplus}`;
}

function setSaveState(state, text, ...buttons) {
  const box = part("save");
  box.dataset.save = state;
  const line = part("save-text");
  if (line.textContent !== text) {
    const [head, ...rest] = text.split(": ");
    const detail = state === "saved" ? h("span", { class: "rs-wide" }, `: ${rest.join(": ")}`) : null;
    line.replaceChildren(...(detail ? [head, detail] : [text]));
  }
  part("save-actions").replaceChildren(...buttons);
}

function showSaving() {
  const waiting = queue.outbox.waiting();
  const refused = queue.outbox.refused();
  if (waiting.some((entry) => entry.attempts > 0) && queue.pause) {
    const kept = queue.outbox.isDurable ? "" : " Keep this page open: this browser cannot store them.";
    setSaveState("waiting",
      `${plural(waiting.length, "vote", "votes")} waiting to be saved: ${queue.waitingFor}. Trying again.${kept}`,
      link("Try now", () => queue.retryNow(), "small"));
  } else if (waiting.length) {
    setSaveState("saving", "Saving …");
  } else if (refused.length) {
    setSaveState("refused",
      `${plural(refused.length, "vote was", "votes were")} refused and not saved: ${sentence(refused[0].refused)}`,
      link("Dismiss", () => queue.forgetRefused(), "small"));
  } else if (queue.note) {
    setSaveState("note", queue.note);
  } else {
    setSaveState(queue.lastSaved ? "saved" : "idle", savedSentence());
  }
}

function refresh(what) {
  if (what === "saved") queue.note = "";
  if (what === "pairs" || what === "saved") showState();
  showProgress();
  showSaving();
}

// ---- what people do -----------------------------------------------------------------------------

function give({ choice, strength }) {
  if (card.dataset.state !== "pair") return;
  watchSeen();
  queue.note = "";
  queue.vote(choice, strength, seenMs);
}

function act(action) {
  if (action === "keys") part("keys").showModal();
  else if (action === "undo") queue.undo();
  else give({ choice: action, strength: null });
}

// The key as printed where it is a letter or digit, else as placed: so that digits work on a
// French keyboard and letters on a Cyrillic one.
function pressedKey(event) {
  const placed = /^(?:Digit|Numpad)([0-9])$/.exec(event.code)?.[1];
  if (placed && !event.shiftKey) return placed;
  if (event.key === "?" || event.key.startsWith("Arrow")) return event.key;
  if (event.shiftKey) return "";
  if (/^[a-z]$/i.test(event.key)) return event.key.toLowerCase();
  if (event.key.length === 1 && event.key > "\u007f") return event.code.replace(/^Key/, "").toLowerCase();
  return event.key;
}

// Boxes take every key; the tabs take the arrows only, since focus stays there after a click.
function isTaken(target, key) {
  if (!(target instanceof Element)) return false;
  if (key.startsWith("Arrow") && target.closest("[role=tablist]")) return true;
  return target.isContentEditable || Boolean(target.closest(
    "input, textarea, select, [role=listbox], [role=combobox], [role=slider], [role=menu]"));
}

function onKey(event) {
  if (!element.isConnected) {
    document.removeEventListener("keydown", onKey);
    return;
  }
  if (!queue || element.offsetParent === null || event.defaultPrevented) return;
  if (event.repeat || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  const key = pressedKey(event);
  if (isTaken(event.target, key) || document.querySelector("dialog[open]")) return;
  const arrow = { ArrowLeft: "2", ArrowRight: "6" }[key];
  const verdict = VERDICTS.find((v) => v.key === (arrow || key));
  const action = ACTIONS.find((a) => a.key === key);
  if (!verdict && !action) return;
  event.preventDefault();
  if (verdict) give(verdict);
  else if (action) act(action.action);
}

function open() {
  const next = parsed(props.value);
  if (JSON.stringify(next) === JSON.stringify(config)) return;
  config = next;
  queue?.stop();
  queue = null;
  shownShowing = null;
  if (!config) {
    card.dataset.state = "empty";
    part("bar").hidden = true;
    blank("No project is chosen", "Choose a project above, or create one.",
      link("Go to Projects", () => trigger("open_projects"), "primary"));
    return;
  }
  // Whoever has just chosen the project wants to judge: keys would be dead inside the picker.
  const focused = document.activeElement;
  if (focused?.closest("#project-picker")) focused.blur();
  queue = new VoteQueue({ base: config.base, scope: config.scope, onChange: refresh });
  refresh("pairs");
  queue.start();
}

buildVerdictBar();
buildKeyMap();
document.addEventListener("keydown", onKey);
document.addEventListener("visibilitychange", () => {
  watchSeen();
  if (queue && element.isConnected && document.visibilityState === "visible") queue.retryNow();
});
window.addEventListener("online", () => queue?.retryNow());
watch("value", open);
open();
