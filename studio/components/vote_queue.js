// What is still to be shown and what is still to be sent; no DOM in here.
//
// A verdict is written to localStorage before it is sent and leaves it only when the server has
// committed it. It keeps its id for ever, so sending it again can never count twice.

const PRELOADED_PAIRS = 3;
const RENEW_EVERY_MS = 60000;
const REQUEST_TIMEOUT_MS = 15000;
const LONGEST_PAUSE_MS = 15000;
// The server has understood these and will not change its mind: sending again is no use.
const FINAL_STATUSES = new Set([400, 404, 409, 410, 413, 415, 422]);

function newId() {
  if (globalThis.crypto?.randomUUID) return crypto.randomUUID(); // needs https or localhost
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}

class RequestError extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
    this.isFinal = FINAL_STATUSES.has(status);
  }
}

async function request(url, body) {
  const stop = new AbortController();
  const timer = setTimeout(() => stop.abort(), REQUEST_TIMEOUT_MS);
  try {
    const options = body === undefined ? {} : {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
      keepalive: true, // a verdict given just before the tab closes still leaves the browser
    };
    const response = await fetch(url, { ...options, signal: stop.signal, cache: "no-store" });
    const isJson = (response.headers.get("content-type") || "").includes("json");
    const answer = isJson ? await response.json() : null;
    if (response.ok && answer) return answer;
    throw new RequestError(answer?.error || `the server answered ${response.status}`, response.status);
  } catch (error) {
    if (error instanceof RequestError) throw error;
    throw new RequestError("the server cannot be reached", 0);
  } finally {
    clearTimeout(timer);
  }
}

// Unsent verdicts, one localStorage entry each, so that two tabs never overwrite each other.
class Outbox {
  constructor(scope) {
    this.prefix = `reward-studio/vote/${scope}/`;
    this.memory = new Map();
    this.isDurable = true;
    try {
      const keys = Object.keys(localStorage).filter((key) => key.startsWith(this.prefix));
      for (const key of keys) {
        const entry = JSON.parse(localStorage.getItem(key));
        this.memory.set(entry.vote.vote_id, { ...entry, attempts: 1 });
      }
    } catch (error) {
      this.isDurable = false;
      console.warn("Unsent votes of an earlier visit could not be read:", error.message);
    }
  }
  put(entry) {
    this.memory.set(entry.vote.vote_id, entry);
    try {
      localStorage.setItem(this.prefix + entry.vote.vote_id, JSON.stringify(entry));
    } catch {
      this.isDurable = false; // storage full or forbidden: the page says so
    }
  }
  remove(voteId) {
    this.memory.delete(voteId);
    try {
      localStorage.removeItem(this.prefix + voteId);
    } catch {
      this.isDurable = false;
    }
  }
  entries() {
    return [...this.memory.values()].sort((a, b) => a.created - b.created);
  }
  waiting() {
    return this.entries().filter((entry) => !entry.refused);
  }
  refused() {
    return this.entries().filter((entry) => entry.refused);
  }
}

class VoteQueue {
  constructor({ base, scope, onChange }) {
    this.base = base;
    this.onChange = onChange;
    this.outbox = new Outbox(scope);
    this.pairs = [];
    this.voted = new Map(); // showing_id -> showing, judged here and not taken back
    this.given = []; // {voteId, showingId} of this visit, newest last: what undo steps through
    this.progress = null;
    this.problem = null; // a sentence, when pairs cannot be fetched
    this.note = "";
    this.isExhausted = false;
    this.numSaved = 0;
    this.isStopped = false;
    this.renewTimer = setInterval(() => this.renew(), RENEW_EVERY_MS);
  }

  start() {
    this.pump();
    return this.fill();
  }

  stop() {
    this.isStopped = true;
    clearInterval(this.renewTimer);
    clearTimeout(this.retryTimer);
    clearTimeout(this.fillTimer);
  }

