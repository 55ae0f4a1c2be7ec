// The keys of the vote card: which one was meant, who gets it first, and what it does.

// The key as printed where it is a letter or digit, else as placed: so that digits work on a
// French keyboard and letters on a Cyrillic one.
function pressedKey(event) {
  const placed = /^(?:Digit|Numpad)([0-9])$/.exec(event.code)?.[1];
  if (placed && !event.shiftKey) return placed;
  if (event.key === "?" || event.key.startsWith("Arrow")) return event.key;
  if (event.key === " ") return event.shiftKey ? "Shift Space" : "Space";
  if (event.shiftKey) return "";
  if (/^[a-z]$/i.test(event.key)) return event.key.toLowerCase();
  if (event.key.length === 1 && event.key > "\u007f") return event.code.replace(/^Key/, "").toLowerCase();
  return event.key;
}

// Boxes take every key; the tabs take the arrows only, since focus stays there after a click.
function isTaken(target, key) {
  if (!(target instanceof Element)) return false;
  if (/^Arrow(?:Left|Right)$/.test(key) && target.closest("[role=tablist], [type=radio]")) return true;
  if (/Space|Enter|Page|Arrow(?:Up|Down)/.test(key)) {
    // What has the focus does something of its own with these.
    if (target.closest("button, a, summary, [tabindex='0'], input, [role=tab]")) return true;
  }
  if (target.matches("[type=radio]") && card.contains(target)) return false;
  return target.isContentEditable || Boolean(target.closest(
    "input, textarea, select, [role=listbox], [role=combobox], [role=slider], [role=menu]"));
}

const SCROLLS = { Space: 0.85, "Shift Space": -0.85, PageDown: 0.85, PageUp: -0.85, ArrowDown: 0.15, ArrowUp: -0.15 };

// A digit while a rating row has the focus rates it and goes on to the next row.
function rateByKey(target, key) {
  const row = target.closest?.(".rs-rating");
  if (!row || !card.contains(row)) return false;
  if (key === "Escape") target.blur();
  if (!/^[1-5]$/.test(key)) return key === "Escape";
  const wanted = row.querySelectorAll("input")[key - 1];
  if (!wanted.checked) wanted.click();
  const rows = [...card.querySelectorAll(".rs-rating")];
  const next = rows[rows.indexOf(row) + 1];
  if (next) focusRating(next);
  else document.activeElement.blur();
  return true;
}

function focusRating(row) {
  (row.querySelector("input:checked") || row.querySelector("input")).focus();
}

// r: the digits belong to the reasons until r, Enter or Escape.
function chooseReasons() {
  const chips = part("reasons").getElementsByClassName("rs-chip"); // live: they may be drawn anew
  if (!chips.length) return;
  card.dataset.digits = "reasons";
  const stop = () => { delete card.dataset.digits; };
  chooseReasons.onKey = (key) => {
    if (/^[1-9]$/.test(key)) chips[key - 1]?.click();
    else stop();
    return /^[0-9r]$|Enter|Escape/.test(key);
  };
}

function takeKey(event, key) {
  if (rateByKey(event.target, key) || drawer.onKey(key)) return true;
  if (card.dataset.digits && chooseReasons.onKey(key)) return true;
  if (card.dataset.state === "pair") {
    if (key === "r") return chooseReasons() !== false;
    if (key === "a" && card.querySelector(".rs-rating")) return focusRating(card.querySelector(".rs-rating")) !== false;
    if (key in SCROLLS && view.isLong) return view.scrollBy(SCROLLS[key]) !== false;
  }
  const arrow = { ArrowLeft: "2", ArrowRight: "6" }[key];
  const verdict = VERDICTS.find((v) => v.key === (arrow || key));
  const action = [...ACTIONS, ...VIEWS].find((a) => a.key && a.key === key);
  if (verdict) give(verdict);
  else if (action) act(action.action);
  return Boolean(verdict || action);
}

function onKey(event) {
  if (!element.isConnected) {
    document.removeEventListener("keydown", onKey);
    return;
  }
  if (!queue || element.offsetParent === null || event.defaultPrevented) return;
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  const key = pressedKey(event);
  if (event.repeat && !(key in SCROLLS)) return;
  if (isTaken(event.target, key) || document.querySelector("dialog[open]")) return;
  if (takeKey(event, key)) event.preventDefault();
}
