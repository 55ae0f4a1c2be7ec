// The heatmaps as a picture (PNG, SVG) or as data (JSON), made in the browser from what it shows.

const FRAME = { pad: 24, gap: 28, head: 30, foot: 64 };

function saved(blob, name) {
  const link = h("a", { href: URL.createObjectURL(blob), download: name });
  element.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

// Pieces of text with their place, as the browser laid them out: a unit over two lines is two pieces.
function placed(map, origin) {
  const range = document.createRange();
  const pieces = [];
  const walk = (node, level) => {
    if (node.nodeType === Node.ELEMENT_NODE) {
      for (const child of node.childNodes) walk(child, node.dataset?.l ?? level);
      return;
    }
    for (const match of node.data.matchAll(/[^\s]+|[^\S\n]+/g)) {
      range.setStart(node, match.index);
      range.setEnd(node, match.index + match[0].length);
      const boxes = [...range.getClientRects()].filter((box) => box.width > 0);
      boxes.forEach((box, n) => pieces.push({
        x: box.left - origin.left, y: box.top - origin.top, width: box.width, height: box.height,
        text: n === 0 ? match[0] : "", level: Number(level),
      }));
    }
  };
  for (const child of map.text.childNodes) walk(child, 0);
  return pieces;
}

// Everything to draw, in one list of boxes and texts, with its size.
function pictureOf() {
  const style = getComputedStyle(part("root"));
  const colour = (name) => style.getPropertyValue(name).trim();
  const palette = props.palettes[isDark() ? "dark" : "light"];
  const shapes = [];
  let top = FRAME.pad;
  let width = 480;
  const write = (x, y, text, options = {}) => shapes.push({ kind: "text", x, y, text, size: 13, fill: colour("--rs-ink"), ...options });
  maps.forEach((map, a) => {
    const origin = map.text.getBoundingClientRect();
    const ends = map.all.slice(map.numInside).map((unit) => `end token ${signed(unit[view.reading])}`).join("   ");
    write(FRAME.pad, top + 16, `Answer ${NAMES[a]}   ${signed(map.answer.reward)}   ${ends}`, { weight: 600 });
    top += FRAME.head;
    for (const piece of placed(map, origin)) {
      if (piece.level) shapes.push({ kind: "box", x: FRAME.pad + piece.x, y: top + piece.y, width: piece.width, height: piece.height, fill: palette[piece.level + props.levels] });
      if (piece.text.trim()) write(FRAME.pad + piece.x, top + piece.y + piece.height * 0.78, piece.text, { size: 16 });
    }
    top += origin.height + FRAME.gap;
    width = Math.max(width, origin.width + 2 * FRAME.pad);
  });
  const each = 150 / palette.length;
  palette.forEach((fill, n) => shapes.push({ kind: "box", x: FRAME.pad + n * each, y: top, width: each + 0.5, height: 12, fill }));
  const reading = props.readings.find((item) => item.key === view.reading).label;
  write(FRAME.pad + 162, top + 11, `${reading}: ${part("legend-low").textContent} to ${part("legend-high").textContent}`, { size: 12 });
  write(FRAME.pad, top + 34, part("source").textContent, { size: 11, fill: colour("--rs-muted") });
  return { shapes, width: Math.ceil(width), height: Math.ceil(top + FRAME.foot), ground: colour("--rs-surface"), font: style.fontFamily };
}

function asSvg({ shapes, width, height, ground, font }) {
  const root = svg("svg", { xmlns: "http://www.w3.org/2000/svg", width, height, viewBox: `0 0 ${width} ${height}`, "font-family": font });
  root.append(svg("rect", { width, height, fill: ground }));
  for (const shape of shapes) {
    const { x, y, fill } = shape;
    root.append(shape.kind === "box" ? svg("rect", { x, y, width: shape.width, height: shape.height, fill })
      : svg("text", { x, y, fill, "font-size": shape.size, "font-weight": shape.weight || 400, "xml:space": "preserve" }, shape.text));
  }
  return new XMLSerializer().serializeToString(root);
}

function asPng({ shapes, width, height, ground, font }) {
  // A canvas has its limits; a very long answer gets fewer pixels rather than no picture.
  const factor = Math.min(2, 16000 / height, 16000 / width);
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
      pen.fillText(shape.text, shape.x, shape.y);
    }
  }
  return new Promise((done) => { canvas.toBlob(done, "image/png"); });
}

function asData() {
  const units = (map) => map.all.map(({ text, value, change, contribution, running, isEnd }) => (
    { text, value, change, contribution, running_sum: running, is_end_token: isEnd }));
  return JSON.stringify({
    ...(view.extra?.() || {}), source: part("source").textContent, shows: view.shows, unit: view.unit,
    prob_better: view.data.prob_better, difference_std: view.data.difference_std,
    answers: maps.map((map, a) => ({
      answer: NAMES[a], text: map.answer.tokens.text.join(""), reward: map.answer.reward,
      prompt_value: map.answer.prompt_value, end_term: map.answer.end_term, units: units(map),
    })),
  }, null, 1);
}

async function exportAs(format) {
  const name = `reward-heatmap-${view.data.checkpoint.id}.${format}`;
  if (format === "json") saved(new Blob([asData()], { type: "application/json" }), name);
  else if (format === "svg") saved(new Blob([asSvg(pictureOf())], { type: "image/svg+xml" }), name);
  else saved(await asPng(pictureOf()), name);
}
