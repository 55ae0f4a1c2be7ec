// Reading units out: by pointer, by keyboard, by a jump from a list. One listener for all tokens.

let maps = []; // one entry of buildMap an answer

function describe(a, i) {
  const unit = maps[a].all[i];
  const value = unit.value === null ? "not read by the model" : `value so far ${signed(unit.value)}`;
  const pieces = unit.last > unit.first || unit.numPieces > 1
    ? ` · ${plural(unit.numPieces, "token", "tokens")} of the tokenizer` : "";
  const kind = maps[a].minus ? "difference of: " : "";
  return [visible(unit.text), `${kind}${value}`, `change ${signed(unit.change, 4)}`,
    `contribution ${signed(unit.contribution, 4)}`, `sum so far ${signed(unit.running)}${pieces}`];
}

function unitAt(target) {
  const span = target instanceof Element ? target.closest("[data-i]") : null;
  return span ? [Number(span.dataset.a), Number(span.dataset.i)] : null;
}

function readOut(a, i) {
  const [text, ...numbers] = describe(a, i);
  const whose = maps.length > 1 ? `${maps[a].short} ` : "";
  part("readout").replaceChildren(whose, h("b", {}, text), ` ${numbers.join(" · ")}`);
}

function placeTip(span, a, i) {
  const tip = part("tip");
  tip.replaceChildren(...describe(a, i).map((line) => h("div", {}, line)));
  tip.hidden = false;
  const box = span.getClientRects()[0] || span.getBoundingClientRect();
  const left = Math.min(Math.max(8, box.left), window.innerWidth - tip.offsetWidth - 8);
  const above = box.top - tip.offsetHeight - 8;
  tip.style.left = `${left}px`;
  tip.style.top = `${above > 8 ? above : box.bottom + 8}px`;
}

function focusUnit(a, i) {
  const { spans } = maps[a];
  const index = Math.min(Math.max(0, i), spans.length - 1);
  maps[a].text.parentElement.querySelector('[tabindex="0"][data-i]')?.removeAttribute("tabindex");
  spans[index].setAttribute("tabindex", "0");
  spans[index].focus();
}

function jumpTo(a, i) {
  focusUnit(a, i);
  const isCalm = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
  maps[a].spans[i].scrollIntoView({ block: "center", behavior: isCalm ? "auto" : "smooth" });
}

// The unit above or below: nearest in x on the closest other line.
function verticalNeighbour(a, i, direction) {
  const { spans } = maps[a];
  const from = spans[i].getClientRects()[0];
  if (!from) return i;
  const x = from.left + from.width / 2;
  let best = i;
  let bestTop = null;
  let bestDistance = Infinity;
  for (let j = i + direction; j >= 0 && j < spans.length; j += direction) {
    const box = spans[j].getClientRects()[0];
    if (!box || Math.abs(box.top - from.top) < from.height / 2) continue;
    if (bestTop === null) bestTop = box.top;
    if (Math.abs(box.top - bestTop) > from.height / 2) break;
    const distance = Math.abs(box.left + box.width / 2 - x);
    if (distance < bestDistance) [best, bestDistance] = [j, distance];
  }
  return best;
}

function onUnitKey(event) {
  const at = unitAt(event.target);
  if (!at || event.ctrlKey || event.metaKey || event.altKey) return;
  const [a, i] = at;
  const goal = {
    ArrowRight: () => i + 1,
    ArrowLeft: () => i - 1,
    ArrowDown: () => verticalNeighbour(a, i, 1),
    ArrowUp: () => verticalNeighbour(a, i, -1),
    Home: () => 0,
    End: () => maps[a].spans.length - 1,
  }[event.key];
  if (!goal) return;
  event.preventDefault();
  focusUnit(a, goal());
}

function listenToMaps(box) {
  box.addEventListener("pointerover", (event) => {
    const at = unitAt(event.target);
    if (!at) {
      part("tip").hidden = true;
      return;
    }
    readOut(...at);
    if (event.pointerType === "mouse") placeTip(event.target.closest("[data-i]"), ...at);
  });
  box.addEventListener("pointerleave", () => { part("tip").hidden = true; });
  for (const kind of ["pointerdown", "focusin"]) {
    box.addEventListener(kind, (event) => {
      const at = unitAt(event.target);
      if (at) readOut(...at);
    });
  }
  box.addEventListener("keydown", onUnitKey);
  window.addEventListener("scroll", () => { part("tip").hidden = true; }, { passive: true });
}
