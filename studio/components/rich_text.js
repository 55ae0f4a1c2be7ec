// Texts as people read them. The server renders and sanitises Markdown (services/rendering.py);
// what it sends is looked through once more before it enters the page, while it is still inert.

const RICH_TAGS = new Set(("p br hr em strong s code pre blockquote ul ol li h3 h4 h5 h6 a span div table thead tbody "
  + "tr th td math mrow mi mn mo ms mtext mspace mfrac msqrt mroot msub msup msubsup munder mover munderover "
  + "mmultiscripts mprescripts mtable mtr mtd mlabeledtr mstyle mpadded mphantom menclose").split(" "));
const RICH_ATTRIBUTE = /^(?!on|src|id$|name$|style$|xlink|formaction$|action|data|is$|slot$|part$)[a-z]+$/;

function isHarmless(root) {
  for (const node of root.querySelectorAll("*")) {
    if (!RICH_TAGS.has(node.localName)) return false;
    for (const { name, value } of node.attributes) {
      if (name === "style" && /^t[hd]$/.test(node.localName) && /^text-align:[a-z]+$/.test(value)) continue;
      if (!RICH_ATTRIBUTE.test(name)) return false;
      if (name === "href" && !/^(https?:|mailto:)/i.test(value)) return false;
    }
  }
  return true;
}

function plainText(text, className = "") {
  const block = h("div", { class: `rs-text ${className}`, dir: "auto" });
  if (text === "") block.append(h("em", { class: "rs-none" }, "(empty)"));
  else block.textContent = text;
  return block;
}

function richText(html, text, className = "") {
  if (!html || text === "") return plainText(text, className);
  const template = document.createElement("template");
  template.innerHTML = html;
  if (!isHarmless(template.content)) {
    console.warn("A text is shown plain: its rendered form has markup that is not allowed.");
    return plainText(text, className);
  }
  return h("div", { class: `rs-rich ${className}` }, template.content);
}

// Whoever uses the keyboard must be able to reach what scrolls sideways.
function makeScrollable(root) {
  for (const node of root.querySelectorAll(".rs-table, .rs-math.block")) {
    if (node.scrollWidth > node.clientWidth + 1) node.tabIndex = 0;
  }
}
