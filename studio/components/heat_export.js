// The heatmaps as a picture (PNG, SVG) or as data (JSON), made in the browser from what it shows.
//
// A picture is laid out for itself: a copy of each text, of a fixed width and its full height, tells where its
// words and colours go, so that neither scrolling nor the window's size changes anything. Boxes come first;
// then the text, a word at a time, so that letters that join or share a sign stay together.

const FRAME = { pad: 24, gap: 26, column: 620, legend: 150 };
const CANVAS = { side: 16000, area: 120_000_000 }; // what browsers take
const IS_RTL = /^[^\p{L}]*(?=\p{L})[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufeff\u{10800}-\u{10fff}\u{1e800}-\u{1efff}]/u;

// ---- where everything goes ---------------------------------------------------------------------

// The map's text in its full height, out of sight; `remove` takes it away again.
function laidOut(map) {
  const text = map.text.cloneNode(true);
  const box = h("div", { class: "rs-print", "aria-hidden": "true", style: `width:${FRAME.column}px` }, text);
  for (const span of text.querySelectorAll(".marked")) span.classList.remove("marked");
  element.append(box);
  return { text, origin: text.getBoundingClientRect(), remove: () => box.remove() };
}

function coloursOf({ text, origin }, palette) {
  return [...text.querySelectorAll("[data-l]")].flatMap((span) => {
    const level = Number(span.dataset.l);
    if (!level) return [];
    return [...span.getClientRects()].filter((box) => box.width > 0).map((box) => ({
      kind: "box", x: box.left - origin.left, y: box.top - origin.top, width: box.width, height: box.height, fill: palette[level + props.levels],
    }));
  });
}

// Every word with its place: {text, isRtl, left, right, y}. One that is broken over lines comes in parts.
function wordsOf({ text, origin }, baseline) {
  const nodes = textNodesOf(text);
  const whole = nodes.map(({ data }) => data).join("");
  const place = placer(nodes);
  const words = [];
  let at = 0;
  for (const paragraph of whole.split("\n")) {
    const isRtl = IS_RTL.test(paragraph);
    for (const { 0: word, index } of paragraph.matchAll(/\S+/g)) {
      const boxes = place(at + index, at + index + word.length);
      const isOneLine = boxes.every((box) => Math.abs(box.top - boxes[0].top) < box.height / 2);
      const parts = isOneLine ? [{ text: word, boxes }] : brokenOverLines(word, at + index, place);
      for (const part of parts) if (part.boxes.length) words.push(placedWord(part, isRtl, origin, baseline));
    }
    at += paragraph.length + 1;
  }
  return words;
}

function placedWord({ text, boxes }, isRtl, origin, baseline) {
  return {
    kind: "word", text, isRtl, size: 16, y: boxes[0].top - origin.top + boxes[0].height * baseline,
    left: Math.min(...boxes.map((box) => box.left)) - origin.left, right: Math.max(...boxes.map((box) => box.right)) - origin.left,
  };
}

// Graphemes that stand on one line, together.
function brokenOverLines(word, begin, place) {
  const parts = [];
  for (const { segment, index } of segments(word, "grapheme")) {
    const boxes = place(begin + index, begin + index + segment.length);
    const last = parts.at(-1);
    const isSameLine = last && (!boxes.length || Math.abs(boxes[0].top - last.boxes[0].top) < boxes[0].height / 2);
    if (isSameLine) {
      last.text += segment;
      last.boxes.push(...boxes);
    } else if (boxes.length) parts.push({ text: segment, boxes });
  }
  return parts;
}

// Line breaks are marked as on the page, where CSS draws them.
function marksOf({ text, origin }, baseline, fill) {
  return [...text.querySelectorAll(".nl")].map((mark) => mark.getBoundingClientRect()).filter((box) => box.width > 0)
    .map((box) => ({ kind: "word", text: "↵", size: 16, fill, left: box.left - origin.left, right: box.right - origin.left, y: box.top - origin.top + box.height * baseline }));
}

function textNodesOf(root) {
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  const nodes = [];
  while (walker.nextNode()) nodes.push(walker.currentNode);
  return nodes;
}

