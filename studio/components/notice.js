// A plain line of text whose kind sets its colour.

function draw() {
  const value = parsed(props.value);
  const box = element.querySelector('[data-part="notice"]');
  box.hidden = !value;
  box.textContent = value ? value.text : "";
  box.dataset.kind = value ? value.kind : "";
}
watch("value", draw);
draw();
