// How the figures grew with the number of judged pairs, and what more of them would bring.

const CURVE = { width: 520, height: 220, left: 46, right: 14, top: 12, bottom: 38 };
const HOW = "Heads fitted to random parts of these votes, judged on the same unseen pairs. The line ahead is a power law "
  + "through them. The interval is for the gain on these unseen pairs and covers which pairs happen to be judged and where the law leads.";
// benchmarks/results/learning_curve.json; a test holds the two together.
const HELD = { accuracy: 96, log_loss: 97 };
const TESTED = `In a backtest on two sets the gain that came lay in the interval in ${HELD.accuracy} % of cases for accuracy, ${HELD.log_loss} % for log loss.`;

function curveScales(curve, more) {
  const { width, height, left, right, top, bottom } = CURVE;
  const last = curve.pairs + more;
  const all = curve.points.flatMap((p) => [...p.accuracy_ci, p.accuracy]);
  const step = tickStep(Math.max(...all) - Math.min(...all) || 0.1, 4);
  const low = Math.floor(Math.min(...all) / step) * step;
  const high = Math.ceil(Math.max(...all) / step) * step;
  return {
    x: (n) => left + ((width - left - right) * n) / last,
    y: (v) => height - bottom - ((height - bottom - top) * (Math.min(v, high) - low)) / (high - low),
    xTicks: ticks(0, last, tickStep(last, 6, 1)), yTicks: ticks(low, high, step),
  };
}

function curvePlot(curve, gain) {
  const { x, y, xTicks, yTicks } = curveScales(curve, gain.more);
  const end = curve.points.at(-1);
  const ahead = end.accuracy + gain.accuracy;
  const marks = [
    ...yTicks.flatMap((v) => [
      svg("line", { class: "rs-grid", x1: CURVE.left, x2: CURVE.width - CURVE.right, y1: y(v), y2: y(v) }),
      svg("text", { x: CURVE.left - 8, y: y(v) + 4, "text-anchor": "end" }, `${Math.round(100 * v)} %`),
    ]),
    ...xTicks.map((n) => svg("text", { x: x(n), y: CURVE.height - CURVE.bottom + 16, "text-anchor": "middle" }, (n || 0).toLocaleString("en"))),
    svg("text", { x: (CURVE.left + CURVE.width) / 2, y: CURVE.height - 4, "text-anchor": "middle" }, "judged pairs"),
    svg("polyline", { class: "rs-seen", points: curve.points.map((p) => `${x(p.pairs)},${y(p.accuracy)}`).join(" ") }),
    ...curve.points.flatMap((p) => [
      svg("line", { class: "rs-bar", x1: x(p.pairs), x2: x(p.pairs), y1: y(p.accuracy_ci[0]), y2: y(p.accuracy_ci[1]) }),
      svg("circle", { class: "rs-bin", cx: x(p.pairs), cy: y(p.accuracy), r: 4 },
        svg("title", {}, `${p.pairs} pairs: ${percent(p.accuracy)} (95 %: ${between(p.accuracy_ci)})`)),
    ]),
    svg("line", { class: "rs-ahead", x1: x(end.pairs), y1: y(end.accuracy), x2: x(curve.pairs + gain.more), y2: y(ahead) }),
    svg("line", {
      class: "rs-bar", x1: x(curve.pairs + gain.more) - 1, x2: x(curve.pairs + gain.more) - 1,
      y1: y(end.accuracy + gain.accuracy_ci[0]), y2: y(end.accuracy + gain.accuracy_ci[1]),
    }),
  ];
  const said = curve.points.map((p) => `${p.pairs} pairs ${percent(p.accuracy)}`).join(", ");
  return svg("svg", { class: "rs-learning", viewBox: `0 0 ${CURVE.width} ${CURVE.height}`, role: "img", "aria-label": `Accuracy by judged pairs: ${said}` }, ...marks);
}

// `state.more` is kept by the caller, so that a refresh does not take the choice back.
function curveCard(c, isWorking, state, workOut, redraw, failure) {
  const title = "What would more votes bring?";
  const button = h("button", { type: "button", class: "rs-button", disabled: isWorking, onclick: workOut },
    isWorking ? "Working it out …" : c.learning_curve ? "Work it out again" : "Work it out");
  if (!c.learning_curve) {
    return card(title, h("p", {}, "Fits heads to parts of these votes and sees how the figures grow. It takes some seconds; training goes first."), failure, button);
  }
  const curve = c.learning_curve;
  const gain = curve.gains.find((each) => each.more === state.more) || curve.gains.find((each) => each.more === 200) || curve.gains[0];
  const select = h("select", { "aria-label": "How many more judged pairs", onchange: (event) => { state.more = Number(event.target.value); redraw(); } },
    curve.gains.map((each) => h("option", { value: each.more, selected: each.more === gain.more }, each.more.toLocaleString("en"))));
  return card(title, failure, h("p", { class: "rs-answer" }, c.more_votes[gain.more]), curvePlot(curve, gain),
    h("div", { class: "rs-actions" }, h("label", {}, "More judged pairs ", select), button),
    h("p", {}, `${HOW} ${TESTED} ${plural(curve.orders, "random order", "random orders")}, ${plural(curve.test_pairs, "unseen pair", "unseen pairs")}, ${curve.elapsed_s.toFixed(1)} s.`));
}
