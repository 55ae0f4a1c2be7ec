// Rows of text; numbers stand right.

function isNumber(text) {
  return /^[−+-]?[\d.,]+( %)?$/.test(text);
}

function draw() {
  const value = parsed(props.value);
  const root = element.querySelector('[data-part="table"]');
  if (!value) {
    root.replaceChildren();
    return;
  }
  const caption = value.caption ? h("p", {}, value.caption) : null;
  const table = value.rows.length === 0 ? h("p", {}, value.empty)
    : h("div", { class: "rs-scroll", role: "region", tabindex: 0, "aria-label": props.table_label },
      h("table", {},
        h("thead", {}, h("tr", {}, value.columns.map((name) => h("th", { scope: "col" }, name)))),
        h("tbody", {}, value.rows.map((row) =>
          h("tr", {}, row.map((cell) => h("td", { class: isNumber(cell) ? "rs-number" : null, dir: "auto" }, cell)))))));
  root.replaceChildren(...[caption, table].filter(Boolean));
}
watch("value", draw);
draw();
