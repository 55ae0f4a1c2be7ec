// What is still to be shown, and the way back; no DOM in here. Sending is in outbox.js.

const PRELOADED_PAIRS = 3;
const RENEW_EVERY_MS = 60000;

class VoteQueue {
  constructor({ base, scope, onChange }) {
    this.base = base;
    this.onChange = onChange;
    this.outbox = new Outbox("vote", scope);
    this.drafts = new Drafts(scope);
    this.sender = new Sender({
      base,
      outbox: this.outbox,
      onChange: (what) => this.changed(what),
      onStored: (entry, answer) => this.stored(entry, answer),
    });
    this.pairs = [];
    this.voted = new Map(); // showing_id -> showing, judged here and not taken back
    this.given = []; // {voteId, showingId, draft} of this visit, newest last: what undo steps through
    this.progress = null;
    this.settings = null; // reasons, skip_reasons, aspects, guidelines; null until they are here
    this.problem = null; // a sentence, when pairs cannot be fetched
    this.note = "";
    this.isExhausted = false;
    this.numSaved = 0;
    this.isStopped = false;
    this.renewTimer = setInterval(() => this.renew(), RENEW_EVERY_MS);
  }

  start() {
    this.sender.pump();
    this.fetchSettings();
    return this.fill();
  }

  stop() {
    this.isStopped = true;
    this.sender.stop();
    clearInterval(this.renewTimer);
    clearTimeout(this.fillTimer);
    clearTimeout(this.settingsTimer);
  }

  changed(what) {
    if (!this.isStopped) this.onChange(what);
  }

  // Reasons, aspects and guidelines; a lead may change them while people judge.
  async fetchSettings() {
    clearTimeout(this.settingsTimer);
    try {
      this.settings = await request(`${this.base}/settings`);
      this.changed("settings");
    } catch (error) {
      if (!this.settings && !error.isFinal) {
        this.settingsTimer = setTimeout(() => this.fetchSettings(), 3000);
      }
    }
  }

  // Asks for what is missing; never two requests at once.
  async fill() {
    this.isFillWanted = true;
    if (this.isFilling || this.isStopped) return;
    this.isFilling = true;
    clearTimeout(this.fillTimer);
    while (this.isFillWanted && !this.isStopped) {
      this.isFillWanted = false;
      await this.fetchPairs();
      this.changed("pairs");
    }
    this.isFilling = false;
  }

  // Showings that the server must not send again: on this page, or judged and on their way.
  held() {
    const unsent = this.outbox.entries().filter((entry) => (entry.kind || "vote") === "vote");
    return [...this.pairs, ...unsent.map((entry) => entry.vote)].map((holder) => holder.showing_id);
  }

  async fetchPairs() {
    // The server renews what we hold and gives others; a verdict on its way is held as well.
    const excluded = this.held().map((id) => `&exclude=${encodeURIComponent(id)}`);
    const numSavedBefore = this.numSaved;
    const count = Math.max(1, PRELOADED_PAIRS - this.pairs.length);
    try {
      const answer = await request(`${this.base}/next?count=${count}${excluded.join("")}`);
      const known = new Set(this.held());
      const fresh = answer.pairs.filter((pair) => !known.has(pair.showing_id)
        && !this.voted.has(pair.showing_id));
      this.pairs.push(...fresh);
      // A vote that was stored meanwhile has brought newer counts than these.
      if (this.numSaved === numSavedBefore || !this.progress) this.progress = answer.progress;
      this.problem = answer.closed || null;
      this.isGivenUp = Boolean(answer.closed);
      this.isExhausted = fresh.length === 0;
      this.fillPause = 0;
    } catch (error) {
      this.problem = error.message;
      this.isGivenUp = error.isFinal;
      if (!error.isFinal) {
        this.fillPause = Math.min(LONGEST_PAUSE_MS, (this.fillPause || 500) * 2);
        this.fillTimer = setTimeout(() => this.fill(), this.fillPause);
      }
    }
  }

  vote(choice, strength, durationMs, skipReason = null) {
    const showing = this.pairs.shift();
    if (!showing) return;
    const { reasons, aspects, comment } = this.drafts.of(showing.showing_id);
    const voteId = newId();
    this.voted.set(showing.showing_id, showing);
    this.given.push({ voteId, showingId: showing.showing_id, draft: { reasons, aspects, comment } });
    this.outbox.add("vote", {
      vote_id: voteId, showing_id: showing.showing_id, choice, strength, reasons, aspects, comment,
      skip_reason: skipReason, duration_ms: Math.round(durationMs),
    });
    this.drafts.drop(showing.showing_id); // the outbox has it now
    this.changed("pairs");
    this.sender.pump();
  }