// (from, to) in characters of all text nodes together -> the boxes of that stretch. Asked in order.
function placer(nodes) {
  const range = document.createRange();
  const starts = [];
  let total = 0;
  for (const { data } of nodes) {
    starts.push(total);
    total += data.length;
  }
  let n = 0;
  return (from, to) => {
    while (n + 1 < nodes.length && starts[n + 1] <= from) n += 1;
    let end = n;
    while (end + 1 < nodes.length && starts[end + 1] < to) end += 1;
    range.setStart(nodes[n], from - starts[n]);
    range.setEnd(nodes[end], to - starts[end]);
    return [...range.getClientRects()].filter((box) => box.width > 0);
  };
}

// ---- the picture -------------------------------------------------------------------------------

const measuring = document.createElement("canvas").getContext("2d");

// How far below the top of a line's text its letters stand, as a share of its height.
function baselineOf(font) {
  measuring.font = `16px ${font}`;
  const { fontBoundingBoxAscent: up, fontBoundingBoxDescent: down } = measuring.measureText("x");
  return up / (up + down);
}

function wrapped(text, width, size, font) {
  measuring.font = `${size}px ${font}`;
  const lines = [""];
  for (const word of text.split(" ")) {
    const longer = lines.at(-1) ? `${lines.at(-1)} ${word}` : word;
    if (lines.at(-1) && measuring.measureText(longer).width > width) lines.push(word);
    else lines[lines.length - 1] = longer;
  }
  return lines;
}

// One map: its title, its two parts, its text; {shapes, height} from (0, 0).
function cellOf(map, { palette, ink, muted, baseline }) {
  const shapes = [];
  let top = 18;
  const write = (text, options) => shapes.push({ kind: "word", text, left: 0, y: top, size: 13, fill: ink, ...options });
  write(`${map.title}   ${map.minus ? "difference " : ""}${signed(map.answer.reward)}`, { weight: 600, size: 14 });
  top += 20;
  write(map.parts.textContent, { size: 12, fill: muted });
  top += 12;
  const copy = laidOut(map);
  const placed = [...coloursOf(copy, palette), ...marksOf(copy, baseline, muted),
    ...wordsOf(copy, baseline).map((word) => ({ ...word, fill: ink }))];
  for (const { y, ...shape } of placed) shapes.push({ ...shape, y: y + top });
  const { height } = copy.origin;
  copy.remove();
  return { shapes, height: top + height };
}

// Two columns where there are several maps, as beside each other on the page.
function pictureOf() {
  const style = getComputedStyle(part("root"));
  const colour = (name) => style.getPropertyValue(name).trim();
  const look = {
    palette: props.palettes[isDark() ? "dark" : "light"], ink: colour("--rs-ink"), muted: colour("--rs-muted"),
    font: style.fontFamily, baseline: baselineOf(style.fontFamily),
  };
  const numColumns = Math.min(2, maps.length);
  const width = 2 * FRAME.pad + numColumns * FRAME.column + (numColumns - 1) * FRAME.gap;
  const shapes = [];
  let top = FRAME.pad;
  for (let first = 0; first < maps.length; first += numColumns) {
    const cells = maps.slice(first, first + numColumns).map((map) => cellOf(map, look));
    cells.forEach((cell, n) => shapes.push(...moved(cell.shapes, FRAME.pad + n * (FRAME.column + FRAME.gap), top)));
    top += Math.max(...cells.map((cell) => cell.height)) + FRAME.gap;
  }
  const foot = footOf(width - 2 * FRAME.pad, look);
  shapes.push(...moved(foot.shapes, FRAME.pad, top));
  return { shapes, width, height: Math.ceil(top + foot.height + FRAME.pad), ground: colour("--rs-surface"), font: look.font };
}

function moved(shapes, x, y) {
  return shapes.map((shape) => (shape.kind === "box" ? { ...shape, x: shape.x + x, y: shape.y + y }
    : { ...shape, left: shape.left + x, right: shape.right + x, y: shape.y + y }));
}

