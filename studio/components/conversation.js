// A prompt with all its turns: roles labelled, long system prompts and old turns folded.

const LONG_SYSTEM_PROMPT = 240;
const LONG_TURN = 2400;
const ROLE_NAMES = { system: "System", user: "User", assistant: "Assistant", tool: "Tool" };

function plainText(text, className = "") {
  const block = h("div", { class: `rs-text ${className}`, dir: "auto" });
  if (text === "") block.append(h("em", { class: "rs-none" }, "(empty)"));
  else block.textContent = text;
  return block;
}

function foldedText(text) {
  if (text.length <= LONG_TURN) return plainText(text);
  const block = plainText(text, "folded");
  const more = h("button", { type: "button", class: "rs-link", "aria-expanded": "false" },
    `Show all (${plural(text.length, "character", "characters")})`);
  more.addEventListener("click", () => {
    const isFolded = block.classList.toggle("folded");
    more.setAttribute("aria-expanded", String(!isFolded));
    more.textContent = isFolded ? `Show all (${plural(text.length, "character", "characters")})` : "Show less";
  });
  return h("div", {}, block, more);
}

function turn(message) {
  const role = ROLE_NAMES[message.role] || String(message.role);
  return h("div", { class: "rs-turn", "data-role": message.role },
    h("div", { class: "rs-role" }, role), foldedText(message.content));
}

function renderConversation(target, messages) {
  const parts = [];
  const systems = messages.filter((message) => message.role === "system");
  const turns = messages.filter((message) => message.role !== "system");
  for (const message of systems) {
    const isLong = message.content.length > LONG_SYSTEM_PROMPT;
    parts.push(h("details", { class: "rs-fold", open: !isLong },
      h("summary", {}, isLong
        ? `System prompt (${plural(message.content.length, "character", "characters")})`
        : "System prompt"),
      plainText(message.content, "quiet")));
  }
  // On a phone the answers would start below the screen: only the last turn stays open there.
  const numShown = globalThis.innerWidth < 760 ? 1 : 3;
  const numFolded = Math.max(0, turns.length - numShown);
  if (numFolded) {
    parts.push(h("details", { class: "rs-fold" },
      h("summary", {}, plural(numFolded, "earlier turn", "earlier turns")),
      turns.slice(0, numFolded).map(turn)));
  }
  parts.push(...turns.slice(numFolded).map(turn));
  target.replaceChildren(...parts);
}
