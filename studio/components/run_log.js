// The end of a run's log, asked for when somebody opens it: few are ever read.

function runLog(project, run, summary = `The end of the log of run ${run}`) {
  const shown = h("pre", { tabindex: 0, "aria-label": `The end of the log of run ${run}` });
  const box = h("details", { "data-run": run }, h("summary", {}, summary), shown);
  box.addEventListener("toggle", async () => {
    if (!box.open) return;
    try {
      const response = await fetch(`/api/projects/${project}/runs/${run}/log`, { cache: "no-store" });
      const answer = await response.json();
      shown.textContent = response.ok ? answer.log || "It has printed nothing." : sentence(answer.error);
    } catch {
      shown.textContent = "The log could not be read: the server cannot be reached.";
    }
    shown.scrollTop = shown.scrollHeight;
  });
  return box;
}
