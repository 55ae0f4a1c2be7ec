// What the line below the verdicts says: saving, saved, waiting, refused. It never changes its height
// while all goes well, or the verdicts would move under a finger.

function savedSentence({ kind, choice, strength, side, status, setAside }) {
  if (kind === "edit") return `your answer, as better than the ${side} one`;
  const verdict = VERDICTS.find((v) => v.choice === choice && v.strength === strength);
  const name = verdict ? verdict.name : { skip: "Skipped", flag: "Flagged" }[choice];
  const left = [...(setAside?.reasons || []), ...(setAside?.aspects || [])];
  return name + (status === "surplus" ? " (the pair had its votes already: kept as surplus)" : "")
    + (left.length ? ` (without what the project no longer offers: ${left.join(", ")})` : "");
}

// Where the answers of the pair before came from: nobody may know before the verdict.
function revealed({ reveal }) {
  if (!reveal?.left && !reveal?.right) return null;
  const [left, right] = [reveal.left || "an unnamed source", reveal.right || "an unnamed source"];
  return h("span", { class: "rs-reveal", title: `Left was from ${left}, right from ${right}` },
    h("span", { class: "rs-narrow" }, "Top: "), h("span", { class: "rs-wide" }, "Left was from "), h("b", {}, left),
    h("span", { class: "rs-narrow" }, " · bottom: "), h("span", { class: "rs-wide" }, ", right from "), h("b", {}, right));
}

// Worth more than one line: what was kept otherwise than it was given.
function isUnusual({ status, setAside }) {
  return status === "surplus" || Boolean(setAside?.reasons?.length || setAside?.aspects?.length);
}

function setSaveState(state, nodes, ...buttons) {
  part("save").dataset.save = state;
  part("save").classList.toggle("rs-long", state === "saved" && isUnusual(queue.lastSaved));
  const line = part("save-text");
  const text = nodes.map((node) => node.textContent ?? node).join("");
  if (line.textContent !== text) line.replaceChildren(...nodes);
  part("save-actions").replaceChildren(...buttons);
}

function showSaving() {
  const waiting = queue.outbox.waiting();
  const refused = queue.outbox.refused();
  const { lastSaved } = queue;
  if (queue.isUndoing) {
    setSaveState("saving", ["Undoing …"]);
  } else if (waiting.some((entry) => entry.attempts > 0) && queue.sender.pause) {
    const kept = queue.outbox.isDurable ? "" : " Keep this page open: this browser cannot store them.";
    setSaveState("waiting",
      [`${plural(waiting.length, "vote", "votes")} waiting to be saved: ${queue.sender.waitingFor}. Trying again.${kept}`],
      link("Try now", () => queue.retryNow(), "small"));
  } else if (waiting.length) {
    setSaveState("saving", ["Saving …"]);
  } else if (refused.length) {
    setSaveState("refused",
      [`${plural(refused.length, "vote was", "votes were")} refused and not saved: ${sentence(refused[0].refused)}`],
      link("Send again", () => queue.sendRefusedAgain(), "small"), link("Dismiss", () => queue.dismissRefused(), "small"));
  } else if (queue.note) {
    setSaveState("note", [queue.note]);
  } else if (lastSaved) {
    setSaveState("saved", [
      h("span", { class: "rs-said" }, "Saved", h("span", { class: "rs-wide" }, `: ${savedSentence(lastSaved)}`)), revealed(lastSaved),
    ].filter(Boolean));
  } else if (queue.outbox.elsewhere.length) {
    const { outbox } = queue;
    setSaveState("waiting",
      [`${plural(outbox.elsewhere.length, "vote", "votes")} kept here, given before a backup came back`],
      link("Save as a file", () => saveFile(new Blob([outbox.textElsewhere()], { type: "application/json" }), "unsent-votes.json"), "small"),
      link("Discard", () => { outbox.forgetElsewhere(); showSaving(); }, "small"));
  } else {
    setSaveState("idle", ["Every verdict is saved as you give it"]);
  }
}
