// A little Markdown as DOM nodes: blocks are split at empty lines and list marks, text is never parsed as HTML.

const SPAN = /\*\*(.+?)\*\*|\*(\S(?:.*?\S)?)\*|`([^`]+)`/g;

function spans(text) {
  const nodes = [];
  let done = 0;
  for (const match of text.matchAll(SPAN)) {
    nodes.push(text.slice(done, match.index));
    const [whole, bold, italic, code] = match;
    nodes.push(bold ? h("strong", {}, spans(bold)) : italic ? h("em", {}, spans(italic)) : h("code", {}, code));
    done = match.index + whole.length;
  }
  nodes.push(text.slice(done));
  return nodes.filter((node) => node !== "");
}

// [{kind: "p" | "ul" | "ol" | "h", lines: [...]}]: a line goes on with the block before it unless it begins one.
function blocks(text) {
  const list = [];
  let open = null;
  for (const line of text.split(/\r?\n/)) {
    const [, marks, heading] = /^(#{1,6})\s+(.*)$/.exec(line) || [];
    const [, bullet, item] = /^\s*([-*+•]|\d+[.)])\s+(.*)$/.exec(line) || [];
    if (!line.trim()) {
      open = null;
    } else if (marks) {
      list.push({ kind: "h", lines: [heading] });
      open = null;
    } else if (bullet) {
      const kind = /\d/.test(bullet) ? "ol" : "ul";
      const last = list.at(-1);
      open = last?.kind === kind ? last : { kind, lines: [], start: parseInt(bullet, 10) || 1 };
      if (open !== last) list.push(open);
      open.lines.push(item);
    } else if (open) {
      open.lines[open.lines.length - 1] += ` ${line.trim()}`;
    } else {
      open = { kind: "p", lines: [line.trim()] };
      list.push(open);
    }
  }
  return list;
}

function drawBlock({ kind, lines, start }) {
  if (kind === "h") return h("h3", {}, spans(lines[0]));
  if (kind === "p") return h("p", {}, spans(lines[0]));
  return h(kind, { start: kind === "ol" && start !== 1 ? start : null }, lines.map((line) => h("li", {}, spans(line))));
}

function draw() {
  const value = parsed(props.value);
  element.querySelector('[data-part="prose"]').replaceChildren(...(value ? blocks(value.text).map(drawBlock) : []));
}
watch("value", draw);
draw();
