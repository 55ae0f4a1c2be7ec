// What every small plot needs: SVG nodes, round ticks, numbers with a true minus.

const SVG = "http://www.w3.org/2000/svg"; // the name of a namespace: nothing is fetched

function svg(tag, attributes = {}, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, String(value));
  node.append(...children);
  return node;
}

// Round steps (1, 2, 5, 10, ...), at most `most` of them, never below `least`.
function tickStep(span, most, least = 0) {
  const raw = Math.max(span / most, 1e-9);
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= raw * 0.999);
  return Math.max(step, least);
}

function ticks(from, to, step) {
  const list = [];
  for (let n = Math.ceil(from / step - 1e-6); n * step <= to + step * 1e-6; n += 1) list.push(n * step);
  return list;
}

function tickText(value, step) {
  const decimals = Math.max(0, Math.ceil(-Math.log10(step) - 1e-9));
  const text = Math.abs(value).toFixed(decimals);
  return value < 0 && Number(text) !== 0 ? `−${text}` : text;
}
