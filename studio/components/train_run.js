// The run at work and the newest one that failed: boxes that are made once a run and then kept up.

const ENCODING_EXPLAINED = "The backbone reads every answer once and keeps what it saw, so that training finds the "
  + "work done. Label meanwhile; or press Train: it goes first, and encoding goes on after it.";

function progressLine(run) {
  const parts = [run.status === "queued" ? "waiting for its turn"
    : run.status === "starting" ? "starting" : run.status === "cancelling" ? "cancelling"
      : STAGES[run.stage] || run.stage || "starting"];
  const isEncoding = run.stage === "encoding";
  if (run.total) parts.push(`${run.done.toLocaleString("en")} of ${plural(run.total, isEncoding ? "answer" : "step", isEncoding ? "answers" : "steps")}`);
  if (run.device) parts.push(run.device);
  if (run.status !== "queued") parts.push(`${seconds(run.elapsed_s)} so far`);
  if (run.eta_s !== null && run.eta_s !== undefined) parts.push(`about ${roughly(run.eta_s)} left`);
  else if (isEncoding && run.status === "running") parts.push("measuring how long it takes");
  return parts.join(" · ");
}

// A time ahead is an estimate: "about 3 min", not "about 2 min 47 s".
function roughly(value) {
  return value < 55 ? `${Math.max(5, 5 * Math.round(value / 5))} s` : seconds(60 * Math.max(1, Math.round(value / 60))).replace(" 0 s", "");
}

// The box of one run, with the parts of it that move.
function newRunBox(active) {
  const bar = h("div", {
    class: "rs-runbar", role: "progressbar", "aria-label": `Run ${active.id}`, "aria-valuemin": 0, "aria-valuemax": 100,
  }, h("i"));
  const from = h("span");
  const line = h("div", { class: "rs-runline" });
  // The click names the run that is shown: by then another one may be at work.
  const cancel = h("button", { type: "button", class: "rs-cancel", onclick: () => trigger("cancel_run", { run: active.id }) }, "Cancel run");
  const log = h("details", {}, h("summary", {}, "Log"), h("pre", { tabindex: 0, "aria-label": "The end of the run's log" }));
  log.addEventListener("toggle", () => scrollToEnd(log.lastChild));
  const box = h("div", { class: "rs-box" },
    h("div", { class: "rs-runhead" }, h("strong", {}, `${KINDS[active.kind] || active.kind} · run ${active.id}`), from),
    bar, line,
    active.reason ? h("p", {}, sentence(active.reason)) : null,
    active.kind === "encode" ? h("p", {}, ENCODING_EXPLAINED) : null,
    h("div", {}, cancel), log);
  return { id: active.id, box, bar, from, line, cancel, log };
}

let shownRun = null;
function drawActive(active, queued) {
  if (shownRun?.id !== active.id) shownRun = newRunBox(active);
  const { box, bar, from, line, cancel, log } = shownRun;
  const share = active.total ? (100 * active.done) / active.total : null;
  bar.dataset.known = share === null ? "no" : "yes";
  bar.firstElementChild.style.inlineSize = share === null ? "" : `${share}%`;
  if (share === null) bar.removeAttribute("aria-valuenow");
  else bar.setAttribute("aria-valuenow", Math.round(share));
  from.textContent = `started by ${startedBy(active)}${queued ? ` · ${plural(queued, "more run waits", "more runs wait")}` : ""}`;
  line.textContent = progressLine(active);
  cancel.disabled = active.status === "cancelling";
  log.hidden = !active.log;
  showLog(log.lastChild, active.log || "");
  return box;
}

// At its end, unless somebody has scrolled up.
function showLog(shown, text) {
  if (shown.textContent === text) return;
  const isAtEnd = shown.scrollTop + shown.clientHeight >= shown.scrollHeight - 24;
  shown.textContent = text;
  if (isAtEnd) requestAnimationFrame(() => scrollToEnd(shown));
}

function scrollToEnd(node) {
  node.scrollTop = node.scrollHeight;
}

function drawFailed(failed, project) {
  return h("div", { class: "rs-box bad", role: "alert" },
    h("strong", {}, `${KINDS[failed.kind] || "Run"} failed (run ${failed.id}, ${clock(failed.finished_at)})`),
    h("p", {}, failed.error ? sentence(failed.error) : "It stopped without saying why."),
    runLog(project, failed.id));
}

let shownFailure = null;
function drawRun({ active, queued, failed, project_id: project }) {
  const key = JSON.stringify([project, failed]);
  if (failed && shownFailure?.dataset.failure !== key) {
    shownFailure = drawFailed(failed, project);
    shownFailure.dataset.failure = key;
  }
  return [active ? drawActive(active, queued) : null, failed ? shownFailure : null].filter(Boolean);
}
