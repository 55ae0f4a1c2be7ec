// What decides a reward: the share of the coloured text and the share of the end token, which add up to it.

// {text, end, reward}; end is 0 where the head gives the end token nothing.
function partsOf(answer) {
  const { tokens } = answer;
  const end = tokens.contribution.reduce((sum, share, i) => (tokens.text[i] === "" ? sum + share : sum), 0);
  return { text: answer.reward - end, end, reward: answer.reward };
}

// The shares as they are written, so that the written numbers add up: the text's takes what rounding leaves.
function written({ end, reward }, decimals = 3) {
  const round = (number) => Number(number.toFixed(decimals));
  return { text: round(round(reward) - round(end)), end: round(end), reward: round(reward) };
}

// The farthest that any of the answers' bars reaches from zero.
function reachOf(answers) {
  return Math.max(1e-9, ...answers.map(partsOf).flatMap(({ text, reward }) => [Math.abs(text), Math.abs(reward)]));
}

// "text +0.10 · end token +0.53 = reward +0.63" over a bar: the text's share begins at zero, the end
// token's where that ends, and there the reward is.
function drawParts(target, answer, reach, sum) {
  const parts = partsOf(answer);
  const shown = written(parts);
  const at = (value) => 50 + (48 * value) / reach;
  const bar = (kind, from, to) => h("i", {
    class: `rs-part ${kind}`, "data-sign": to < from ? "down" : "up",
    style: `left:${Math.min(at(from), at(to))}%;width:${Math.abs(at(to) - at(from))}%`,
  });
  target.replaceChildren(
    h("p", {}, h("i", { class: "rs-swatch text", "data-sign": parts.text < 0 ? "down" : "up" }), `text ${signed(shown.text)} · `,
      h("i", { class: "rs-swatch end" }), `end token ${signed(shown.end)} = `, h("b", {}, `${sum} ${signed(shown.reward)}`)),
    h("div", { class: "rs-parts-bar", "aria-hidden": "true" }, h("i", { class: "rs-part zero" }),
      bar("text", 0, parts.text), bar("end", parts.text, parts.reward),
      h("i", { class: "rs-part sum", style: `left:${at(parts.reward)}%` })));
}