function footOf(width, { palette, ink, muted, font }) {
  const each = FRAME.legend / palette.length;
  const shapes = palette.map((fill, n) => ({ kind: "box", x: n * each, y: 0, width: each, height: 12, fill }));
  const label = props.readings.find((item) => item.key === view.reading).label;
  const reading = maps[0]?.minus ? `Difference of ${label.toLowerCase()}` : label;
  shapes.push({ kind: "word", left: FRAME.legend + 12, y: 11, size: 12, fill: ink,
    text: `${reading}: ${part("legend-low").textContent} to ${part("legend-high").textContent}, 0 in the middle` });
  const lines = wrapped(part("source").textContent, width, 11, font);
  lines.forEach((text, n) => shapes.push({ kind: "word", left: 0, y: 34 + 16 * n, size: 11, fill: muted, text }));
  return { shapes, height: 24 + 16 * lines.length };
}

// Text begins at its right end where the paragraph runs from right to left.
const anchor = (shape) => (shape.isRtl ? shape.right : shape.left);

function asSvg({ shapes, width, height, ground, font }) {
  const root = svg("svg", { xmlns: "http://www.w3.org/2000/svg", width, height, viewBox: `0 0 ${width} ${height}`, "font-family": font });
  root.append(svg("rect", { width, height, fill: ground }));
  const rounded = (number) => Number(number.toFixed(2));
  for (const shape of shapes) {
    root.append(shape.kind === "box"
      ? svg("rect", { x: rounded(shape.x), y: rounded(shape.y), width: rounded(shape.width), height: rounded(shape.height), fill: shape.fill })
      : svg("text", { x: rounded(anchor(shape)), y: rounded(shape.y), fill: shape.fill, "font-size": shape.size, "font-weight": shape.weight || 400,
        ...(shape.isRtl ? { direction: "rtl" } : {}), "xml:space": "preserve" }, shape.text));
  }
  return new XMLSerializer().serializeToString(root);
}

function asPng({ shapes, width, height, ground, font }) {
  // A canvas has its limits; very long answers get fewer pixels rather than no picture.
  const factor = Math.min(2, CANVAS.side / height, CANVAS.side / width, Math.sqrt(CANVAS.area / (width * height)));
  const canvas = h("canvas", { width: Math.ceil(width * factor), height: Math.ceil(height * factor) });
  const pen = canvas.getContext("2d");
  pen.scale(factor, factor);
  pen.fillStyle = ground;
  pen.fillRect(0, 0, width, height);
  for (const shape of shapes) {
    pen.fillStyle = shape.fill;
    if (shape.kind === "box") pen.fillRect(shape.x, shape.y, shape.width, shape.height);
    else {
      pen.font = `${shape.weight || 400} ${shape.size}px ${font}`;
      pen.direction = shape.isRtl ? "rtl" : "ltr";
      pen.textAlign = "start";
      pen.fillText(shape.text, anchor(shape), shape.y);
    }
  }
  return new Promise((done) => { canvas.toBlob(done, "image/png"); });
}

// ---- data --------------------------------------------------------------------------------------

function asData() {
  const units = (map) => map.all.map(({ text, value, change, contribution, running, isEnd }) => (
    { text, value, change, contribution, running_sum: running, is_end_token: isEnd }));
  const { minus } = maps[0];
  return JSON.stringify({
    ...(view.extra?.() || {}), source: part("source").textContent, shows: view.shows, unit: view.unit,
    ...(minus ? { note: `Every number is checkpoint ${maps[0].of.checkpoint.id} minus checkpoint ${minus.checkpoint.id}.` } : {}),
    checkpoints: comparisonsShown().map((data) => ({
      checkpoint: data.checkpoint.id, prob_better: data.prob_better, difference_std: data.difference_std })),
    answers: maps.map((map) => ({
      answer: NAMES[map.a], checkpoint: map.of.checkpoint.id, ...(minus ? { minus_checkpoint: minus.checkpoint.id } : {}),
      text: map.answer.tokens.text.join(""), [minus ? "reward_difference" : "reward"]: map.answer.reward,
      parts: partsOf(map.answer), prompt_value: map.answer.prompt_value, end_term: map.answer.end_term, units: units(map),
    })),
  }, null, 1);
}

async function exportAs(format) {
  const name = `reward-heatmap-${view.data.checkpoint.id}${maps[0].minus ? `-minus-${maps[0].minus.checkpoint.id}` : ""}.${format}`;
  if (format === "json") saveFile(new Blob([asData()], { type: "application/json" }), name);
  else if (format === "svg") saveFile(new Blob([asSvg(pictureOf())], { type: "image/svg+xml" }), name);
  else saveFile(await asPng(pictureOf()), name);
}
