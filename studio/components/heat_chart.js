// The value along each answer, one line an answer, as an SVG of our own.

// Okabe and Ito's colours, told apart by most eyes; dashes tell them apart without any.
const LINE_COLOURS = {
  light: ["#0072b2", "#b35900", "#00795a", "#a8477e", "#5a5f69", "#7a6a00", "#3a78a8", "#8a3b12"],
  dark: ["#56b4e9", "#e69f00", "#2fc095", "#e39bc6", "#b9bdc6", "#f0e442", "#8fd0ff", "#ff9d5c"],
};
const DASHES = ["", "7 4", "2 3", "10 3 2 3", "", "7 4", "2 3", "10 3 2 3"];
const CHART = { height: 190, left: 58, right: 26, rightOfTwo: 62, top: 12, bottom: 24 };

function svg(tag, attributes = {}, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, String(value));
  node.append(...children);
  return node;
}

function isDark() {
  return document.body.classList.contains("dark") || document.documentElement.classList.contains("dark");
}

// [value at the prompt's end, after unit 1, after unit 2, ...]; what was not read keeps the last value.
function seriesOf(map) {
  let last = map.answer.prompt_value ?? 0;
  return [last, ...map.all.map((unit) => { last = unit.value ?? last; return last; })];
}

function drawChart(target, maps) {
  const width = Math.max(280, target.clientWidth || 700);
  const series = maps.map(seriesOf);
  const numSteps = Math.max(1, ...series.map((line) => line.length - 1));
  const low = Math.min(0, ...series.flat());
  const high = Math.max(0, ...series.flat());
  const span = high - low || 1;
  const right = view.shows === "both" ? CHART.rightOfTwo : CHART.right;
  const x = (step) => CHART.left + (step / numSteps) * (width - CHART.left - right);
  const y = (value) => CHART.top + ((high - value) / span) * (CHART.height - CHART.top - CHART.bottom);
  const decimals = span < 0.1 ? 3 : span < 20 ? 2 : 0;
  const colours = LINE_COLOURS[isDark() ? "dark" : "light"];
  const ticks = [...new Set([low, 0, high])].filter((value) => value === 0 || Math.abs(value) > 0.15 * span);
  const picture = svg("svg", { width, height: CHART.height, viewBox: `0 0 ${width} ${CHART.height}`, role: "img",
    "aria-label": `${part("chart-title").textContent}: ${maps.map((map) => map.title).join(", ")}` });
  for (const value of ticks) {
    picture.append(
      svg("line", { x1: CHART.left, x2: width - right, y1: y(value), y2: y(value), class: value === 0 ? "rs-axis" : "rs-grid" }),
      svg("text", { x: CHART.left - 8, y: y(value) + 4, "text-anchor": "end", class: "rs-tick" }, value === 0 ? "0" : signed(value, decimals)));
  }
  series.forEach((line, m) => {
    const { a, of } = maps[m];
    // Beside each other, the same colour is the same answer and dashes are the second checkpoint.
    const isBoth = view.shows === "both";
    const isSecond = isBoth && of !== view.data;
    const dash = isBoth ? (isSecond ? "5 4" : "") : DASHES[a];
    const nameAt = y(line.at(-1)) + (isBoth ? (isSecond ? 11 : -3) : 4);
    const path = line.map((value, step) => `${step ? "L" : "M"}${x(step).toFixed(1)} ${y(value).toFixed(1)}`).join("");
    picture.append(
      svg("path", { d: path, fill: "none", stroke: colours[a], "stroke-width": 1.8, "stroke-dasharray": dash, "stroke-linejoin": "round" }),
      svg("text", { x: x(line.length - 1) + 5, y: nameAt, fill: colours[a], class: "rs-line-name" }, maps[m].short));
  });
  const cursor = svg("line", { y1: CHART.top, y2: CHART.height - CHART.bottom, class: "rs-cursor", visibility: "hidden" });
  picture.append(cursor, svg("text", { x: CHART.left, y: CHART.height - 6, class: "rs-tick" }, "prompt's end"),
    svg("text", { x: width - right, y: CHART.height - 6, "text-anchor": "end", class: "rs-tick" }, `${numSteps} ${UNIT_NAMES[maps[0].kind]}`));
  picture.addEventListener("pointermove", (event) => {
    const box = picture.getBoundingClientRect();
    const share = (event.clientX - box.left - CHART.left) / (width - CHART.left - right);
    const step = Math.max(0, Math.min(numSteps, Math.round(share * numSteps)));
    cursor.setAttribute("x1", x(step));
    cursor.setAttribute("x2", x(step));
    cursor.setAttribute("visibility", "visible");
    part("chart-readout").textContent = chartLine(maps, series, step, decimals);
  });
  picture.addEventListener("pointerleave", () => {
    cursor.setAttribute("visibility", "hidden");
    part("chart-readout").textContent = "";
  });
  picture.addEventListener("click", (event) => {
    const box = picture.getBoundingClientRect();
    const step = Math.round(((event.clientX - box.left - CHART.left) / (width - CHART.left - right)) * numSteps);
    const a = nearestLine(series, step, event.clientY - box.top, y);
    if (a >= 0 && step > 0) jumpTo(a, Math.min(step, maps[a].all.length) - 1);
  });
  target.replaceChildren(picture);
}

function nearestLine(series, step, height, y) {
  let best = -1;
  series.forEach((line, a) => {
    if (step >= line.length) return;
    if (best < 0 || Math.abs(y(line[step]) - height) < Math.abs(y(series[best][step]) - height)) best = a;
  });
  return best;
}

function chartLine(maps, series, step, decimals) {
  return series.map((line, a) => {
    if (step >= line.length) return "";
    const at = step === 0 ? "prompt's end" : visible(maps[a].all[step - 1].text, 24);
    return `${maps[a].short} ${signed(line[step], decimals)} at ${at}`;
  }).filter(Boolean).join("   ");
}
