// What was given and is not yet known to be saved; no DOM in here.
//
// A verdict is written to localStorage before it is sent and leaves it only when the server has
// committed it. It keeps its id for ever, so sending it again can never count twice. An edited
// answer and a revised verdict travel the same way.

const REQUEST_TIMEOUT_MS = 15000;
const LONGEST_PAUSE_MS = 15000;
const MAX_KEEPALIVE = 50000; // browsers refuse longer bodies that are to outlive the page
const DRAFT_DAYS = 30;

function newId() {
  if (globalThis.crypto?.randomUUID) return crypto.randomUUID(); // needs https or localhost
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}

// `isFinal`: the studio itself has understood what was sent and will not change its mind. Whatever
// stands in between (a proxy, a sign-in page) cannot say so, whichever status it answers.
class RequestError extends Error {
  constructor(message, status, isFinal = false) {
    super(message);
    this.status = status;
    this.isFinal = isFinal;
  }
}

// `scope` says whose page this is, and of which database: votes wait while others are signed in.
async function request(url, body, scope) {
  const stop = new AbortController();
  const timer = setTimeout(() => stop.abort(), REQUEST_TIMEOUT_MS);
  try {
    const text = body === undefined ? "" : JSON.stringify(body);
    const headers = scope ? { "x-studio-scope": encodeURIComponent(scope) } : {};
    const options = body === undefined ? { headers } : {
      method: "POST",
      headers: { ...headers, "content-type": "application/json" },
      body: text,
      // A verdict given just before the tab closes still leaves the browser.
      keepalive: text.length * 3 < MAX_KEEPALIVE,
    };
    const response = await fetch(url, { ...options, signal: stop.signal, cache: "no-store" });
    const isJson = (response.headers.get("content-type") || "").includes("json");
    const answer = isJson ? await response.json() : null;
    if (response.ok && answer) return answer;
    const isFinal = Boolean(answer?.error) && answer.final === true;
    throw new RequestError(answer?.error || `the server answered ${response.status}`, response.status, isFinal);
  } catch (error) {
    if (error instanceof RequestError) throw error;
    throw new RequestError("the server cannot be reached", 0);
  } finally {
    clearTimeout(timer);
  }
}

// Keys of what this person could not send to this project of another database (an earlier one that a
// backup has replaced, say): only there its numbers mean what they meant.
function keysElsewhere(name, scope) {
  const [project, moment, ...owner] = scope.split("/");
  const start = `reward-studio/${name}/${project}/`;
  const end = `/${owner.join("/")}/`;
  return Object.keys(localStorage).filter((key) =>
    key.startsWith(start) && !key.startsWith(`${start}${moment}/`) && key.slice(key.indexOf("/", start.length)).startsWith(end));
}

// Unsent entries {created, attempts, kind, vote}, one localStorage entry each, so that two tabs
// never overwrite each other. `kind` is the route: vote, edit or revise.
class Outbox {
  constructor(name, scope) {
    this.prefix = `reward-studio/${name}/${scope}/`;
    this.memory = new Map();
    this.elsewhere = [];
    this.isDurable = true;
    try {
      const keys = Object.keys(localStorage).filter((key) => key.startsWith(this.prefix));
      this.elsewhere = keysElsewhere(name, scope);
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
  add(kind, vote) {
    this.put({ created: Date.now(), attempts: 0, kind, vote });
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
  // What waits for another database, to be kept in a file.
  textElsewhere() {
    return JSON.stringify(this.elsewhere.map((key) => JSON.parse(localStorage.getItem(key))), null, 1);
  }
  forgetElsewhere() {
    for (const key of this.elsewhere) localStorage.removeItem(key);
    this.elsewhere = [];
  }
  waiting() {
    return this.entries().filter((entry) => !entry.refused);
  }
  refused() {
    return this.entries().filter((entry) => entry.refused);
  }
}

// Sends what waits, one after the other in the order given, so that undo means the last one.
class Sender {
  constructor({ base, scope, outbox, onChange, onStored }) {
    Object.assign(this, { base, scope, outbox, onChange, onStored });
    this.isStopped = false;
    this.waitingFor = ""; // why the newest attempt failed
    this.pause = 0; // until the next attempt; 0 while all is well
  }

  async pump() {
    if (this.isPumping || this.isStopped) return;
    this.isPumping = true;
    clearTimeout(this.retryTimer);
    let entry = null;
    while (!this.isStopped && (entry = this.outbox.waiting()[0])) {
      entry.attempts += 1;
      this.onChange("saving");
      const { answer, error } = await this.send(entry);
      if (answer) {
        this.outbox.remove(entry.vote.vote_id);
        this.pause = 0;
      } else if (error.isFinal) {
        this.outbox.put({ ...entry, refused: error.message });
      } else {
        this.waitingFor = error.message;
        this.pause = Math.min(LONGEST_PAUSE_MS, (this.pause || 500) * 2);
        this.retryTimer = setTimeout(() => this.pump(), this.pause);
      }
      this.onStored(entry, answer);
      if (error && !error.isFinal) break;
      this.onChange("saved");
    }
    this.isPumping = false;
    this.onChange("saving");
  }

  async send(entry) {
    try {
      return { answer: await request(`${this.base}/${entry.kind || "vote"}`, entry.vote, this.scope) };
    } catch (error) {
      return { error };
    }
  }

  stop() {
    this.isStopped = true;
    clearTimeout(this.retryTimer);
  }
}

// What was written about a pair before its verdict: comment, flag, reasons, ratings, edited answers.
// Kept by showing and pair: a restored database gives the same showing to another pair.
class Drafts {
  constructor(scope) {
    this.prefix = `reward-studio/draft/${scope}/`;
    this.memory = new Map();
    try {
      const oldest = Date.now() - DRAFT_DAYS * 24 * 3600 * 1000;
      for (const key of Object.keys(localStorage).filter((each) => each.startsWith(this.prefix))) {
        const draft = JSON.parse(localStorage.getItem(key));
        if (draft.written < oldest) localStorage.removeItem(key);
        else this.memory.set(key.slice(this.prefix.length), draft);
      }
    } catch (error) {
      console.warn("Drafts of an earlier visit could not be read:", error.message);
    }
  }
  keyOf({ showing_id: showingId, pair_id: pairId }) {
    return `${showingId}-${pairId}`;
  }
  of(showing) {
    return { reasons: [], aspects: {}, comment: "", flag: "", edits: {}, ...this.memory.get(this.keyOf(showing)) };
  }
  change(showing, changes) {
    const draft = { ...this.of(showing), ...changes, written: Date.now() };
    this.memory.set(this.keyOf(showing), draft);
    try {
      localStorage.setItem(this.prefix + this.keyOf(showing), JSON.stringify(draft));
    } catch (error) {
      console.debug("A draft is kept in this page only:", error.message);
    }
  }
  drop(showing) {
    this.memory.delete(this.keyOf(showing));
    try {
      localStorage.removeItem(this.prefix + this.keyOf(showing));
    } catch (error) {
      console.debug("A draft could not be removed:", error.message);
    }
  }
}
