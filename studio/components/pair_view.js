// A pair on the screen: the prompt above, two answers that scroll together, their difference.

// When the browser has nothing else to do, but not much later than the reader could notice.
function soon(work) {
  if (globalThis.requestIdleCallback) requestIdleCallback(work, { timeout: 300 });
  else setTimeout(work, 30);
}

class PairView {
  // `parts`: the elements {prompt, left, right, note}.
  constructor(parts) {
    this.parts = parts;
    this.prepared = new Map(); // showing -> nodes, drawn while nobody waits
    this.showing = null;
    this.isDiffShown = false;
    this.led = null; // the pane that scrolls because the other one did
    for (const [pane, other] of [[parts.left, parts.right], [parts.right, parts.left]]) {
      pane.addEventListener("scroll", () => this.follow(pane, other), { passive: true });
    }
    new ResizeObserver(() => this.findScrollable()).observe(parts.left);
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

  // Draws the pairs to come, and forgets all others.
  prepare(showings) {
    soon(() => {
      for (const showing of this.prepared.keys()) {
        if (!showings.includes(showing)) this.prepared.delete(showing);
      }
      for (const showing of showings) {
        if (!this.prepared.has(showing)) this.prepared.set(showing, this.nodesOf(showing));
      }
    });
  }

  show(showing) {
    const { prompt, left, right } = this.prepared.get(showing) || this.nodesOf(showing);
    this.prepared.delete(showing);
    this.showing = showing;
    const { parts } = this;
    const panes = [parts.prompt, parts.left, parts.right];
    for (const pane of panes) pane.scrollTop = 0; // while the old text stands: no layout is needed
    parts.prompt.replaceChildren(...prompt);
    parts.left.replaceChildren(left);
    parts.right.replaceChildren(right);
    parts.note.hidden = !this.isDiffShown;
    parts.note.textContent = "";
    // What is below the edge is laid out after the first paint, as is all that reading does not need.
    for (const pane of panes) pane.classList.add("first-paint");
    requestAnimationFrame(() => soon(() => {
      if (this.showing !== showing) return;
      for (const pane of panes) pane.classList.remove("first-paint");
      if (this.isDiffShown) this.markDifference();
      this.findScrollable();
    }));
  }

  redraw() {
    this.prepared.clear();
    const { left, right } = this.parts;
    const tops = [left.scrollTop, right.scrollTop];
    if (this.showing) this.show(this.showing);
    [left.scrollTop, right.scrollTop] = tops;
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
