// The end of a run's log, asked for when somebody opens it: few are ever read.

function logText(project, run) {
  const shown = h("pre", { tabindex: 0, "aria-label": `The end of the log of run ${run}` });
  const read = async () => {
    try {
      const response = await fetch(`/api/projects/${project}/runs/${run}/log`, { cache: "no-store" });
      const answer = await response.json();
      shown.textContent = response.ok ? answer.log || "It has printed nothing." : sentence(answer.error);
    } catch {
      shown.textContent = "The log could not be read: the server cannot be reached.";
    }
    shown.scrollTop = shown.scrollHeight;
  };
  read();
  return shown;
}

function runLog(project, run) {
  const box = h("details", { "data-run": run }, h("summary", {}, `The end of the log of run ${run}`));
  box.addEventListener("toggle", () => {
    if (box.open) box.replaceChildren(box.firstChild, logText(project, run));
  });
  return box;
}
