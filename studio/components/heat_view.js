// The result as a whole: what is shown of a comparison, and painting it again when a control changes.

const UNIT_NAMES = { token: "tokens", word: "words", sentence: "sentences" };
const EXPORTS = ["png", "svg", "json"];
const NO_UNIT = "Point at the text, or press Tab and the arrow keys.";
const view = { data: null, reading: null, unit: "token", shows: "first", extra: null, opened: new Map() };

// The reading that says something of this head: contributions, unless it reads the end token alone.
function defaultReading(data) {
  return isFlat(data.answers) ? "change" : props.readings[0].key;
}

// The comparisons whose rewards are told: of two checkpoints one, or both.
function comparisonsShown() {
  const { data, shows } = view;
  if (!data.against || shows === "first") return [data];
  return shows === "second" ? [data.against] : [data, data.against];
}

// What is drawn, in its order: answer number `a` as the comparison `of` has it; of a difference, `minus` is
// the comparison that was taken away.
function answersShown() {
  const { data, shows } = view;
  if (shows === "difference" && data.against) {
    return data.answers.map((answer, a) => ({ a, of: data, minus: data.against, answer: differenceOf(answer, data.against.answers[a]) || answer }));
  }
  return data.answers.flatMap((_, a) => comparisonsShown().map((of) => ({ a, of, minus: null, answer: of.answers[a] })));
}

// How a map is called in full and in short; the checkpoint is named where there are two.
function namesOf({ a, of, minus }) {
  const whole = `Answer ${NAMES[a]}`;
  if (!view.data.against) return [whole, NAMES[a]];
  const id = of.checkpoint.id;
  if (minus) return [`${whole} · checkpoint ${id} minus checkpoint ${minus.checkpoint.id}`, NAMES[a]];
  return [`${whole} · checkpoint ${id}`, view.shows === "both" ? `${NAMES[a]} by ${id}` : NAMES[a]];
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
    paintMap(map, view.reading, scale);
    paintStart(map, view.reading, decimals);
    drawExtremes(a, view.reading);
  });
  const { explains } = props.readings.find((item) => item.key === view.reading);
  const flat = isFlat(maps.map((map) => map.answer));
  const alone = flat && view.reading === "contribution" ? " This head reads the end token alone, so no other token has a share." : "";
  const minus = maps[0]?.minus;
  const ofTwo = minus ? `Checkpoint ${view.data.checkpoint.id} minus checkpoint ${minus.checkpoint.id}, token by token: what it says of a reward holds for the difference of the two rewards. ` : "";
  part("explains").textContent = ofTwo + explains + alone;
  part("caution").hidden = !flat;
  part("caution").textContent = UNFAITHFUL[view.data.objective === "outcome" ? "outcome" : "token"];
  part("legend-low").textContent = `≤ ${signed(-scale, decimals)}`;
  part("legend-high").textContent = `≥ ${signed(scale, decimals)}`;
  part("legend").setAttribute("aria-label",
    `Colour scale of all answers: orange lowers, down to ${signed(-scale, decimals)}; purple raises, up to ${signed(scale, decimals)}`);
}

function build() {
  const shown = answersShown();
  const before = maps;
  maps = shown.map((item, m) => {
    const [title, short] = namesOf(item);
    const drawn = stillFits(before[m], item, title, view.unit) ? renumber(before[m], item) : buildMap(item, m, title, view.unit);
    return { ...drawn, ...item, title, short };
  });
  const reach = reachOf(maps.map((map) => map.answer));
  for (const map of maps) {
    map.reward.textContent = signed(map.answer.reward);
    map.best.textContent = map.minus ? "difference of the rewards" : bestOf(map);
    map.best.classList.toggle("of-two", Boolean(map.minus));
    drawParts(map.parts, map.answer, reach, map.minus ? "difference" : "reward");
  }
  const box = part("maps");
  box.classList.toggle("both", view.shows === "both");
  if (box.children.length !== maps.length || maps.some((map, m) => box.children[m] !== map.root)) {
    box.replaceChildren(...maps.map((map) => map.root));
  }
  drawSummary(part("summary"), comparisonsShown());
  const [first] = comparisonsShown();
  drawRanking(part("ranking"), first, first === view.data ? view.data.against : view.data);
  paint();
  part("chart-title").textContent = maps[0]?.minus ? "Difference of the values so far along the answers" : "Value so far along the answers";
  drawChart(part("chart"), maps);
}

function bestOf({ a, of }) {
  const rewards = of.answers.map((answer) => answer.reward);
  const best = Math.max(...rewards);
  if (rewards[a] !== best || rewards.every((reward) => reward === best)) return "";
  return rewards.length > 2 ? "highest reward" : "higher reward";
}

function sourceOf(data) {
  const one = (made) => [`checkpoint ${made.checkpoint.id}`, made.readout && `readout ${made.readout}`,
    made.layer && `layer ${made.layer}`, made.backbone, made.device].filter(Boolean).join(" · ");
  const work = data.num_tokens ? ` · ${plural(data.num_encoded, "token", "tokens")} of ${data.num_tokens.toLocaleString("en")} encoded now, in ${Math.round(data.elapsed_ms)} ms` : "";
  return `Scored by ${one(data)}${data.against ? ` and ${one(data.against)}` : ""}${work}`;
}

// What is shown is not of the texts as they are now; the next comparison takes it back.
function tellStale(...nodes) {
  part("root").classList.toggle("stale", nodes.length > 0);
  part("stale").hidden = nodes.length === 0;
  part("stale").replaceChildren(...nodes);
}

function showComparison(data) {
  const isFirst = !view.data;
  tellStale();
  view.data = data;
  part("root").hidden = !data;
  part("tip").hidden = true;
  if (!data) {
    maps = [];
    part("maps").replaceChildren();
    return;
  }
  if (isFirst) chooseRadio("reading", defaultReading(data));
  part("shows").hidden = !data.against;
  if (data.against) nameCheckpoints(data);
  else chooseRadio("shows", "first");
  build();
  part("source").textContent = sourceOf(data);
  part("readout").textContent = NO_UNIT;
}

function nameCheckpoints(data) {
  const labelOf = (value) => part("shows").querySelector(`input[value="${value}"]`).parentElement;
  labelOf("first").querySelector("span").textContent = `Checkpoint ${data.checkpoint.id}`;
  labelOf("second").querySelector("span").textContent = `Checkpoint ${data.against.checkpoint.id}`;
  const differs = data.answers.every((answer, a) => differenceOf(answer, data.against.answers[a]));
  const difference = labelOf("difference");
  difference.querySelector("input").disabled = !differs;
  difference.title = differs ? `Checkpoint ${data.checkpoint.id} minus checkpoint ${data.against.checkpoint.id}, token by token`
    : "The two checkpoints have other tokens: there is no difference by token.";
  if (!differs && view.shows === "difference") chooseRadio("shows", "first");
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
  radios("shows", [["first", ""], ["second", ""], ["both", "Both"], ["difference", "Difference"]], build);
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
