// The read-only parts of the Train tab; which one is said by props.part.

const root = element.querySelector('[data-part="train"]');
const STAGES = {
  loading: "Reading the votes", encoding: "Encoding answers", fitting: "Fitting the reward head",
  evaluating: "Evaluating", comparing: "Comparing with the checkpoint in use", saving: "Saving the checkpoint",
  "learning curve": "Fitting heads to parts of the votes",
};
const KINDS = {
  train: "Training", encode: "Encoding ahead", reproduce: "Reproducing a run", curve: "Learning curve",
};
const TRIGGERS = {
  click: "the Train button", console: "the console", import: "an import", start: "the server's start",
  resumed: "the end of training", new_pairs: "a rule", cron: "the schedule", after_vote: "a vote",
  reproduce: "the Checkpoints tab", page: "the Checkpoints tab", playground: "the playground",
};
const STATUSES = {
  queued: "waiting", starting: "starting", running: "running", cancelling: "being cancelled",
  succeeded: "succeeded", failed: "failed", cancelled: "cancelled",
};

function startedBy(run) {
  const by = TRIGGERS[run.trigger] || run.trigger;
  return run.actor && run.actor !== "local" ? `${run.actor}, with ${by}` : by;
}

function percent(share, decimals = 1) {
  return share === null || share === undefined ? "–" : `${(100 * share).toFixed(decimals)} %`;
}

function clock(iso) {
  return iso ? new Date(iso).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" }) : "–";
}

// ---- what is new --------------------------------------------------------------------------------

function drawHeadline({ new_judged: count, checkpoint_id: checkpoint, why_not: whyNot, left_out: leftOut }) {
  const missing = leftOut ? [h("p", { class: "rs-missing" }, `${leftOut}.`)] : [];
  if (whyNot) return [h("h2", {}, "Nothing to train on yet"), h("p", {}, whyNot), ...missing];
  const title = checkpoint === null
    ? `${plural(count, "judged pair", "judged pairs")}, no checkpoint yet`
    : count === 0
      ? `Checkpoint ${checkpoint} has seen every judged pair`
      : `${plural(count, "judged pair is", "judged pairs are")} new since checkpoint ${checkpoint}`;
  const text = count === 0
    ? "Judge more pairs on the Label tab; training again now gives the same head."
    : "Training encodes what is not encoded yet, then fits the head: seconds once all is encoded.";
  return [h("h2", {}, title), h("p", {}, text), ...missing];
}

// ---- the newest checkpoint and the runs -------------------------------------------------------------

function accuracyRow(name, share, interval, kind) {
  const track = h("div", { class: "rs-track", "aria-hidden": "true" });
  const left = (value) => `${Math.min(100, Math.max(0, 100 * value))}%`;
  if (interval && interval[0] !== null) {
    const whisker = h("i", { class: "rs-whisker" });
    whisker.style.insetInlineStart = left(interval[0]);
    whisker.style.inlineSize = `${100 * (interval[1] - interval[0])}%`;
    track.append(whisker);
  }
  if (share !== null && share !== undefined) {
    const dot = h("i", { class: `rs-dot ${kind}` });
    dot.style.insetInlineStart = left(share);
    track.append(dot);
  }
  const range = interval && interval[0] !== null ? ` (95 %: ${percent(interval[0])} to ${percent(interval[1])})` : "";
  return h("tr", {}, h("th", { scope: "row" }, name),
    h("td", { class: "rs-number" }, percent(share)), h("td", {}, track), h("td", { class: "rs-range" }, range.trim()));
}

function drawCheckpoint(c) {
  const isFolds = String(c.evaluation).startsWith("cross");
  const name = isFolds ? "Cross-validated accuracy" : "Held-out accuracy";
  const numPairs = c.pairs ?? c.num_heldout;
  const on = isFolds
    ? `Too few held-out prompts are judged, so this is a cross-validation by prompt${numPairs ? ` over ${plural(numPairs, "pair", "pairs")}` : ""}.`
    : `On ${numPairs ? plural(numPairs, "held-out pair", "held-out pairs") : "held-out pairs"} that training never saw.`;
  const facts = [
    c.readout ? `readout ${c.readout}` : null,
    c.layer !== null && c.layer !== undefined ? `layer ${c.layer}` : null,
    c.log_loss !== null && c.log_loss !== undefined ? `log loss ${c.log_loss.toFixed(3)}` : null,
    c.ece !== null && c.ece !== undefined ? `calibration error ${c.ece.toFixed(3)}` : null,
  ].filter(Boolean).join(" · ");
  const state = c.in_use === c.id ? "in use" : c.in_use ? `checkpoint ${c.in_use} is in use` : "not in use";
  return h("div", { class: "rs-box" },
    h("div", { class: "rs-runhead" }, h("h2", {}, `Checkpoint ${c.id}`),
      h("button", { class: "rs-open", type: "button", onclick: () => trigger("open_checkpoints") }, "All checkpoints and details")),
    h("p", {}, `${clock(c.created_at)} · ${state} · ${on}`),
    c.left_out_told ? h("p", { class: "rs-missing" }, c.left_out_told) : null,
    h("table", { class: "rs-accuracy" }, h("tbody", {},
      accuracyRow(name, c.accuracy, c.accuracy_ci, "main"),
      accuracyRow("Length alone", c.length_only_accuracy, c.length_only_accuracy_ci, "base"),
      c.majority_accuracy !== null && c.majority_accuracy !== undefined
        ? accuracyRow("Always one side", c.majority_accuracy, null, "base") : null)),
    lengthLean(c),
    reading(c),
    headAlone(c),
    c.because ? h("p", {}, c.because) : null,
    facts ? h("p", {}, facts) : null);
}

