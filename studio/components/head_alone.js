// A head that was fitted alone, after votes: what was not chosen anew, and what that means for its figures.

function headAlone(figures) {
  if (figures.head_of === null || figures.head_of === undefined) return null;
  const folds = String(figures.evaluation).startsWith("cross")
    ? " Its cross-validation did not choose them anew either, so that its figures may be a little too good." : "";
  return h("p", {}, `Only the head is new: layer, readout and penalty are those that checkpoint ${figures.head_of} chose, the figures are this head's own.${folds}`);
}
