// The conversation by itself, drawn anew whenever its value changes.

function draw() {
  renderConversation(element.querySelector('[data-part="turns"]'), parsed(props.value) || [], { isOpen: true });
}
watch("value", draw);
draw();