// What the two first rows say together, in words.
function reading(c) {
  if (c.length_only_accuracy === null || c.length_only_accuracy === undefined || c.accuracy === null) return null;
  const rule = c.length_only_rule ? `“${c.length_only_rule}”` : "length alone";
  const low = c.accuracy_ci?.[0];
  if (c.accuracy <= c.length_only_accuracy) return h("p", {}, `This head judges no better than ${rule}: more judged pairs may change that.`);
  if (low === null || low === undefined) return null;
  return h("p", {}, low > c.length_only_accuracy
    ? `Better than ${rule}: the whole 95 % interval lies above it.`
    : `Better than ${rule}, but the 95 % interval reaches down to it: more judged pairs would tell.`);
}

function resultOf(run) {
  if (run.checkpoint_id !== null) return `checkpoint ${run.checkpoint_id}${run.is_thinned ? ", thinned since" : ""}`;
  if (run.goes_on_as) return `the rest is run ${run.goes_on_as}`;
  if (run.status === "succeeded" && ["curve", "reproduce"].includes(run.kind)) return "see Checkpoints";
  return run.error ? sentence(run.error) : "–";
}

// Opened logs by run: the same row from one drawing to the next.
const logRows = new Map();

function logButton(project, run) {
  const flip = ({ currentTarget: button }) => {
    const isOpen = logRows.has(run.id);
    if (isOpen) {
      logRows.get(run.id).remove();
      logRows.delete(run.id);
    } else {
      const row = h("tr", { class: "rs-logrow" }, h("td", { colspan: HEADS.length }, logText(project, run.id)));
      logRows.set(run.id, row);
      button.closest("tr").after(row);
    }
    button.setAttribute("aria-expanded", isOpen ? "false" : "true");
  };
  return h("button", {
    type: "button", class: "rs-open", "aria-expanded": logRows.has(run.id) ? "true" : "false",
    "aria-label": `Log of run ${run.id}`, onclick: flip,
  }, "Log");
}

const HEADS = ["Run", "Kind", "Started by", "Status", "When", "Took", "Device", "Result", ""];

function drawRuns(runs, toldAbove, project) {
  if (!runs.length) return null;
  const rows = runs.flatMap((run) => [h("tr", { "data-status": run.status },
    h("td", {}, String(run.id)), h("td", {}, KINDS[run.kind] || run.kind), h("td", { title: run.reason }, startedBy(run), run.reason ? h("small", {}, sentence(run.reason)) : null),
    h("td", { class: "rs-status" }, run.goes_on_as ? "made way for training" : STATUSES[run.status] || run.status), h("td", {}, clock(run.created_at)),
    h("td", {}, run.elapsed_s === null ? "–" : seconds(run.elapsed_s)), h("td", {}, run.device || "–"),
    h("td", { class: "rs-result" }, run.id === toldAbove ? "see above" : resultOf(run)),
    h("td", {}, run.status === "queued" ? null : logButton(project, run))), logRows.get(run.id)]);
  return h("div", { class: "rs-scroll", tabindex: 0, role: "region", "aria-label": "Runs" },
    h("table", { class: "rs-runs" }, h("thead", {}, h("tr", {}, HEADS.map((text) => (text ? h("th", { scope: "col" }, text) : h("td", {}))))),
      h("tbody", {}, rows)));
}

function drawResults({ checkpoint, recent, told_above: toldAbove, project_id: project }) {
  return [checkpoint ? drawCheckpoint(checkpoint) : null, drawRuns(recent, toldAbove, project)].filter(Boolean);
}

const DRAW = { headline: drawHeadline, run: drawRun, results: drawResults };

function draw() {
  const value = parsed(props.value);
  const nodes = value ? DRAW[props.part](value) : [];
  // Nodes that stay are not touched: a click on one, or the keyboard's place, is not lost.
  if (nodes.length !== root.children.length || nodes.some((node, i) => node !== root.children[i])) root.replaceChildren(...nodes);
}
watch("value", draw);
draw();

// One part asks for news, every second while somebody looks: also where another tab has opened this
// one, of which Gradio's tabs send no event. A tab that is not shown has no boxes on the page.
const LOOK_EVERY_MS = 1000;
if (props.part === "headline") {
  const looking = setInterval(() => {
    if (!element.isConnected) clearInterval(looking);
    else if (!document.hidden && element.getClientRects().length) trigger("look");
  }, LOOK_EVERY_MS);
}
