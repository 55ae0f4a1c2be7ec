// Files of this server to download; `href` is a path, never another address.

function draw() {
  const links = (parsed(props.value) || []).filter((link) => link.href.startsWith("/"));
  element.querySelector('[data-part="links"]').replaceChildren(...links.map((link) =>
    h("li", {},
      h("a", { href: link.href, download: "" }, link.label),
      h("span", {}, link.detail))));
}
watch("value", draw);
draw();