  // A better answer: counts by itself as a verdict over its parent; the pair stays to be judged.
  edit(showing, side, text) {
    const voteId = newId();
    this.given.push({ voteId, showingId: showing.showing_id, isEdit: true, side, text });
    this.outbox.add("edit", { vote_id: voteId, showing_id: showing.showing_id, side, text });
    this.forgetEdit(showing.showing_id, side);
    this.sender.pump();
  }

  forgetEdit(showingId, side) {
    const { [side]: _, ...edits } = this.drafts.of(showingId).edits;
    this.drafts.change(showingId, { edits });
  }

  // After each attempt to send; `answer` is missing when it failed.
  stored(entry, answer) {
    if (answer) {
      this.progress = answer.progress || this.progress;
      this.numSaved += 1;
      this.lastSaved = {
        ...entry.vote, kind: entry.kind || "vote", status: answer.status, reveal: answer.reveal, setAside: answer.set_aside,
      };
    }
    if (this.pairs.length < PRELOADED_PAIRS) this.fill();
  }

  retryNow() {
    this.sender.pump();
    if (!this.settings) this.fetchSettings();
    if (this.pairs.length < PRELOADED_PAIRS) this.fill();
  }

  putBack(showing, draft) {
    this.voted.delete(showing.showing_id);
    this.pairs = [showing, ...this.pairs.filter((pair) => pair.showing_id !== showing.showing_id)];
    if (draft) this.drafts.change(showing.showing_id, draft);
  }

  // One step back. A verdict that never left the browser is simply dropped; any other is taken
  // back by the server, which gives the pair again with the sides it had.
  async undo() {
    if (this.isUndoing) return;
    this.isUndoing = true;
    try {
      const refused = new Set(this.outbox.refused().map((entry) => entry.vote.vote_id));
      this.given = this.given.filter((step) => !refused.has(step.voteId));
      const last = this.given[this.given.length - 1];
      const unsent = last && this.outbox.memory.get(last.voteId);
      if (unsent && unsent.attempts === 0) {
        this.outbox.remove(last.voteId);
        this.takeBack(last, this.voted.get(last.showingId));
      } else {
        await this.undoOnServer(last);
      }
      this.given.pop();
    } catch (error) {
      this.note = `Not undone: ${error.message}.`;
    }
    this.isUndoing = false;
    this.changed("pairs");
  }

  takeBack(step, showing) {
    if (step?.isEdit) {
      const { edits } = this.drafts.of(step.showingId);
      this.drafts.change(step.showingId, { edits: { ...edits, [step.side]: step.text } });
      this.note = "Undone: your edited answer does not count any more; its text is kept under Edit.";
    } else if (showing) {
      this.putBack(showing, step?.draft);
      this.note = "Undone: judge this pair again.";
    }
  }

  async undoOnServer(last) {
    for (let i = 0; i < 30 && this.outbox.waiting().length && this.sender.isPumping; i += 1) {
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    if (this.outbox.waiting().length) {
      throw new RequestError("votes are still waiting to be saved; undo works again once they are", 0);
    }
    // Naming the vote makes it harmless to ask twice when the answer was lost on the way.
    const answer = await request(`${this.base}/undo`, last ? { vote_id: last.voteId } : {});
    this.progress = answer.progress || this.progress;
    this.lastSaved = null;
    if (last && !last.isEdit) this.voted.delete(last.showingId);
    this.note = answer.retracted ? "Undone." : "There is no vote of yours to undo.";
    if (answer.retracted) this.takeBack(last, answer.showing);
  }

  // Keeps the pairs on this screen ours for as long as somebody is looking at them.
  async renew() {
    if (this.isStopped || document.visibilityState !== "visible") return;
    this.fetchSettings();
    if (!this.pairs.length) return;
    try {
      const ids = this.pairs.map((pair) => pair.showing_id);
      const { lapsed = [] } = await request(`${this.base}/renew`, { showing_ids: ids });
      // The pair being read stays: its verdict still counts. Others may have gone to somebody else.
      this.pairs = this.pairs.filter((pair, i) => i === 0 || !lapsed.includes(pair.showing_id));
      if (lapsed.length) this.fill();
    } catch (error) {
      this.note = `The pairs on this page could not be kept reserved: ${error.message}.`;
      this.changed("saving");
    }
  }
}
