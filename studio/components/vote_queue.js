// What is still to be shown, and the way back; no DOM in here. Sending is in outbox.js.

const PRELOADED_PAIRS = 3;
const RENEW_EVERY_MS = 60000;

class VoteQueue {
  constructor({ base, scope, onChange }) {
    this.ask = (path, body) => request(`${base}/${path}`, body, scope);
    this.onChange = onChange;
    this.outbox = new Outbox("vote", scope);
    this.drafts = new Drafts(scope);
    this.sender = new Sender({
      base,
      scope,
      outbox: this.outbox,
      onChange: (what) => this.changed(what),
      onStored: (entry, answer) => this.stored(entry, answer),
    });
    this.pairs = [];
    this.voted = new Map(); // showing_id -> showing, judged here and not taken back
    this.given = []; // {voteId, showing, draft} of this visit, newest last: what undo steps through
    this.undoing = null; // id of an older vote whose undo was asked for, until it is known to be done
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
      this.settings = await this.ask("settings");
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
    const unsent = this.outbox.waiting().filter((entry) => (entry.kind || "vote") === "vote");
    return [...this.pairs, ...unsent.map((entry) => entry.vote)].map((holder) => holder.showing_id);
  }

  async fetchPairs() {
    // The server renews what we hold and gives others; a verdict on its way is held as well.
    const excluded = this.held().map((id) => `&exclude=${encodeURIComponent(id)}`);
    const numSavedBefore = this.numSaved;
    const count = Math.max(1, PRELOADED_PAIRS - this.pairs.length);
    try {
      const answer = await this.ask(`next?count=${count}${excluded.join("")}`);
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

  // What names a showing beyond doubt, and under which guidelines it was judged.
  marksOf(showing) {
    return {
      showing_id: showing.showing_id, pair_id: showing.pair_id, shown_at: showing.shown_at,
      guidelines_version: this.settings?.guidelines?.version,
    };
  }

  // Not while an undo is on its way: the verdict would be on another pair than the one it brings.
  vote(choice, strength, durationMs, skipReason = null) {
    const showing = this.isUndoing ? null : this.pairs.shift();
    if (!showing) return;
    const { reasons, aspects, comment, flag } = this.drafts.of(showing);
    const voteId = newId();
    this.voted.set(showing.showing_id, showing);
    this.given.push({ voteId, showing, draft: { reasons, aspects, comment, flag } });
    this.outbox.add("vote", {
      vote_id: voteId, ...this.marksOf(showing), choice, strength, reasons, aspects,
      comment: choice === "flag" ? [flag, comment].filter((text) => text.trim()).join("\n\n") : comment,
      skip_reason: skipReason, duration_ms: Math.round(durationMs),
    });
    this.drafts.drop(showing); // the outbox has it now
    this.forget(this.outbox.refused().filter((entry) => entry.vote.showing_id === showing.showing_id));
    this.changed("pairs");
    this.sender.pump();
  }

  // A better answer: counts by itself as a verdict over its parent; the pair stays to be judged.
  edit(showing, side, text) {
    const voteId = newId();
    this.given.push({ voteId, showing, isEdit: true, side, text });
    this.outbox.add("edit", { vote_id: voteId, ...this.marksOf(showing), side, text });
    this.forgetEdit(showing, side);
    this.sender.pump();
  }

  forgetEdit(showing, side) {
    const { [side]: _, ...edits } = this.drafts.of(showing).edits;
    this.drafts.change(showing, { edits });
  }

  keepEdit(showing, side, text) {
    this.drafts.change(showing, { edits: { ...this.drafts.of(showing).edits, [side]: text } });
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
    if (this.outbox.memory.get(entry.vote.vote_id)?.refused) this.giveBack(entry);
    if (this.pairs.length < PRELOADED_PAIRS) this.fill();
  }

  // ---- refused --------------------------------------------------------------------------------

  // A refused verdict does not keep its pair: if it is still ours to judge, it comes again, with
  // what was said beside the verdict. The verdict itself waits to be sent again or dismissed.
  giveBack({ kind, vote }) {
    const step = this.given.find((each) => each.voteId === vote.vote_id);
    this.given = this.given.filter((each) => each !== step);
    if (kind === "edit") {
      this.keepEdit(vote, vote.side, vote.text);
      return;
    }
    this.voted.delete(vote.showing_id);
    const { reasons, aspects, comment } = vote;
    this.drafts.change(vote, step?.draft || { reasons, aspects, [vote.choice === "flag" ? "flag" : "comment"]: comment });
  }

  forget(entries) {
    for (const { vote } of entries) this.outbox.remove(vote.vote_id);
  }

  dismissRefused() {
    this.forget(this.outbox.refused());
    this.note = "Dismissed. A pair that is still yours to judge comes again.";
    this.fill();
    this.changed("saving");
  }

  sendRefusedAgain() {
    for (const { refused, ...entry } of this.outbox.refused()) {
      const { vote } = entry;
      if (entry.kind === "edit") this.forgetEdit(vote, vote.side);
      else this.hold(vote);
      this.outbox.put(entry);
    }
    this.changed("pairs");
    this.sender.pump();
  }

  hold(vote) {
    const showing = this.pairs.find((pair) => pair.showing_id === vote.showing_id);
    this.pairs = this.pairs.filter((pair) => pair !== showing);
    if (showing) this.voted.set(vote.showing_id, showing);
    this.drafts.drop(vote);
  }

  // ---- back -----------------------------------------------------------------------------------

  retryNow() {
    this.sender.pump();
    if (!this.settings) this.fetchSettings();
    if (this.pairs.length < PRELOADED_PAIRS) this.fill();
  }

  putBack(showing, draft) {
    this.voted.delete(showing.showing_id);
    this.pairs = [showing, ...this.pairs.filter((pair) => pair.showing_id !== showing.showing_id)];
    if (draft) this.drafts.change(showing, draft);
  }

  // One step back. A verdict that never left the browser is simply dropped; any other is taken
  // back by the server, which gives the pair again with the sides it had.
  async undo() {
    if (this.isUndoing) return;
    this.isUndoing = true;
    this.changed("saving");
    const last = this.given.at(-1);
    let isDone = true;
    try {
      const unsent = last && this.outbox.memory.get(last.voteId);
      if (unsent && unsent.attempts === 0) {
        this.outbox.remove(last.voteId);
        this.takeBack(last, last.showing);
      } else {
        await this.undoOnServer(last);
      }
    } catch (error) {
      this.note = `Not undone: ${sentence(error.message)}`;
      isDone = Boolean(error.isFinal);
    }
    if (isDone) {
      this.given = this.given.filter((step) => step !== last);
      if (!last) this.undoing = null;
    }
    this.isUndoing = false;
    this.changed("pairs");
  }

  takeBack(step, showing) {
    if (step?.isEdit) {
      this.keepEdit(step.showing, step.side, step.text);
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
    if (!last && !this.undoing) this.undoing = await this.newestVote();
    const voteId = last ? last.voteId : this.undoing;
    if (!voteId) {
      this.note = "There is no vote of yours to undo.";
      return;
    }
    const answer = await this.ask("undo", { vote_id: voteId });
    this.progress = answer.progress || this.progress;
    this.lastSaved = null;
    if (last && !last.isEdit) this.voted.delete(last.showing.showing_id);
    if (!answer.was_standing && !answer.showing) {
      this.note = "Nothing to undo here: this verdict was taken back already.";
      return;
    }
    this.note = "Undone.";
    this.takeBack(last, answer.showing);
    if (answer.retracted !== voteId) this.note = "Undone: the verdict that you had revised does not count any more; judge this pair again.";
  }

  // Of an earlier visit, or of another device.
  async newestVote() {
    const { votes } = await this.ask("history?limit=1");
    return votes[0]?.vote_id || null;
  }

  // Keeps the pairs on this screen ours for as long as somebody is looking at them.
  async renew() {
    if (this.isStopped || document.visibilityState !== "visible") return;
    this.fetchSettings();
    if (!this.pairs.length) return;
    try {
      const ids = this.pairs.map((pair) => pair.showing_id);
      const { lapsed = [] } = await this.ask("renew", { showing_ids: ids });
      // The pair being read stays: its verdict still counts. Others may have gone to somebody else.
      this.pairs = this.pairs.filter((pair, i) => i === 0 || !lapsed.includes(pair.showing_id));
      if (lapsed.length) this.fill();
    } catch (error) {
      this.note = `The pairs on this page could not be kept reserved: ${error.message}.`;
      this.changed("saving");
    }
  }
}
