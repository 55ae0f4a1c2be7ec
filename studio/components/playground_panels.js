// The playground's two panels: an answer written by a model, and a pair sent to be labelled.

const writing = { stop: null };
const sending = { boxes: [] }; // the two answers that are chosen, by their boxes

function field(label, input) {
  return h("label", { class: "rs-field" }, label, input);
}

function numberInput(name, value, low, high, step) {
  return h("input", { type: "number", class: "rs-input", name, value, min: low, max: high, step });
}

function toggle(button, panel) {
  const isOpen = part(panel).hidden;
  part(panel).hidden = !isOpen;
  part(button).setAttribute("aria-expanded", String(isOpen));
}

// ---- generate ----------------------------------------------------------------------------------

function fillWriting(options) {
  if (writing.stop) return; // not while something is being written
  const backbone = options.backbone === "embedded" ? "the embedded backbone" : options.backbone;
  const source = h("select", { class: "rs-input", name: "source" }, h("option", { value: "backbone" }, backbone));
  const { endpoint } = options;
  if (endpoint && options.is_lead) source.append(h("option", { value: "endpoint" }, `${endpoint.name} · ${endpoint.model}`));
  const go = h("button", { type: "button", class: "rs-small", "data-part": "write" }, "Write a new answer");
  const stop = h("button", { type: "button", class: "rs-small", "data-part": "stop-writing", disabled: true }, "Stop");
  go.addEventListener("click", write);
  stop.addEventListener("click", () => writing.stop?.());
  part("writing").replaceChildren(
    h("h3", {}, "Generate an answer to the prompt above"),
    h("div", { class: "rs-fields" }, field("Written by", source),
      field("Temperature", numberInput("temperature", 0.7, 0, 2, 0.1)), field("Top-p", numberInput("top_p", 0.95, 0.01, 1, 0.01)),
      field("Most tokens", numberInput("max_new_tokens", 256, 1, 2048, 1)), field("Seed", h("input", { type: "number", class: "rs-input", name: "seed", placeholder: "any", min: 0 })),
      go, stop),
    options.is_lead ? endpointForm(options) : "");
}

function endpointForm({ endpoint, key_prefix: prefix }) {
  const text = (name, label, placeholder, value) => field(label,
    h("input", { class: "rs-input rs-wide", name: `endpoint-${name}`, placeholder, value: value || "", spellcheck: "false", autocomplete: "off" }));
  const save = h("button", { type: "button", class: "rs-small" }, "Save endpoint");
  const form = h("details", {}, h("summary", {}, endpoint ? `Endpoint: ${endpoint.name}` : "Set up an endpoint"),
    h("div", { class: "rs-fields" },
      text("name", "Name", "vLLM on the big machine", endpoint?.name), text("base_url", "Address", "http://localhost:8000/v1", endpoint?.base_url),
      text("model", "Model", "Qwen/Qwen3-8B", endpoint?.model), text("key_env", "Variable with the key", prefix, endpoint?.key_env), save),
    h("p", { class: "rs-hint" }, "Any OpenAI-compatible chat endpoint. The key is never stored or shown: set it in the server's environment, in a variable whose name begins with "
      + `${prefix}, and give that name. An empty address removes the endpoint.`),
    endpoint && !endpoint.key_is_set ? h("p", { class: "rs-warning" }, `The variable ${endpoint.key_env} is not set on the server.`) : "");
  save.addEventListener("click", async () => {
    const value = (name) => form.querySelector(`[name="endpoint-${name}"]`).value;
    try {
      await call("endpoint", Object.fromEntries(["name", "base_url", "model", "key_env"].map((name) => [name, value(name)])));
      say("The endpoint is saved.", "good");
      await loadOptions();
    } catch (error) {
      fail(error);
    }
  });
  return form;
}

function samplingValues() {
  const value = (name) => part("writing").querySelector(`[name="${name}"]`).value;
  return {
    source: value("source"), temperature: Number(value("temperature")), top_p: Number(value("top_p")),
    max_new_tokens: Number(value("max_new_tokens")), seed: value("seed") === "" ? null : Number(value("seed")),
  };
}

