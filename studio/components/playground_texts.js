// The prompt's turns and the answers: boxes to write in, their names, adding and removing them.

const ROLES = ["user", "assistant", "system", "developer", "tool"];
const ROLE_WORDS = { user: "User", assistant: "Assistant", system: "System", developer: "Developer", tool: "Tool" };
const MAX_ANSWERS = 8;

function area(label, text, onEdit) {
  const box = h("textarea", { class: "rs-area", "aria-label": label, dir: "auto", spellcheck: "false", rows: 1 });
  box.value = text;
  box.addEventListener("input", onEdit);
  return box;
}

function turnElement({ role, content }) {
  const choice = h("select", { class: "rs-input", "aria-label": "Role" },
    ROLES.map((name) => h("option", { value: name, selected: name === role }, ROLE_WORDS[name])));
  choice.addEventListener("change", edited);
  const remove = h("button", { type: "button", class: "rs-x", "aria-label": "Remove this turn", title: "Remove this turn" }, "✕");
  const row = h("div", { class: "rs-turn-edit" }, choice, area("Turn", content, edited), remove);
  remove.addEventListener("click", () => {
    row.remove();
    nameTurns();
    edited();
  });
  return row;
}

// The last turn is the prompt that is answered: screen readers and tests find it by that name.
function nameTurns() {
  const rows = [...part("turns").children];
  rows.forEach((row, i) => {
    const box = row.querySelector("textarea");
    box.setAttribute("aria-label", i === rows.length - 1 ? "Prompt" : `Turn ${i + 1}`);
    box.placeholder = i === rows.length - 1 ? "What is asked" : "";
    row.querySelector(".rs-x").disabled = rows.length === 1;
  });
  part("add-system").hidden = rows[0]?.querySelector("select").value === "system";
}

function setTurns(messages) {
  part("turns").replaceChildren(...messages.map(turnElement));
  nameTurns();
}

function turns() {
  return [...part("turns").children].map((row) => ({
    role: row.querySelector("select").value, content: row.querySelector("textarea").value,
  }));
}

function answerElement(text) {
  const remove = h("button", { type: "button", class: "rs-x", title: "Remove this answer" }, "✕");
  const live = h("span", { class: "rs-live" });
  const title = h("h3", {});
  const box = h("section", { class: "rs-answer" }, h("header", {}, title, live, h("span", { class: "rs-push" }), remove), area("", text, edited));
  remove.addEventListener("click", () => removeAnswer(box));
  return box;
}

function nameAnswers() {
  const boxes = [...part("answers").children];
  boxes.forEach((box, i) => {
    const name = `Answer ${NAMES[i]}`;
    box.querySelector("h3").textContent = name;
    box.querySelector("textarea").setAttribute("aria-label", name);
    box.querySelector("textarea").placeholder = i === 0 ? "One answer to it" : "Another answer, to compare";
    const remove = box.querySelector(".rs-x");
    remove.setAttribute("aria-label", `Remove answer ${NAMES[i]}`);
    remove.disabled = boxes.length <= 2;
  });
  part("add-answer").disabled = boxes.length >= MAX_ANSWERS;
  if (!part("sending").hidden) fillSending();
}

function removeAnswer(box) {
  box.remove();
  nameAnswers();
  edited();
}

function addAnswer(text = "") {
  const box = answerElement(text);
  part("answers").append(box);
  nameAnswers();
  return box.querySelector("textarea");
}

function setAnswers(texts) {
  part("answers").replaceChildren();
  for (const text of texts) addAnswer(text);
}

const answers = () => [...part("answers").querySelectorAll("textarea")].map((box) => box.value);
