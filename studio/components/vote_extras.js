// What can be said besides the verdict: reasons, ratings, a comment, why one skips; and the editor.
//
// All of it is a draft of the pair (outbox.js) until the verdict takes it along.

const RATINGS = [1, 2, 3, 4, 5];

// A strip above the verdicts for one question at a time. It blocks nothing: the pair can be read
// on, and any verdict closes it. `onKey(key)` gets the keys first and says whether it took one.
class Drawer {
  constructor(box) {
    this.box = box;
    this.kind = null;
    this.onKey = () => false;
  }
  open(kind, label, content, onKey = () => false) {
    this.opener = document.activeElement?.closest("button") || null;
    this.kind = kind;
    this.onKey = onKey;
    this.box.setAttribute("aria-label", label);
    this.box.replaceChildren(h("p", { class: "rs-drawer-label" }, label), ...content);
    this.box.hidden = false;
    this.box.querySelector("textarea")?.focus();
  }
  close() {
    if (!this.kind) return;
    const hadFocus = this.box.contains(document.activeElement);
    this.kind = null;
    this.onKey = () => false;
    this.box.hidden = true;
    this.box.replaceChildren();
    if (!hadFocus) return;
    if (this.opener?.isConnected) this.opener.focus();
    else document.activeElement.blur();
  }
}

function choiceButton(key, label, onclick, kind = "") {
  return h("button", { type: "button", class: `rs-button small ${kind}`, onclick, "aria-keyshortcuts": key || null },
    h("span", {}, label), key ? h("kbd", { "aria-hidden": "true" }, key) : null);
}

function openSkipChooser(drawer, reasons, onSkip) {
  const cancel = () => drawer.close();
  const skip = (reason) => { drawer.close(); onSkip(reason); };
  drawer.open("skip", "Why skip it?", [
    ...reasons.map((reason, i) => choiceButton(i < 9 ? String(i + 1) : "", reason, () => skip(reason))),
    choiceButton("s", "Just skip", () => skip(null), "primary"),
    choiceButton("Esc", "Cancel", cancel, "plain"),
  ], (key) => {
    if (key === "s" || key === "Enter") skip(null);
    else if (key === "Escape") cancel();
    else if (!/^[0-9]$/.test(key)) return false;
    else if (reasons[key - 1] !== undefined) skip(reasons[key - 1]);
    return true;
  });
}

// A comment for the pair, or with `submit` for a flag. Enter is done, Shift+Enter a new line.
function openCommentBox(drawer, { kind, label, text, maxLength, onInput, submit, doneLabel }) {
  const box = h("textarea", { rows: 2, dir: "auto", maxlength: maxLength, "aria-label": label });
  box.value = text;
  const done = () => { drawer.close(); submit?.(); };
  box.addEventListener("input", () => onInput(box.value));
  box.addEventListener("keydown", (event) => {
    if (event.isComposing) return;
    if (event.key === "Enter" && !event.shiftKey) done();
    else if (event.key === "Escape") drawer.close();
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  drawer.open(kind, label, [
    box, choiceButton("Enter", doneLabel, done, "primary"), choiceButton("Esc", submit ? "Cancel" : "Close", () => drawer.close(), "plain"),
  ], (key) => {
    if (key !== "Escape") return false;
    drawer.close();
    return true;
  });
}

function openEditChooser(drawer, onChoose) {
  const choose = (side) => { drawer.close(); onChoose(side); };
  drawer.open("edit", "Which answer do you want to improve?", [
    choiceButton("1", "Left", () => choose("left")), choiceButton("2", "Right", () => choose("right")),
    choiceButton("Esc", "Cancel", () => drawer.close(), "plain"),
  ], (key) => {
    if (key === "1" || key === "ArrowLeft") choose("left");
    else if (key === "2" || key === "ArrowRight") choose("right");
    else if (key === "Escape" || key === "e") drawer.close();
    else return /^[0-9]$/.test(key);
    return true;
  });
}

function reasonChips(reasons, chosen, onToggle) {
  return reasons.map((reason, i) => h("button", {
    type: "button", class: "rs-chip", "aria-pressed": String(chosen.includes(reason)),
    onclick: (event) => {
      if (event.detail > 0) event.currentTarget.blur(); // by mouse or touch: Space scrolls again
      const isOn = event.currentTarget.getAttribute("aria-pressed") !== "true";
      event.currentTarget.setAttribute("aria-pressed", String(isOn));
      onToggle(reason, isOn);
    },
  }, h("span", {}, reason), i < 9 ? h("kbd", { "aria-hidden": "true" }, String(i + 1)) : null));
}

// The ratings {aspect: {left, right}} with this one given, or taken back with null.
function rated(aspects, aspect, side, value) {
  const { [side]: _, ...rest } = aspects[aspect] || {};
  const sides = value === null ? rest : { ...rest, [side]: value };
  const { [aspect]: __, ...others } = aspects;
  return Object.keys(sides).length ? { ...others, [aspect]: sides } : others;
}

let numRatingGroups = 0;

// One row of five for each aspect, under the answer that it rates. Choosing the same again takes
// it back; a digit rates and goes on to the next row.
function ratingRows(aspects, side, given, onRate) {
  return aspects.map((aspect) => {
    numRatingGroups += 1;
    const name = `rs-rating-${numRatingGroups}`;
    const row = h("fieldset", { class: "rs-rating" }, h("legend", {}, aspect), RATINGS.map((value) => {
      const input = h("input", {
        type: "radio", name, value, checked: given[aspect]?.[side] === value, "aria-label": `${aspect}, ${side}: ${value} of 5`,
      });
      input.addEventListener("change", () => onRate(aspect, side, value));
      input.addEventListener("click", (event) => {
        if (input.dataset.was === "yes") {
          input.checked = false;
          onRate(aspect, side, null);
        }
        for (const each of row.querySelectorAll("input")) each.dataset.was = each.checked ? "yes" : "";
        if (event.detail > 0) input.blur(); // by mouse or touch: the digits are verdicts again
      });
      input.dataset.was = input.checked ? "yes" : "";
      return h("label", {}, input, h("span", { "aria-hidden": "true" }, String(value)));
    }));
    return row;
  });
}

// The answer's text in a box, in the place of the answer.
function buildEditor({ text, draft, onInput, onSave, onCancel }) {
  const box = h("textarea", { class: "rs-editor", dir: "auto", "aria-label": "The better answer", spellcheck: "true" });
  box.value = draft ?? text;
  const save = h("button", { type: "button", class: "rs-button small primary" }, h("span", {}, "Save as a better answer"),
    h("kbd", { "aria-hidden": "true" }, "Ctrl Enter"));
  const line = h("span", { class: "rs-editor-line", role: "status" });
  const check = () => {
    const isSame = box.value.trim() === text.trim();
    save.disabled = isSame || !box.value.trim();
    line.textContent = isSame ? "It becomes a new answer that beats this one." : "";
  };
  box.addEventListener("input", () => { onInput(box.value); check(); });
  box.addEventListener("keydown", (event) => {
    if (event.isComposing) return;
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !save.disabled) onSave(box.value);
    else if (event.key === "Escape") onCancel();
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  save.addEventListener("click", () => onSave(box.value));
  check();
  return h("div", { class: "rs-editing" }, box, h("div", { class: "rs-editor-foot" },
    save, choiceButton("Esc", "Cancel", onCancel, "plain"), line));
}
