// Unseen pairs on which this head and the one that was in use disagree, to read.

function points(value) {
  return signed(100 * value, 1);
}

function comparedCard(c) {
  const compared = c.comparison;
  if (!compared) return card("Against the one before", h("p", {}, "It is the first, so there is nothing to compare it with."));
  const flips = c.flipped;
  const figures = compared.outcome === null || compared.outcome === undefined ? null
    : h("dl", { class: "rs-facts" },
      fact("Accuracy", `${points(compared.accuracy_difference)} points`, `95 %: ${points(compared.accuracy_difference_ci[0])} to ${points(compared.accuracy_difference_ci[1])}`),
      fact("Log loss", signed(compared.log_loss_difference), compared.log_loss_difference_ci
        ? `95 %: ${signed(compared.log_loss_difference_ci[0])} to ${signed(compared.log_loss_difference_ci[1])}; below 0 is better` : ""),
      fact("Right where the other is wrong", String(compared.only_new_right), `wrong where the other is right: ${compared.only_old_right}; McNemar's p ${compared.mcnemar_p.toFixed(3)}`));
  const why = figures ? "The difference on the same unseen pairs, with its interval by prompts." : `They could not be compared: ${compared.problem || "too few pairs are decided"}.`;
  return card(`Against checkpoint ${compared.against}`, h("p", {}, why), figures,
    figures && flips ? flipsList(flips, compared.pairs) : null);
}

function fact(name, value, note) {
  return h("div", {}, h("dt", {}, name), h("dd", {}, value, note ? h("small", {}, ` ${note}`) : null));
}

function flipsList(flips, numCompared) {
  const total = flips.now_right + flips.now_wrong;
  if (!total) return h("p", {}, `The two give the same verdict on ${numCompared === 1 ? "the one pair" : `all ${numCompared.toLocaleString("en")} pairs`} compared.`);
  const shown = flips.pairs.length < total ? `, the ${flips.pairs.length} clearest of them` : "";
  return h("div", { class: "rs-flips" },
    h("p", {}, `${plural(total, "verdict has", "verdicts have")} changed since checkpoint ${flips.against} (${flips.now_right} now right, ${flips.now_wrong} now wrong)${shown}:`),
    flips.pairs.map((pair) => flip(pair, flips.against)));
}

function chance(logit) {
  return percent(1 / (1 + Math.exp(-logit)), 0);
}

function flip(pair, against) {
  const prompt = [...pair.messages].reverse().find((message) => message.role === "user") || pair.messages.at(-1);
  const aWins = pair.target > 0.5;
  const side = (name, text, place, isBetter) => h("div", { class: "rs-side" },
    h("strong", {}, `Answer ${name}${isBetter ? ", judged better" : ""}`),
    pair.rewards ? h("span", { class: "rs-reward" }, `reward ${signed(pair.rewards[place])}${pair.old_rewards ? `, was ${signed(pair.old_rewards[place])}` : ""}`) : null,
    h("div", { class: "rs-text", dir: "auto", tabindex: 0, role: "region", "aria-label": `Answer ${name}` }, text));
  return h("details", { class: "rs-flip", "data-right": pair.now_right ? "yes" : "no" },
    h("summary", {}, h("span", { class: "rs-verdict" }, pair.now_right ? "now right" : "now wrong"),
      h("span", { class: "rs-prompt", dir: "auto" }, prompt ? prompt.content : ""),
      h("small", {}, `pair ${pair.pair} · probability of A ${chance(pair.old_logit)} → ${chance(pair.logit)}`)),
    pair.messages.length > 1 ? h("p", {}, `${plural(pair.messages.length - 1, "earlier turn", "earlier turns")} not shown`) : null,
    h("p", { class: "rs-text", dir: "auto" }, prompt ? prompt.content : ""),
    h("div", { class: "rs-sides" }, side("A", pair.response_a, 0, aWins), side("B", pair.response_b, 1, !aWins)));
}
