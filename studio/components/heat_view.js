// The result as a whole: what is shown of a comparison, and painting it again when a control changes.

const UNIT_NAMES = { token: "tokens", word: "words", sentence: "sentences" };
const EXPORTS = ["png", "svg", "json"];
const NO_UNIT = "Point at the text, or press Tab and the arrow keys.";
const view = { data: null, reading: null, unit: "token", shows: "first", extra: null };

// The reading that says something of this head: contributions, unless it reads the end token alone.
function defaultReading(data) {
  return isFlat(data.answers) ? "change" : props.readings[0].key;
}

function answersShown() {
  const { data, shows } = view;
  if (!data.against || shows === "first") return data.answers;
  if (shows === "second") return data.against.answers;
  return data.answers.map((answer, a) => differenceOf(answer, data.against.answers[a]) || answer);
}

// What benchmarks/bench_faithfulness.py found of heads that read the end token alone.
const UNFAITHFUL = {
  outcome: "Measured on held-out answers, taking out what this map marks moves the reward no more than taking out words "
    + "at random: do not read it as a reason. Heads of the readouts mean and mean+last have maps that hold.",
  token: "Measured on held-out answers, this map of a head that reads the end token alone holds weakly: test it by editing. "
    + "Heads of the readouts mean and mean+last have maps that hold.",
};

function paint() {
  const inside = maps.flatMap((map) => map.all.slice(0, map.numInside).map((unit) => unit[view.reading]));
  const scale = scaleOf(inside.length ? inside : maps.flatMap((map) => map.all.map((unit) => unit[view.reading])));
  const decimals = decimalsFor(scale);
  maps.forEach((map, a) => {
    paintMap(map, view.reading, scale, decimals);
    paintStart(map, view.reading, decimals);
    drawExtremes(a, view.reading, decimals);
  });
  const { explains } = props.readings.find((item) => item.key === view.reading);
  const flat = isFlat(maps.map((map) => map.answer));
  const alone = flat && view.reading === "contribution" ? " This head reads the end token alone, so no other token has a share." : "";
  part("explains").textContent = explains + alone;
  part("caution").hidden = !flat;
  part("caution").textContent = UNFAITHFUL[view.data.objective === "outcome" ? "outcome" : "token"];
  part("legend-low").textContent = `≤ ${signed(-scale, decimals)}`;
  part("legend-high").textContent = `≥ ${signed(scale, decimals)}`;
  part("legend").setAttribute("aria-label",
    `Colour scale of all answers: orange lowers, down to ${signed(-scale, decimals)}; purple raises, up to ${signed(scale, decimals)}`);
}

function build() {
  const answers = answersShown();
  const before = maps;
  maps = answers.map((answer, a) => (stillFits(before[a], answer, view.unit)
    ? renumber(before[a], answer) : buildMap(answer, a, view.unit)));
  const rewards = answers.map((answer) => answer.reward);
  const best = Math.max(...rewards);
  const isTied = rewards.every((reward) => reward === best);
  maps.forEach((map, a) => {
    map.reward.textContent = signed(map.answer.reward);
    map.best.textContent = !isTied && view.shows !== "difference" && map.answer.reward === best && maps.length > 1 ? "higher reward" : "";
  });
  const box = part("maps");
  if (box.children.length !== maps.length || maps.some((map, a) => box.children[a] !== map.root)) {
    box.replaceChildren(...maps.map((map) => map.root));
  }
  paint();
  drawChart(part("chart"), maps);
}

function sourceOf(data) {
  const one = (made) => [`checkpoint ${made.checkpoint.id}`, made.readout && `readout ${made.readout}`,
    made.layer && `layer ${made.layer}`, made.backbone, made.device].filter(Boolean).join(" · ");
  const work = data.num_tokens ? ` · ${plural(data.num_encoded, "token", "tokens")} of ${data.num_tokens.toLocaleString("en")} encoded now, in ${Math.round(data.elapsed_ms)} ms` : "";
  return `Scored by ${one(data)}${data.against ? ` and ${one(data.against)}` : ""}${work}`;
}

function showComparison(data) {
  const isFirst = !view.data;
  view.data = data;
  part("root").hidden = !data;
  part("tip").hidden = true;
  if (!data) {
    maps = [];
    part("maps").replaceChildren();
    return;
  }
  if (isFirst) chooseRadio("reading", defaultReading(data));
  const choices = data.against ? ["first", "second", "difference"] : ["first"];
  if (!choices.includes(view.shows)) chooseRadio("shows", "first");
  part("shows").hidden = !data.against;
  if (data.against) nameCheckpoints(data);
  drawSummary(part("summary"), data);
  drawRanking(part("ranking"), data);
  build();
  part("source").textContent = sourceOf(data);
  part("readout").textContent = NO_UNIT;
}

function nameCheckpoints(data) {
  const labels = part("shows").querySelectorAll("label span");
  labels[0].textContent = `Checkpoint ${data.checkpoint.id}`;
  labels[1].textContent = `Checkpoint ${data.against.checkpoint.id}`;
  labels[2].textContent = "Difference";
  const differs = data.answers.every((answer, a) => differenceOf(answer, data.against.answers[a]));
  labels[2].parentElement.querySelector("input").disabled = !differs;
  labels[2].parentElement.title = differs ? `Checkpoint ${data.checkpoint.id} minus checkpoint ${data.against.checkpoint.id}, token by token`
    : "The two checkpoints have other tokens: there is no difference by token.";
}

// ---- controls ----------------------------------------------------------------------------------

const RADIO_PARTS = { reading: "readings", unit: "units", shows: "shows" };

function chooseRadio(kind, value) {
  view[kind] = value;
  for (const radio of part(RADIO_PARTS[kind]).querySelectorAll("input")) radio.checked = radio.value === value;
}

function radios(kind, choices, onChoice) {
  part(RADIO_PARTS[kind]).querySelector("div").append(...choices.map(([value, label]) => {
    const radio = h("input", { type: "radio", name: `rs-${kind}`, value, checked: value === view[kind] });
    radio.addEventListener("change", () => {
      chooseRadio(kind, value);
      if (view.data) onChoice();
    });
    return h("label", {}, radio, h("span", {}, label));
  }));
}

function setUpHeatmaps() {
  view.reading = props.readings[0].key;
  radios("reading", props.readings.map((item) => [item.key, item.label]), paint);
  radios("unit", Object.entries(UNIT_NAMES), build);
  radios("shows", [["first", ""], ["second", ""], ["difference", "Difference"]], build);
  part("exports").append(...EXPORTS.map((format) => {
    const button = h("button", { type: "button", class: "rs-small" }, format.toUpperCase());
    button.addEventListener("click", () => exportAs(format));
    return button;
  }));
  listenToMaps(part("maps"));
  let width = 0;
  new ResizeObserver(() => {
    const now = part("chart").clientWidth;
    if (view.data && now && now !== width) drawChart(part("chart"), maps);
    width = now;
  }).observe(part("chart"));
}
