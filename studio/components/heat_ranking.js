// Which answer is best, how far the others are behind, and how sure that is.

function behind(index, best, data) {
  if (index === best) return "–";
  const difference = data.answers[index].reward - data.answers[best].reward;
  const std = data.difference_std?.[index][best];
  return std === undefined ? signed(difference, 2) : `${signed(difference, 2)} ± ${std.toFixed(2)}`;
}

// `other` is the comparison by a second checkpoint, which gives a column; without one, null.
function rankingTable(data, other) {
  const order = ranked(data);
  const best = order[0];
  const heads = ["", "Answer", "Reward", "Behind the best", "P(better than the best)"];
  if (other) heads.push(`Reward by checkpoint ${other.checkpoint.id}`);
  const rows = order.map((index, rank) => h("tr", { "data-answer": NAMES[index] },
    h("td", { class: "num" }, `${rank + 1}.`), h("th", { scope: "row" }, NAMES[index]),
    h("td", { class: "num" }, signed(data.answers[index].reward)),
    h("td", { class: "num" }, behind(index, best, data)),
    h("td", { class: "num" }, index === best ? "–" : percent(data.prob_better[index][best])),
    other ? h("td", { class: "num" }, signed(other.answers[index].reward)) : null));
  return h("table", { class: "rs-table" }, other ? h("caption", {}, `Ranked by checkpoint ${data.checkpoint.id}`) : null,
    h("thead", {}, h("tr", {}, heads.map((text) => h("th", { scope: "col" }, text)))), h("tbody", {}, rows));
}

function matrixTable(data, other) {
  const order = ranked(data);
  const cell = (row, column) => {
    if (row === column) return h("td", { class: "rs-self" }, "·");
    const probability = data.prob_better[row][column];
    const std = data.difference_std?.[row][column];
    const difference = data.answers[row].reward - data.answers[column].reward;
    const title = `${NAMES[row]} − ${NAMES[column]}: ${signed(difference)}${std === undefined ? "" : ` ± ${std.toFixed(3)}`}`;
    return h("td", { class: "num", title, "data-l": levelOf(probability - 0.5, 0.5) }, percent(probability));
  };
  return h("table", { class: "rs-table rs-matrix" },
    h("caption", {}, `P(row is better than column)${other ? ` by checkpoint ${data.checkpoint.id}` : ""}`),
    h("thead", {}, h("tr", {}, h("td", {}), order.map((index) => h("th", { scope: "col" }, NAMES[index])))),
    h("tbody", {}, order.map((row) => h("tr", {}, h("th", { scope: "row" }, NAMES[row]), order.map((column) => cell(row, column))))));
}

function drawRanking(target, data, other) {
  const sure = data.difference_std
    ? "± one standard deviation of the difference, by the Laplace posterior of the head; the probabilities count it in."
    : "This checkpoint was saved without its uncertainty: the probabilities know the rewards alone.";
  target.replaceChildren(...(data.answers.length < 2 ? [] : [
    h("div", { class: "rs-tables" }, rankingTable(data, other), matrixTable(data, other)), h("p", { class: "rs-source" }, sure)]));
}
