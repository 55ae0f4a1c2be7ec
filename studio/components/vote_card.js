// The vote card: the keys, the verdict bar and what is said about saving. The pair itself is drawn
// by pair_view.js, the rest that can be said by vote_extras.js; vote_queue.js fetches and sends.

const VERDICTS = props.verdicts; // [{key, choice, strength, group, label, name}]
const ACTIONS = props.actions; // [{key, action, label, name}], below the verdicts
const VIEWS = props.views; // the same, above the pair
const card = element.querySelector(".rs-card");
const part = (name) => card.querySelector(`[data-part="${name}"]`);
const view = new PairView({
  prompt: part("prompt"), left: part("left-text"), right: part("right-text"), note: part("diff-note"),
}, { left: part("left-ahead"), right: part("right-ahead") });
const drawer = new Drawer(part("drawer"));
let queue = null;
let guide = null;
let config = null;
let shownShowing = null;
let editing = null; // the side whose answer is being improved
let seenSince = null; // when the pair came on screen, or null while the page is hidden
let seenMs = 0;
let paintedAt = Infinity; // when the pair was painted
const SETTLE_MS = 250; // nobody has looked at a pair that is there for less

function keyCap(key) {
  return key ? h("kbd", { "aria-hidden": "true" }, key) : null;
}

function isByPointer(event) {
  return event.detail > 0 && event.pointerType !== ""; // not Enter, Space or a screen reader
}

// After a click the focus must not stay: Space would do the same again, to the next pair. And the
// second half of a double click, or a tap at a pair that is only just there, is no verdict on it.
function onClick(event, work, isVerdict) {
  if (isByPointer(event)) {
    event.currentTarget.blur();
    if (isVerdict && (event.detail > 1 || performance.now() - paintedAt < SETTLE_MS)) return;
  }
  work();
}

function actionButton({ key, action, label, name }) {
  return h("button", {
    type: "button", class: "rs-action", "data-action": action, "aria-label": name,
    "aria-keyshortcuts": key || null, onclick: (event) => onClick(event, () => act(action), action === "skip"),
  }, h("span", {}, label), keyCap(key));
}

function buildButtons() {
  for (const group of ["left", "middle", "right"]) {
    part(`verdicts-${group}`).append(...VERDICTS.filter((v) => v.group === group).map((v) => h("button", {
      type: "button", class: "rs-verdict", "data-choice": v.choice, "data-strength": v.strength,
      "aria-label": v.name, "aria-keyshortcuts": v.key, onclick: (event) => onClick(event, () => give(v), true),
    }, h("span", {}, v.label), keyCap(v.key))));
  }
  part("actions").append(...ACTIONS.map(actionButton));
  part("tools").append(...VIEWS.map(actionButton));
  // A key that is held must not judge one pair after the other.
  part("bar").addEventListener("keydown", (event) => {
    if (event.repeat && event.key === "Enter") event.preventDefault();
  });
}

function buildKeyMap() {
  const rows = [
    ...VERDICTS.map((v) => [v.key, v.name]),
    ["← →", "Left or right is clearly better"],
    ...[...ACTIONS, ...VIEWS].filter((a) => a.key).map((a) => [a.key, a.name]),
    ["r", "Reasons: then their digits"],
    ["a", "Ratings: then 1 to 5 for each row"],
    ["Space", "Scroll both answers; Shift+Space scrolls back"],
  ];
  part("key-list").append(...rows.map(([key, name]) =>
    h("div", {}, h("dt", {}, h("kbd", {}, key)), h("dd", {}, name))));
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
  editing = null;
  delete card.dataset.digits; // of the reasons for the pair before
  drawer.close();
  if (window.scrollY > 0 && card.getBoundingClientRect().top < 0) card.scrollIntoView({ block: "start" });
  view.show(showing);
  card.dataset.showing = showing.showing_id;
  card.dataset.pair = showing.pair_id;
  seenMs = 0;
  seenSince = document.visibilityState === "visible" ? performance.now() : null;
  paintedAt = Infinity;
  requestAnimationFrame(() => { paintedAt = performance.now(); });
  drawExtras();
  const asked = showing.messages.findLast((message) => message.role === "user")?.content || "";
  part("announce").textContent = `Next pair: ${asked.slice(0, 150)}`;
}

function blank(title, text, ...buttons) {
  shownShowing = null;
  delete card.dataset.showing;
  drawer.close();
  part("blank").replaceChildren(h("h2", {}, title), h("p", {}, text),
    h("div", { class: "rs-blank-actions" }, buttons));
}

function link(label, onclick, kind = "") {
  return h("button", { type: "button", class: `rs-button ${kind}`, onclick }, label);
}

