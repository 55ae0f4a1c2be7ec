// Small DOM helpers that every component shares. Data only ever becomes text nodes and
// attributes: nothing here parses HTML, so nothing that people typed can run.

function h(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "class") node.className = value;
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

function plural(count, one, many) {
  return `${count.toLocaleString("en")} ${count === 1 ? one : many}`;
}

// A minus sign as wide as a plus, and as many decimals as a reward needs.
function signed(number, decimals = 3) {
  if (number === null || number === undefined || Number.isNaN(number)) return "–";
  const text = Math.abs(number).toFixed(decimals);
  if (Number(text) === 0) return text;
  return (number < 0 ? "−" : "+") + text;
}

function seconds(value) {
  if (value === null || value === undefined) return "";
  const whole = Math.max(0, Math.round(value));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

// Values travel as JSON text: cheap for Gradio to compare, and nothing in them is a template.
function parsed(value) {
  if (typeof value !== "string") return value ?? null;
  return value ? JSON.parse(value) : null;
}

// Hands something made in the browser to the person as a file.
function saveFile(blob, name) {
  const link = h("a", { href: URL.createObjectURL(blob), download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

// Errors come as sentences, some without their capital or full stop.
function sentence(text) {
  const trimmed = text.trim().replace(/[.!?]$/, "");
  return `${trimmed.charAt(0).toUpperCase()}${trimmed.slice(1)}.`;
}
