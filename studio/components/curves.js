// Line charts over whole steps. Everything is drawn anew when the value changes: a few dozen points.

const WIDTH = 400;
const HEIGHT = 176;
const PLOT = { left: 44, top: 10, bottom: 34 }; // room for the ticks
const NAMES_WIDTH = 66; // and, where there are several lines, for their names at the right
const LABEL_GAP = 14;
const SOLVER_STEP = "solver step"; // what the horizontal axis counts, unless the chart says otherwise

function scales(series) {
  const right = WIDTH - (series.length > 1 ? NAMES_WIDTH : 10);
  const steps = series.flatMap((line) => line.points.map(([step]) => step));
  const values = series.flatMap((line) => [
    ...line.points.map(([, value]) => value), ...(line.band || []).flatMap(([, low, high]) => [low, high]),
  ]);
  const [first, last] = [Math.min(...steps), Math.max(...steps, Math.min(...steps) + 1)];
  const yStep = tickStep(Math.max(...values) - Math.min(...values) || 0.1, 4);
  const low = Math.floor(Math.min(...values) / yStep + 1e-6) * yStep;
  const high = Math.max(Math.ceil(Math.max(...values) / yStep - 1e-6) * yStep, low + yStep);
  return {
    x: (step) => PLOT.left + ((right - PLOT.left) * (step - first)) / (last - first),
    y: (value) => HEIGHT - PLOT.bottom - ((HEIGHT - PLOT.top - PLOT.bottom) * (value - low)) / (high - low),
    xTicks: ticks(first, last, tickStep(last - first, 6, 1)),
    yTicks: ticks(low, high, yStep),
    yStep,
    right,
  };
}

function axes({ x, y, xTicks, yTicks, yStep, right }, unit) {
  return [
    ...yTicks.flatMap((value) => [
      svg("line", { class: "rs-grid", x1: PLOT.left, x2: right, y1: y(value), y2: y(value) }),
      svg("text", { x: PLOT.left - 8, y: y(value) + 4, "text-anchor": "end" }, tickText(value, yStep)),
    ]),
    ...xTicks.map((step) =>
      svg("text", { x: x(step), y: HEIGHT - PLOT.bottom + 16, "text-anchor": "middle" }, String(step))),
    svg("text", { x: (PLOT.left + right) / 2, y: HEIGHT - 2, "text-anchor": "middle" }, unit),
  ];
}

// The names at the lines' ends, pushed apart where lines end close together.
function endLabels(series, { x, y }) {
  const labels = series.map((line) => {
    const [step, value] = line.points.at(-1);
    return { line, at: x(step) + 8, y: y(value) + 4 };
  }).sort((one, other) => one.y - other.y);
  labels.forEach((label, i) => {
    if (i > 0) label.y = Math.max(label.y, labels[i - 1].y + LABEL_GAP);
  });
  return labels.map(({ line, at, y: top }) =>
    svg("text", { class: "rs-name", x: at, y: top, style: `fill: var(--rs-${line.colour})` }, line.name));
}

function drawLine(line, { x, y }, unit) {
  const path = line.points.map(([step, value]) => `${x(step)},${y(value)}`).join(" ");
  const dots = line.points.length > 30 ? [] : line.points.map(([step, value]) =>
    svg("circle", { cx: x(step), cy: y(value), r: 3, fill: `var(--rs-${line.colour})` },
      svg("title", {}, unit === SOLVER_STEP ? `${line.name} ${value.toFixed(4)} at step ${step}` : `${line.name} ${value.toFixed(3)} at ${step} ${unit}`)));
  const band = line.band?.length > 1 ? [svg("polygon", {
    class: "rs-band", fill: `var(--rs-${line.colour})`,
    points: [
      ...line.band.map(([step, , high]) => `${x(step)},${y(high)}`),
      ...[...line.band].reverse().map(([step, low]) => `${x(step)},${y(low)}`),
    ].join(" "),
  })] : [];
  return [...band, svg("polyline", { points: path, stroke: `var(--rs-${line.colour})` }), ...dots];
}

function summary(series) {
  return series.map((line) => {
    const [from, to] = [line.points[0][1], line.points.at(-1)[1]];
    return `${line.name} from ${from.toFixed(3)} to ${to.toFixed(3)}`;
  }).join(", ");
}

function chart({ title, series, unit = SOLVER_STEP }) {
  const scale = scales(series);
  const isOnlyLine = series.length === 1;
  return h("figure", { class: "rs-plot" },
    h("figcaption", {}, h("strong", {}, title), isOnlyLine ? h("span", {}, lastValue(series[0])) : null),
    svg("svg", { class: "marks", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `${title}: ${summary(series)}` },
      ...axes(scale, unit), ...series.flatMap((line) => drawLine(line, scale, unit)), ...(isOnlyLine ? [] : endLabels(series, scale))));
}

function lastValue(line) {
  const [step, value] = line.points.at(-1);
  const band = line.band?.at(-1);
  if (band && band[0] === step) return `${value.toFixed(3)} (95 %: ${band[1].toFixed(2)} to ${band[2].toFixed(2)})`;
  return `${value.toFixed(3)} at step ${step}`;
}

function draw() {
  const charts = parsed(props.value) || [];
  element.querySelector('[data-part="plots"]').replaceChildren(...charts.map(chart));
}
watch("value", draw);
draw();