function showEmpty() {
  const progress = queue.progress || {};
  const again = link("Look again", () => queue.fill());
  const leadOnly = (...buttons) => (config.is_lead ? buttons : []);
  if (!progress.total) {
    blank("This project has no pairs yet",
      config.is_lead ? "Import a file of prompts and answers, and they appear here." : "They appear here once a lead has imported some.",
      ...leadOnly(link("Go to Data", () => trigger("open_data"), "primary")), again);
    return;
  }
  const numSkipped = progress.skipped_by_you ?? progress.skipped;
  const skipped = numSkipped ? ` ${plural(numSkipped, "pair was", "pairs were")} skipped.` : "";
  blank("No pair is left for you",
    (progress.judged_by_you ? `You judged ${plural(progress.judged_by_you, "pair", "pairs")}; ` : "")
    + `${progress.judged} of the project's ${plural(progress.total, "pair", "pairs")} are judged.${skipped}`
    + (config.is_lead ? " Next: train a reward model on them." : " Thank you."),
    ...leadOnly(link("Go to Train", () => trigger("open_train"), "primary")), again);
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
  view.prepare(queue.pairs.slice(1));
  card.dataset.state = state;
  for (const button of card.querySelectorAll(".rs-verdict, .rs-action:not([data-action=undo], [data-action=keys], [data-action=guide])")) {
    button.disabled = state !== "pair";
  }
  part("bar").hidden = state === "loading";
}

function showViews() {
  const isOn = { plain: preferences.isPlain, together: preferences.isTogether, diff: view.isDiffShown };
  for (const [action, on] of Object.entries(isOn)) {
    part("tools").querySelector(`[data-action="${action}"]`).setAttribute("aria-pressed", String(on));
  }
}

function drawExtras() {
  const showing = queue?.pairs[0];
  const { reasons = [], aspects = [] } = queue?.settings || {};
  const draft = showing ? queue.drafts.of(showing) : {};
  part("reasons").hidden = !reasons.length;
  part("reasons").replaceChildren(h("span", { "aria-hidden": "true" }, "Because"),
    ...reasonChips(reasons, draft.reasons || [], toggleReason));
  for (const side of ["left", "right"]) {
    part(`${side}-ratings`).hidden = !aspects.length;
    part(`${side}-ratings`).replaceChildren(...ratingRows(aspects, side, draft.aspects || {}, rate));
  }
  showCommented();
}

