// The stretches of an answer that raise and lower it most. One token alone says little: the evidence for the
// map (decision 0018) is about stretches, so runs of words are listed whatever the unit that is coloured.

const NUM_RUNS = 3;
const RUN_WORDS = { least: 3, most: 12 };
const SMALLEST_RUN = 0.1; // of the strongest one's sum: less is not worth a place in the list

// Runs of at most 12 neighbouring words of a line that add up to most, strongest first, none overlapping.
// amounts[i] is word i's and lines[i] its line; each run is {first, last, sum} with indices of words.
function strongestRuns(amounts, lines) {
  const sizes = new Map();
  for (const line of lines) sizes.set(line, (sizes.get(line) || 0) + 1);
  const taken = new Uint8Array(amounts.length);
  const runs = [];
  while (runs.length < NUM_RUNS) {
    let best = { sum: 0 };
    for (let first = 0; first < amounts.length; first += 1) {
      const least = Math.min(RUN_WORDS.least, sizes.get(lines[first]));
      let sum = 0;
      for (let last = first; last < first + RUN_WORDS.most && lines[last] === lines[first] && !taken[last]; last += 1) {
        sum += amounts[last];
        if (last - first + 1 >= least && sum > best.sum) best = { first, last, sum };
      }
    }
    if (best.sum <= SMALLEST_RUN * (runs[0]?.sum ?? 0)) break;
    taken.fill(1, best.first, best.last + 1);
    runs.push(best);
  }
  return runs;
}

// Places to list: [{text, first, last, amount}] with first and last tokens; direction 1 is up, -1 down.
function runsOf(answer, reading, direction) {
  const words = unitsOf(answer, "word").units;
  let line = 0;
  const lines = words.map((word) => { line += word.text.trimEnd().includes("\n") ? 1 : 0; return line; });
  return strongestRuns(words.map((word) => direction * word[reading]), lines).map(({ first, last, sum }) => ({
    text: words.slice(first, last + 1).map((word) => word.text).join("").trim(),
    first: words[first].first, last: words[last].last, amount: direction * sum,
  }));
}

// Values do not add up, so there it is the phrases after which the value stands highest and lowest.
function phrasesByValue(answer, direction) {
  return unitsOf(answer, "phrase").units.filter((unit) => unit.value !== null && unit.text.trim())
    .sort((one, other) => direction * (other.value - one.value)).slice(0, NUM_RUNS)
    .map((unit) => ({ text: unit.text.trim(), first: unit.first, last: unit.last, amount: unit.value }));
}

function runTitles(map, reading) {
  if (map.minus) return [`More by checkpoint ${map.of.checkpoint.id}`, `Less by checkpoint ${map.of.checkpoint.id}`];
  return reading === "value" ? ["Highest after", "Lowest after"] : ["Raise it most", "Lower it most"];
}

function drawExtremes(a, reading) {
  const map = maps[a];
  const list = (title, direction) => {
    const places = reading === "value" ? phrasesByValue(map.answer, direction) : runsOf(map.answer, reading, direction);
    if (!places.length) return "";
    const decimals = decimalsFor(Math.abs(places[0].amount));
    return h("div", {}, h("span", { class: "rs-extreme-title" }, title), places.map((place) => {
      const button = h("button", { type: "button", class: "rs-span", dir: "auto", "data-sign": place.amount < 0 ? "down" : "up" },
        `${shortened(place.text.replaceAll("\n", "↵"), 72)} `, h("span", { class: "num", dir: "ltr" }, signed(place.amount, decimals)));
      button.addEventListener("click", () => showTokens(a, place.first, place.last));
      return button;
    }));
  };
  const [up, down] = runTitles(map, reading);
  map.extremes.replaceChildren(list(up, 1), list(down, -1));
}

// Lead to tokens of a map and underline them until other ones are shown.
function showTokens(a, first, last) {
  for (const span of element.querySelectorAll(".rs-tokens .marked")) span.classList.remove("marked");
  maps[a].all.forEach((unit, i) => {
    if (!unit.isEnd && unit.first <= last && unit.last >= first) maps[a].spans[i].classList.add("marked");
  });
  const i = maps[a].all.findIndex((unit) => unit.first <= first && first <= unit.last);
  if (i >= 0) jumpTo(a, i);
}