// An empty answer is written into; else there is a new one, which goes again if nothing comes.
function emptyAnswer() {
  const boxes = [...part("answers").querySelectorAll("textarea")];
  const empty = boxes.find((box) => box.value === "");
  if (empty) return { box: empty, isNew: false };
  return boxes.length < MAX_ANSWERS ? { box: addAnswer(), isNew: true } : null;
}

async function write() {
  const target = emptyAnswer();
  if (!target) {
    say(`There are ${MAX_ANSWERS} answers already: remove one first.`, "error");
    return;
  }
  const control = new AbortController();
  writing.stop = () => control.abort();
  part("write").disabled = true;
  part("stop-writing").disabled = false;
  const { text, kind } = await writeInto(target.box, control.signal);
  writing.stop = null;
  part("write").disabled = false;
  part("stop-writing").disabled = true;
  if (target.isNew && target.box.value === "") removeAnswer(target.box.closest(".rs-answer"));
  else edited();
  say(text, kind);
}

// Writes until the answer's end; {text, kind} of the line that is left when it is over.
async function writeInto(box, signal) {
  try {
    const answer = await fetch(route("generate"), {
      method: "POST", headers: { "content-type": "application/json" }, signal,
      body: JSON.stringify({ messages: turns(), ...samplingValues() }),
    });
    if (!answer.ok) throw new Error((await answer.json()).error);
    const notes = await readEvents(answer.body, box);
    return { text: notes.map(sentence).join(" "), kind: "info" };
  } catch (error) {
    if (error.name !== "AbortError") return { text: sentence(error.message), kind: "error" };
    return { text: box.value ? "Stopped; what was written stays." : "Stopped; nothing was written yet.", kind: "info" };
  }
}

async function readEvents(body, box) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  const notes = [];
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return notes;
    const lines = (rest + value).split("\n\n");
    rest = lines.pop();
    for (const line of lines) {
      const event = JSON.parse(line.slice("data: ".length));
      if (event.error) throw new Error(event.error);
      if (event.note) notes.push(event.note);
      if (event.state) say(`${event.state} …`, "info", { by: "writing" });
      if (event.text) box.value += event.text;
    }
  }
}

// ---- send to labelling -------------------------------------------------------------------------

// Again whenever answers come or go; the two that were chosen stay chosen while they are there.
function fillSending() {
  const boxes = [...part("answers").children];
  const others = boxes.filter((box) => !sending.boxes.includes(box));
  sending.boxes = [0, 1].map((n) => (boxes.includes(sending.boxes[n]) ? sending.boxes[n] : others.shift()));
  const pick = (n) => {
    const select = h("select", { class: "rs-input" }, boxes.map((box, i) => h("option", { value: i, selected: box === sending.boxes[n] }, `Answer ${NAMES[i]}`)));
    select.addEventListener("change", () => { sending.boxes[n] = boxes[Number(select.value)]; });
    return select;
  };
  const go = h("button", { type: "button", class: "rs-small", "data-part": "send" }, "Make them a pair");
  go.addEventListener("click", send);
  part("sending").replaceChildren(h("h3", {}, "Let people say which of two is better"),
    h("div", { class: "rs-fields" }, field("One answer", pick(0)), field("The other", pick(1)), go),
    h("p", { class: "rs-hint" }, "The prompt above and these two answers become a pair of the project, without a verdict, to be labelled like any other. The same two are never two pairs."));
}

async function send() {
  const [first, second] = sending.boxes.map((box) => box.querySelector("textarea").value);
  try {
    const sent = await call("send", { messages: turns(), first, second });
    const open = h("button", { type: "button", class: "rs-goto" }, "open Label");
    open.addEventListener("click", () => openTab("Label"));
    const line = sent.is_new ? `Pair ${sent.pair_id} waits to be labelled: ` : `These two are pair ${sent.pair_id} already; nothing was added: `;
    say(line, sent.is_new ? "good" : "info", { more: [open] });
  } catch (error) {
    fail(error);
  }
}

setUpHeatmaps();
setUpPlayground();
part("open-writing").addEventListener("click", () => toggle("open-writing", "writing"));
part("open-sending").addEventListener("click", () => {
  fillSending();
  toggle("open-sending", "sending");
});
watch("value", takeValue);
takeValue();
