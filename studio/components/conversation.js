// A prompt with all its turns: roles labelled, system prompts and earlier turns folded.

const LONG_SYSTEM_PROMPT = 240;
const LONG_TURN = 2400;
const ROLE_NAMES = { system: "System", user: "User", assistant: "Assistant", tool: "Tool" };

function foldedText(message, isPlain) {
  const text = message.content;
  const block = isPlain ? plainText(text) : richText(message.html, text);
  if (text.length <= LONG_TURN) return block;
  block.classList.add("folded");
  const more = h("button", { type: "button", class: "rs-link", "aria-expanded": "false" },
    `Show all (${plural(text.length, "character", "characters")})`);
  more.addEventListener("click", () => {
    const isFolded = block.classList.toggle("folded");
    more.setAttribute("aria-expanded", String(!isFolded));
    more.textContent = isFolded ? `Show all (${plural(text.length, "character", "characters")})` : "Show less";
  });
  return h("div", {}, block, more);
}

function turn(message, isPlain) {
  const role = ROLE_NAMES[message.role] || String(message.role);
  return h("div", { class: "rs-turn", "data-role": message.role },
    h("div", { class: "rs-role" }, role), foldedText(message, isPlain));
}

// The nodes of a conversation. `isOpen` shows the earlier turns, and `onFold(isOpen)` is told when
// somebody opens or closes them; what was asked last is always open.
function conversationNodes(messages, { isPlain = false, isOpen = false, onFold = null } = {}) {
  const parts = [];
  const systems = messages.filter((message) => message.role === "system");
  const turns = messages.filter((message) => message.role !== "system");
  for (const message of systems) {
    const isLong = message.content.length > LONG_SYSTEM_PROMPT;
    parts.push(h("details", { class: "rs-fold", open: !isLong },
      h("summary", {}, isLong
        ? `System prompt (${plural(message.content.length, "character", "characters")})`
        : "System prompt"),
      isPlain ? plainText(message.content, "quiet") : richText(message.html, message.content, "quiet")));
  }
  const numFolded = Math.max(0, turns.length - 1);
  if (numFolded) {
    const fold = h("details", { class: "rs-fold rs-earlier-turns", open: isOpen },
      h("summary", {}, plural(numFolded, "earlier turn", "earlier turns")),
      turns.slice(0, numFolded).map((each) => turn(each, isPlain)));
    fold.querySelector("summary").addEventListener("click", () => onFold?.(!fold.open));
    parts.push(fold);
  }
  parts.push(...turns.slice(numFolded).map((each) => turn(each, isPlain)));
  return parts;
}

function renderConversation(target, messages, options) {
  target.replaceChildren(...conversationNodes(messages, options));
}
