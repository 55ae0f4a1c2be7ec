// How far a head's rewards follow the answers' length: to be read before it is trusted.

const TELLING = 0.5; // as in studio/services/playground.py

// A box for figures that have the correlation; older checkpoints lack it.
function lengthLean(figures) {
  const r = figures.reward_length_correlation;
  if (r === null || r === undefined) return null;
  const isTelling = Math.abs(r) >= TELLING;
  const likes = r > 0 ? "longer" : "shorter";
  const how = `correlation of reward and length ${signed(r, 2)} on these pairs`;
  return h("p", { class: "rs-lean", "data-telling": isTelling ? "yes" : "no" },
    isTelling
      ? [h("strong", {}, `Its rewards follow length: ${how}.`), ` The ${likes} of two answers mostly gets the higher reward${people(figures, likes)}.`]
      : `Its rewards ${Math.abs(r) < 0.3 ? "hardly follow length" : "follow length in part"} (${how}).`);
}

// How often people chose that one, as far as the rule without a model says it.
function people(figures, likes) {
  const share = figures.length_only_accuracy;
  if (share === null || share === undefined || !figures.length_only_rule) return "";
  const chosen = figures.length_only_rule.includes(likes) ? share : 1 - share;
  return `; people judged the ${likes} one better in ${(100 * chosen).toFixed(0)} % of them`;
}