function showCommented() {
  const showing = queue?.pairs[0];
  const draft = showing && queue.drafts.of(showing);
  part("actions").querySelector("[data-action=comment]").classList.toggle("given", Boolean(draft?.comment.trim()));
  part("actions").querySelector("[data-action=flag]").classList.toggle("given", Boolean(draft?.flag.trim()));
  part("actions").querySelector("[data-action=edit]").classList.toggle("given", Object.keys(draft?.edits || {}).length > 0);
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

// ---- what is new ---------------------------------------------------------------------------------

function refresh(what) {
  if (what === "saved") {
    queue.note = "";
    if (queue.outbox.refused().length) drawExtras(); // what was said beside a refused vote is back
    document.dispatchEvent(new CustomEvent("reward-studio:saved")); // the History tab shows it
  }
  if (what === "pairs" || what === "saved") showState();
  if (what === "settings") {
    guide.update(queue.settings.guidelines);
    const offered = JSON.stringify([queue.settings.reasons, queue.settings.aspects]);
    if (refresh.offered !== offered) drawExtras();
    refresh.offered = offered;
  }
  showProgress();
  showSaving();
}

// ---- what people do -----------------------------------------------------------------------------

function isBusyEditing() {
  if (!editing) return false;
  queue.note = "Save or cancel your edit first.";
  showSaving();
  card.querySelector(".rs-editor")?.focus();
  return true;
}

function give({ choice, strength, skipReason = null }) {
  if (card.dataset.state !== "pair" || isBusyEditing()) return;
  watchSeen();
  queue.note = "";
  queue.vote(choice, strength, seenMs, skipReason);
}

const DO = {
  keys: () => part("keys").showModal(),
  undo: () => { if (!isBusyEditing()) queue.undo(); },
  guide: () => guide.toggle(),
  diff: () => { if (!isBusyEditing()) view.toggleDifference(); },
  plain: () => {
    if (isBusyEditing()) return;
    prefer("isPlain", !preferences.isPlain);
    view.redraw();
  },
  together: () => prefer("isTogether", !preferences.isTogether),
  skip: () => {
    const reasons = queue.settings?.skip_reasons || [];
    const skip = (skipReason) => give({ choice: "skip", strength: null, skipReason });
    if (drawer.kind === "skip" || !reasons.length) skip(null);
    else openSkipChooser(drawer, reasons, skip);
  },
  flag: () => comment({
    kind: "flag", draft: "flag", label: "What is wrong with this pair?", doneLabel: "Flag it",
    submit: () => give({ choice: "flag", strength: null }),
  }),
  comment: () => comment({ kind: "comment", draft: "comment", label: "Comment, saved with your verdict", doneLabel: "Done" }),
  edit: () => {
    if (!isBusyEditing()) openEditChooser(drawer, startEditing);
  },
};
const NEEDS_A_PAIR = new Set(["diff", "plain", "together", "skip", "flag", "comment", "edit"]);

function act(action) {
  if (!queue || (NEEDS_A_PAIR.has(action) && card.dataset.state !== "pair")) return;
  DO[action]();
  showViews();
}

// Each kind has a draft of its own: what was to be a flag is no comment on the verdict.
function comment({ draft, ...options }) {
  if (isBusyEditing()) return;
  const showing = queue.pairs[0];
  openCommentBox(drawer, {
    ...options,
    text: queue.drafts.of(showing)[draft],
    maxLength: queue.settings?.max_comment || 2000,
    onInput: (text) => {
      queue.drafts.change(showing, { [draft]: text });
      showCommented();
    },
  });
}

function toggleReason(reason, isOn) {
  const showing = queue.pairs[0];
  const others = queue.drafts.of(showing).reasons.filter((each) => each !== reason);
  queue.drafts.change(showing, { reasons: isOn ? [...others, reason] : others });
}

function rate(aspect, side, value) {
  const showing = queue.pairs[0];
  queue.drafts.change(showing, { aspects: rated(queue.drafts.of(showing).aspects, aspect, side, value) });
}

function startEditing(side) {
  const showing = queue.pairs[0];
  const stop = () => {
    editing = null;
    card.querySelector(".rs-editor")?.blur();
    view.redraw();
    showCommented();
  };
  editing = side;
  const editor = buildEditor({
    text: showing[side].text,
    draft: queue.drafts.of(showing).edits[side],
    onInput: (text) => queue.keepEdit(showing, side, text),
    onCancel: stop,
    onSave: (text) => {
      queue.note = "";
      queue.edit(showing, side, text);
      stop();
    },
  });
  part(`${side}-text`).replaceChildren(editor);
  const box = editor.querySelector("textarea");
  box.focus();
  box.setSelectionRange(0, 0);
  box.scrollTop = 0;
}

function open() {
  const next = parsed(props.value);
  if (JSON.stringify(next) === JSON.stringify(config)) return;
  config = next;
  queue?.stop();
  queue = null;
  shownShowing = null;
  editing = null;
  refresh.offered = "";
  drawExtras();
  if (!config) {
    card.dataset.state = "empty";
    part("bar").hidden = true;
    part("guide").hidden = true;
    blank("No project is chosen", "Choose a project above, or create one.",
      link("Go to Projects", () => trigger("open_projects"), "primary"));
    return;
  }
  // Whoever has just chosen the project wants to judge: keys would be dead inside the picker.
  const focused = document.activeElement;
  if (focused?.closest("#project-picker")) focused.blur();
  guide = new GuidelinesPanel({
    panel: part("guide"), text: part("guide-text"), version: part("guide-version"), versions: part("guide-versions"), news: part("guide-news"),
    button: part("tools").querySelector("[data-action=guide]"),
  }, config.scope, (version) => queue.ask(`guidelines/${version}`));
  guide.draw();
  queue = new VoteQueue({ base: config.base, scope: config.scope, onChange: refresh });
  refresh("pairs");
  queue.start();
}

buildButtons();
buildKeyMap();
showViews();
part("guide-close").addEventListener("click", () => guide.toggle(false));
document.addEventListener("keydown", onKey);
document.addEventListener("visibilitychange", () => {
  watchSeen();
  if (!queue || !element.isConnected || document.visibilityState !== "visible") return;
  queue.retryNow();
  queue.renew(); // it may have been hidden for longer than a lease lasts
});
// Whoever has clicked this tab's name wants to judge: the arrows would go on to the next tab.
function leaveTabs(event) {
  if (!element.isConnected) document.removeEventListener("click", leaveTabs);
  const tab = event.target.closest?.("[role=tab]");
  if (!tab || !isByPointer(event)) return;
  requestAnimationFrame(() => { if (element.offsetParent !== null) tab.blur(); });
}
document.addEventListener("click", leaveTabs);
window.addEventListener("online", () => queue?.retryNow());
// Coming back to the tab: guidelines, reasons and aspects may have been changed meanwhile.
new IntersectionObserver(([card]) => {
  if (card.isIntersecting && queue?.settings) queue.fetchSettings();
}).observe(element);
watch("value", open);
open();
