// Where a checkpoint comes from, in both directions; the candidates it was chosen from; its card.

function lineageCard(c, lookUp) {
  const votes = c.votes;
  const by = votes ? votes.by.map((each) => `${annotatorName(each.name)} ${each.votes.toLocaleString("en")}`).join(", ") : "–";
  const others = votes?.others?.people ? `, and ${plural(votes.others.people, "other", "others")} with ${plural(votes.others.votes, "vote", "votes")}` : "";
  const counts = c.snapshot?.counts || {};
  const leftOut = Object.entries(counts.left_out || {}).map(([reason, number]) => `${number.toLocaleString("en")} ${reason.replaceAll("_", " ")}`).join(", ");
  const steps = [
    ["Votes", votes ? `${whose(votes)}: ${by}${others}` : "not known", leftOut ? `left out: ${leftOut}` : ""],
    ["Snapshot", c.snapshot ? `${c.snapshot.digest.slice(0, 12)}… of ${when(c.snapshot.created_at)}` : "none", counts.pairs ? `${plural(counts.pairs, "judged pair", "judged pairs")}` : ""],
    ["Run", `run ${c.run_id}${c.actor && c.actor !== "local" ? `, asked for by ${c.actor}` : ""}`, [c.reason ? sentence(c.reason) : "", c.run.elapsed_s ? `${c.run.elapsed_s.toFixed(1)} s on ${c.run.device || "cpu"}` : ""].filter(Boolean).join(" ")],
    ["Checkpoint", c.directory, `weights sha256 ${c.weights_sha256.slice(0, 12)}…${c.is_there ? "" : "; its files cannot be read"}`],
  ];
  return card("Where it comes from",
    h("ol", { class: "rs-lineage" }, steps.map(([name, value, note]) => h("li", {}, h("strong", {}, name), h("span", { dir: "auto" }, value), note ? h("small", {}, note) : null))),
    lookUp);
}

// Which checkpoints were trained with votes on a pair: its number in, a sentence out.
function pairLookUp(ask, base) {
  const answer = h("p", { role: "status" });
  const field = h("input", { type: "text", inputmode: "numeric", placeholder: "Pair number", "aria-label": "Pair number", size: 12 });
  const look = async (event) => {
    event.preventDefault();
    const wanted = field.value.trim();
    if (!/^[0-9]{1,9}$/.test(wanted)) {
      answer.textContent = "Give the number of a pair, such as 12.";
      return;
    }
    try {
      const found = await ask(`${base}/pairs/${wanted}/checkpoints`);
      const held = found.split === "heldout" ? " The pair is held out: it is used to judge heads, never to fit them." : "";
      const listed = found.checkpoints.map((each) => `${each.id} (${plural(each.votes, "vote", "votes")})`).join(", ");
      answer.textContent = (listed ? `Votes on pair ${found.pair} are in the snapshots of checkpoint ${listed}.` : `No checkpoint has seen a vote on pair ${found.pair}.`) + held;
    } catch (error) {
      answer.textContent = sentence(error.message);
    }
  };
  return h("form", { class: "rs-lookup", onsubmit: look }, h("span", {}, "And the other way: which checkpoints used pair"), field,
    h("button", { type: "submit", class: "rs-button" }, "Look up"), answer);
}

function candidatesCard(c) {
  if (!c.candidates.length) return null;
  const rows = c.candidates.map((each) => h("tr", { "data-chosen": each.chosen ? "yes" : "no" },
    h("td", {}, String(each.layer)), h("td", {}, each.readout), h("td", {}, each.penalty.toPrecision(2)),
    h("td", {}, each.left_out_log_loss.toFixed(4)), h("td", {}, percent(each.left_out_accuracy)), h("td", {}, each.chosen ? "chosen" : "")));
  const heads = ["Layer", "Readout", "Penalty", "Log loss", "Accuracy", ""];
  return card("What it was chosen from",
    h("p", {}, c.head_of
      ? `Not chosen anew: layer, readout and penalty are those of checkpoint ${c.head_of}. Objective ${c.objective}.`
      : `Every candidate judged by training pairs left out prompt by prompt; the lowest log loss is chosen. Objective ${c.objective}.`),
    h("div", { class: "rs-scroll", role: "region", tabindex: 0, "aria-label": "Candidates" },
      h("table", { class: "rs-list" }, h("thead", {}, h("tr", {}, heads.map((name) => h("th", { scope: "col" }, name)))), h("tbody", {}, rows))));
}

function modelCard(c) {
  if (!c.model_card) return null;
  return h("section", { class: "rs-box", "aria-label": "Model card" },
    h("details", {}, h("summary", {}, h("h3", {}, "Model card")), h("pre", { tabindex: 0 }, c.model_card)));
}