  changed(what) {
    if (!this.isStopped) this.onChange(what);
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

  async fetchPairs() {
    // The server renews what we hold and gives others; a verdict on its way is held as well.
    const held = [...this.pairs, ...this.outbox.entries().map((entry) => entry.vote)]
      .map((holder) => `&exclude=${encodeURIComponent(holder.showing_id)}`);
    const numSavedBefore = this.numSaved;
    const count = Math.max(1, PRELOADED_PAIRS - this.pairs.length);
    try {
      const answer = await request(`${this.base}/next?count=${count}${held.join("")}`);
      const known = new Set([...this.pairs, ...this.outbox.entries().map((entry) => entry.vote)]
        .map((holder) => holder.showing_id));
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

  vote(choice, strength, durationMs) {
    const showing = this.pairs.shift();
    if (!showing) return;
    this.voted.set(showing.showing_id, showing);
    const voteId = newId();
    this.given.push({ voteId, showingId: showing.showing_id });
    this.outbox.put({
      created: Date.now(),
      attempts: 0,
      vote: {
        vote_id: voteId, showing_id: showing.showing_id, choice, strength,
        reasons: [], comment: "", duration_ms: Math.round(durationMs),
      },
    });
    this.changed("pairs");
    this.pump();
  }

  // Sends what waits, one after the other in the order given, so that undo means the last one.
  async pump() {
    if (this.isPumping || this.isStopped) return;
    this.isPumping = true;
    clearTimeout(this.retryTimer);
    let entry = null;
    while (!this.isStopped && (entry = this.outbox.waiting()[0])) {
      entry.attempts += 1;
      this.changed("saving");
      try {
        const answer = await request(`${this.base}/vote`, entry.vote);
        this.outbox.remove(entry.vote.vote_id);
        this.progress = answer.progress || this.progress;
        this.numSaved += 1;
        this.pause = 0;
        this.lastSaved = { ...entry.vote, status: answer.status };
        if (this.pairs.length < PRELOADED_PAIRS) this.fill();
      } catch (error) {
        if (this.pairs.length < PRELOADED_PAIRS) this.fill();
        if (error.isFinal) {
          this.outbox.put({ ...entry, refused: error.message });
        } else {
          this.waitingFor = error.message;
          this.pause = Math.min(LONGEST_PAUSE_MS, (this.pause || 500) * 2);
          this.retryTimer = setTimeout(() => this.pump(), this.pause);
          break;
        }
      }
      this.changed("saved");
    }
    this.isPumping = false;
    this.changed("saving");
  }

  retryNow() {
    this.pump();
    if (this.pairs.length < PRELOADED_PAIRS) this.fill();
  }

  forgetRefused() {
    for (const entry of this.outbox.refused()) this.outbox.remove(entry.vote.vote_id);
    this.changed("saving");
  }

  putBack(showing) {
    this.voted.delete(showing.showing_id);
    this.pairs = [showing, ...this.pairs.filter((pair) => pair.showing_id !== showing.showing_id)];
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
        this.putBack(this.voted.get(last.showingId));
        this.note = "Undone: judge this pair again.";
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

  async undoOnServer(last) {
    for (let i = 0; i < 30 && this.outbox.waiting().length && this.isPumping; i += 1) {
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    if (this.outbox.waiting().length) {
      throw new RequestError("votes are still waiting to be saved; undo works again once they are", 0);
    }
    // Naming the vote makes it harmless to ask twice when the answer was lost on the way.
    const answer = await request(`${this.base}/undo`, last ? { vote_id: last.voteId } : {});
    this.progress = answer.progress || this.progress;
    this.lastSaved = null;
    if (last) this.voted.delete(last.showingId);
    if (answer.showing) {
      this.putBack(answer.showing);
      this.note = "Undone: judge this pair again.";
    } else {
      this.note = answer.retracted ? "Undone." : "There is no vote of yours to undo.";
    }
  }

  // Keeps the pairs on this screen ours for as long as somebody is looking at them.
  async renew() {
    if (this.isStopped || document.visibilityState !== "visible" || !this.pairs.length) return;
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
