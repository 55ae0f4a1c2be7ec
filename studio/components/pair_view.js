// A pair on the screen: the prompt above, two answers that scroll together, their difference.

// Once the frame to come is painted and the browser has nothing else to do, but not much later than
// the reader could notice.
function afterPaint(work) {
  requestAnimationFrame(() => {
    if (globalThis.requestIdleCallback) requestIdleCallback(work, { timeout: 200 });
    else setTimeout(work, 30);
  });
}

const SIDES = ["left", "right"];

// The blocks of a text that begin below what can be seen of it at first, with their heights.
function blocksBelow(pane) {
  const room = Math.min(pane.closest(".rs-work").clientHeight, window.innerHeight);
  const edge = pane.getBoundingClientRect().top + room;
  return [...(pane.firstElementChild?.children || [])]
    .map((block) => ({ block, box: block.getBoundingClientRect() }))
    .filter(({ box }) => box.top > edge);
}

// What was to be painted later is painted.
function paintAll(text) {
  for (const block of text.querySelectorAll(".below")) {
    block.classList.remove("below");
    block.style.containIntrinsicBlockSize = "";
  }
}

class PairView {
  // `parts`: the elements {prompt, left, right, note}. `ahead`: {left, right}, panes like those of
  // the answers and behind them, in which the next pair is laid out while this one is read.
  constructor(parts, ahead) {
    this.parts = parts;
    this.ahead = ahead;
    this.next = []; // the showings to come, nearest first
    this.prepared = new Map(); // showing -> nodes, drawn while nobody waits
    this.laidOut = null; // {showing, prompt}: whose answers are in `ahead`
    this.showing = null;
    this.isDiffShown = false;
    this.led = null; // the pane that scrolls because the other one did
    const sizes = new ResizeObserver(() => this.findScrollable());
    for (const { left, right } of [parts, ahead]) {
      left.addEventListener("scroll", () => this.follow(left, right), { passive: true });
      right.addEventListener("scroll", () => this.follow(right, left), { passive: true });
      sizes.observe(left);
    }
  }

  nodesOf(showing) {
    const isPlain = preferences.isPlain;
    const answer = ({ text, html }) => (isPlain ? plainText(text) : richText(html, text));
    return {
      prompt: conversationNodes(showing.messages, {
        isPlain, isOpen: preferences.areTurnsOpen, onFold: (isOpen) => prefer("areTurnsOpen", isOpen),
      }),
      left: answer(showing.left),
      right: answer(showing.right),
    };
  }

  // Draws the pairs to come, lays the next one out, and forgets all others.
  prepare(showings) {
    this.next = showings;
    afterPaint(() => {
      for (const showing of this.prepared.keys()) {
        if (!this.next.includes(showing)) this.prepared.delete(showing);
      }
      for (const showing of this.next) {
        if (!this.prepared.has(showing)) this.prepared.set(showing, this.nodesOf(showing));
      }
      if (this.next.length && this.laidOut?.showing !== this.next[0]) this.layOut(this.next[0]);
    });
  }

  putAhead(showing) {
    const { prompt, ...answers } = this.prepared.get(showing) || this.nodesOf(showing);
    for (const side of SIDES) {
      paintAll(answers[side]);
      this.ahead[side].replaceChildren(answers[side]);
    }
    this.laidOut = { showing, prompt };
  }

  // The layout of long answers with tables and formulas would take longer than all else that a
  // verdict does. Hidden by `content-visibility` they keep the one that they are given here; what
  // is below the edge stays hidden so until the rest is painted.
  layOut(showing) {
    this.putAhead(showing);
    const panes = SIDES.map((side) => this.ahead[side]);
    for (const pane of panes) pane.style.contentVisibility = "visible";
    const below = panes.flatMap(blocksBelow);
    for (const pane of panes) pane.style.contentVisibility = "";
    for (const { block, box } of below) {
      block.style.containIntrinsicBlockSize = `${box.height}px`;
      block.classList.add("below");
    }
  }

  show(showing) {
    if (this.laidOut?.showing !== showing) this.putAhead(showing);
    const { prompt } = this.laidOut;
    this.prepared.delete(showing);
    this.laidOut = null;
    this.showing = showing;
    const { parts } = this;
    // Before anything else is changed, so that no layout is needed.
    for (const pane of [parts.prompt, parts.left, parts.right]) pane.scrollTop = 0;
    for (const side of SIDES) this.bringForward(side);
    parts.prompt.replaceChildren(...prompt);
    parts.note.hidden = !this.isDiffShown;
    parts.note.textContent = "";
    afterPaint(() => {
      if (this.showing !== showing) return;
      for (const side of SIDES) paintAll(this.parts[side]);
      if (!this.laidOut) for (const side of SIDES) this.ahead[side].replaceChildren();
      if (this.isDiffShown) this.markDifference();
      this.findScrollable();
    });
  }

  // The pane that was ahead and the one that was read change places; the focus stays.
  bringForward(side) {
    const [old, pane] = [this.parts[side], this.ahead[side]];
    const hadFocus = old.contains(document.activeElement);
    pane.classList.remove("ahead");
    if (hadFocus) {
      pane.tabIndex = 0;
      pane.focus({ preventScroll: true });
    }
    old.classList.add("ahead");
    [pane.dataset.part, old.dataset.part] = [old.dataset.part, pane.dataset.part];
    [this.parts[side], this.ahead[side]] = [pane, old];
  }

  redraw() {
    this.prepared.clear();
    this.laidOut = null;
    const tops = SIDES.map((side) => this.parts[side].scrollTop);
    if (this.showing) this.show(this.showing);
    SIDES.forEach((side, i) => { this.parts[side].scrollTop = tops[i]; });
    this.prepare(this.next);
  }

  toggleDifference() {
    this.isDiffShown = !this.isDiffShown;
    this.redraw();
  }

  markDifference() {
    const { left, right, note } = this.parts;
    note.textContent = markDifference(left, right);
  }

  // ---- scrolling ------------------------------------------------------------------------------

  follow(pane, other) {
    if (this.led === pane) {
      this.led = null;
      return;
    }
    if (!preferences.isTogether) return;
    const room = pane.scrollHeight - pane.clientHeight;
    const top = Math.round((room > 0 ? pane.scrollTop / room : 0) * (other.scrollHeight - other.clientHeight));
    if (Math.abs(other.scrollTop - top) < 1) return;
    this.led = other;
    other.scrollTop = top;
    if (Math.abs(other.scrollTop - top) > 1) this.led = null; // it had no room, so it tells nothing
  }

  // The pane with more to read leads; the keyboard reaches whatever scrolls.
  findScrollable() {
    const { left, right, prompt } = this.parts;
    for (const pane of [left, right, prompt]) {
      if (pane.scrollHeight > pane.clientHeight + 1) pane.tabIndex = 0;
      else pane.removeAttribute("tabindex");
      makeScrollable(pane);
    }
  }

  get isLong() {
    const { left, right } = this.parts;
    return [left, right].some((pane) => pane.scrollHeight > pane.clientHeight + 1);
  }

  scrollBy(share) {
    const { left, right } = this.parts;
    const [longer, other] = left.scrollHeight >= right.scrollHeight ? [left, right] : [right, left];
    longer.scrollBy({ top: share * longer.clientHeight });
    if (!preferences.isTogether) other.scrollBy({ top: share * other.clientHeight });
  }
}
