// Figures of one checkpoint as people read them: shares with their intervals on one common scale.

function percent(share, decimals = 1) {
  return share === null || share === undefined ? "–" : `${(100 * share).toFixed(decimals)} %`;
}

function between(interval) {
  return interval ? `${(100 * interval[0]).toFixed(1)} to ${percent(interval[1])}` : "";
}

// Half the width of an interval, in points: how sure a share is at a glance.
function plusMinus(interval) {
  return interval ? ` ± ${(50 * (interval[1] - interval[0])).toFixed(1)}` : "";
}

function when(iso) {
  return iso ? new Date(iso).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" }) : "–";
}

// A dot with its interval between 0 and 100 %, the line in the middle being chance.
function track(share, interval, kind = "main") {
  const box = h("div", { class: "rs-track", "aria-hidden": "true" });
  const at = (value) => `${Math.min(100, Math.max(0, 100 * value))}%`;
  if (interval) {
    const whisker = h("i", { class: "rs-whisker" });
    whisker.style.insetInlineStart = at(interval[0]);
    whisker.style.inlineSize = `${100 * (interval[1] - interval[0])}%`;
    box.append(whisker);
  }
  if (share !== null && share !== undefined) {
    const dot = h("i", { class: `rs-dot ${kind}` });
    dot.style.insetInlineStart = at(share);
    box.append(dot);
  }
  return box;
}

function shareRow(name, share, interval, kind, note = "") {
  return h("tr", {}, h("th", { scope: "row" }, name), h("td", { class: "rs-number" }, percent(share)),
    h("td", { class: "rs-trackcell" }, track(share, interval, kind)),
    h("td", { class: "rs-range" }, [interval ? `95 %: ${between(interval)}` : "", note].filter(Boolean).join(" · ")));
}

function isFolds(figures) {
  return String(figures.evaluation).startsWith("cross");
}

function onWhat(figures) {
  const pairs = plural(figures.pairs || 0, "pair", "pairs");
  return isFolds(figures)
    ? `Too few held-out prompts are judged, so the figures come from a cross-validation by prompt over ${pairs}.`
    : `On ${pairs} of ${plural(figures.prompts || 0, "held-out prompt", "held-out prompts")} that training never saw.`;
}

// What the head and the rule without a model say together.
function beside(figures) {
  const { accuracy, accuracy_ci: interval, length_only_accuracy: length } = figures;
  if (accuracy === null || accuracy === undefined || length === null || length === undefined) return "";
  const rule = figures.length_only_rule ? `“${figures.length_only_rule}”` : "length alone";
  if (accuracy <= length) return `This head judges no better than ${rule}, which reads nothing. More judged pairs may change that.`;
  if (!interval) return "";
  return interval[0] > length ? `Better than ${rule}: the whole interval lies above it.`
    : `Better than ${rule}, but the interval reaches down to it: it may be no better.`;
}

function accuracyTable(figures) {
  const name = isFolds(figures) ? "Cross-validated accuracy" : "Held-out accuracy";
  return h("table", { class: "rs-shares" }, h("tbody", {},
    shareRow(name, figures.accuracy, figures.accuracy_ci, "main"),
    shareRow("Length alone", figures.length_only_accuracy, figures.length_only_accuracy_ci, "base"),
    figures.majority_accuracy === null || figures.majority_accuracy === undefined ? null
      : shareRow("Always one side", figures.majority_accuracy, null, "base"),
    peopleRow(figures)));
}

// What an accuracy can mean at most: how often one person's choice is that of the others' majority.
function peopleRow(figures) {
  const people = figures.human_agreement;
  if (people?.ceiling !== null && people?.ceiling !== undefined) {
    const alpha = people.alpha === null ? "" : `Krippendorff's alpha ${people.alpha.toFixed(2)}`;
    return shareRow("People with each other", people.ceiling, people.ceiling_ci, "base", alpha);
  }
  if (figures.vote_agreement === null || figures.vote_agreement === undefined) return null;
  return shareRow("People with each other", figures.vote_agreement, null, "base", "one vote against the majority of the others");
}

// ---- is a probability what it says? ------------------------------------------------------------

const PLOT_SIZE = 260;
const EDGE = { left: 40, bottom: 36, top: 10, right: 12 };

function reliabilityPlot(bins) {
  const x = (p) => EDGE.left + (PLOT_SIZE - EDGE.left - EDGE.right) * (p - 0.5) * 2;
  const y = (p) => PLOT_SIZE - EDGE.bottom - (PLOT_SIZE - EDGE.bottom - EDGE.top) * p;
  const marks = [0, 0.25, 0.5, 0.75, 1].flatMap((p) => [
    svg("line", { class: "rs-grid", x1: x(0.5), x2: x(1), y1: y(p), y2: y(p) }),
    svg("text", { x: EDGE.left - 8, y: y(p) + 4, "text-anchor": "end" }, String(p)),
  ]);
  const below = [0.5, 0.75, 1].map((p) =>
    svg("text", { x: x(p), y: PLOT_SIZE - EDGE.bottom + 16, "text-anchor": "middle" }, String(p)));
  const most = Math.max(...bins.map((bin) => bin.pairs));
  const dots = bins.map((bin) => svg("circle", {
    class: "rs-bin", cx: x(bin.confidence), cy: y(bin.accuracy), r: 3 + 4 * Math.sqrt(bin.pairs / most),
  }, svg("title", {}, `said ${percent(bin.confidence)}, was right ${percent(bin.accuracy)} (${plural(bin.pairs, "pair", "pairs")})`)));
  const said = bins.map((bin) => `said ${percent(bin.confidence, 0)}, right ${percent(bin.accuracy, 0)}`).join("; ");
  return svg("svg", { class: "rs-reliability", viewBox: `0 0 ${PLOT_SIZE} ${PLOT_SIZE}`, role: "img", "aria-label": `Reliability: ${said}` },
    ...marks, ...below, svg("line", { class: "rs-ideal", x1: x(0.5), y1: y(0.5), x2: x(1), y2: y(1) }), ...dots,
    svg("text", { x: x(0.75), y: PLOT_SIZE - 4, "text-anchor": "middle" }, "probability it gives its favourite"));
}

function calibration(figures) {
  const bins = figures.reliability || [];
  if (!bins.length) return null;
  const { ece, ece_noise_floor: floor } = figures;
  const verdict = ece <= floor * 1.5
    ? "about what chance makes of this number of pairs, so nothing speaks against its probabilities."
    : "more than chance makes of this number of pairs: take its probabilities with care.";
  return card("Can its probabilities be trusted?",
    reliabilityPlot(bins),
    h("p", {}, `Each dot is a tenth of the pairs: how sure the head was, and how often it was right. On the line it would be exactly right. Calibration error ${ece.toFixed(3)}, where a perfect head would show ${floor.toFixed(3)}: ${verdict}`));
}

function card(title, ...children) {
  return h("section", { class: "rs-box", "aria-label": title }, h("h3", {}, title), ...children);
}
