// The words that only one of two answers has, marked in both; the text itself stays as it is.

const DIFF_MS = 120; // beyond it, an approximation says that it is one
const LONGEST_DIFF = 2500; // words inserted and removed

// Words and marks of every script: Chinese and Thai have no spaces to split at.
function segments(text) {
  if (globalThis.Intl?.Segmenter) {
    segments.of ??= new Intl.Segmenter(undefined, { granularity: "word" });
    return Array.from(segments.of.segment(text), (piece) => ({ text: piece.segment, start: piece.index }));
  }
  return Array.from(text.matchAll(/[\p{L}\p{N}\p{M}]+|\s+|[^]/gu), (match) => ({ text: match[0], start: match.index }));
}

function isWord(text) {
  return /[\p{L}\p{N}]/u.test(text);
}

// [{node, start, end, text}] over the text nodes below `root`; formulas count as they stand.
function tokensOf(root) {
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  const tokens = [];
  while (walker.nextNode()) {
    const node = walker.currentNode;
    if (node.parentElement.closest("math")) continue;
    for (const { text, start } of segments(node.data)) {
      if (text.trim()) tokens.push({ node, start, end: start + text.length, text });
    }
  }
  return tokens;
}

// The pairs [i, j] of equal words on a shortest way from `a` to `b` (Myers 1986), or null when it
// takes too long. Numbers are compared, not texts.
function commonWords(a, b, until) {
  let head = 0;
  while (head < a.length && head < b.length && a[head] === b[head]) head += 1;
  let tail = 0;
  while (tail < a.length - head && tail < b.length - head && a[a.length - 1 - tail] === b[b.length - 1 - tail]) tail += 1;
  const n = a.length - head - tail;
  const m = b.length - head - tail;
  const most = Math.min(n + m, LONGEST_DIFF);
  const trace = [];
  let reach = new Int32Array(3);
  let isFound = n + m === 0;
  for (let d = 0; d <= most && !isFound; d += 1) {
    if (performance.now() > until) return null;
    // reach[k + d + 1]: how far along `a` the way on diagonal k gets with d steps.
    const before = reach;
    reach = new Int32Array(2 * d + 3);
    for (let k = -d; k <= d && !isFound; k += 2) {
      const down = k === -d || (k !== d && before[k + d - 1] < before[k + d + 1]);
      let x = d === 0 ? 0 : down ? before[k + d + 1] : before[k + d - 1] + 1;
      while (x < n && x - k < m && a[head + x] === b[head + x - k]) x += 1;
      reach[k + d + 1] = x;
      isFound = x >= n && x - k >= m;
    }
    trace.push(reach);
  }
  if (!isFound) return null;
  const pairs = [];
  let x = n;
  let y = m;
  for (let d = trace.length - 1; d >= 0; d -= 1) {
    const k = x - y;
    const before = d > 0 ? trace[d - 1] : null;
    const down = d > 0 && (k === -d || (k !== d && before[k + d - 1] < before[k + d + 1]));
    const fromX = d === 0 ? 0 : down ? before[k + d + 1] : before[k + d - 1];
    const fromY = d === 0 ? 0 : down ? fromX - k - 1 : fromX - k + 1;
    const startX = d === 0 ? 0 : down ? fromX : fromX + 1;
    while (x > startX) {
      x -= 1;
      y -= 1;
      pairs.push([head + x, head + y]);
    }
    x = fromX;
    y = fromY;
  }
  pairs.reverse();
  const first = Array.from({ length: head }, (_, i) => [i, i]);
  const last = Array.from({ length: tail }, (_, i) => [a.length - tail + i, b.length - tail + i]);
  return [...first, ...pairs, ...last];
}

// A single "the" that happens to stand in both hides more than it shows: it is marked as well.
function withoutStrayWords(pairs, a, b) {
  const kept = [];
  for (let start = 0, end = 1; start < pairs.length; start = end, end = start + 1) {
    while (end < pairs.length && pairs[end][0] === pairs[end - 1][0] + 1 && pairs[end][1] === pairs[end - 1][1] + 1) end += 1;
    const run = pairs.slice(start, end);
    const isAtEdge = (run[0][0] === 0 && run[0][1] === 0)
      || (run.at(-1)[0] === a.length - 1 && run.at(-1)[1] === b.length - 1);
    const numWords = run.filter(([i]) => isWord(a[i].text)).length;
    if (isAtEdge || numWords > 1) kept.push(...run);
  }
  return kept;
}

function compareWords(a, b) {
  const numbers = new Map();
  const numbered = (token) => {
    if (!numbers.has(token.text)) numbers.set(token.text, numbers.size);
    return numbers.get(token.text);
  };
  const [left, right] = [a.map(numbered), b.map(numbered)];
  const pairs = commonWords(left, right, performance.now() + DIFF_MS);
  const onlyLeft = new Uint8Array(a.length).fill(1);
  const onlyRight = new Uint8Array(b.length).fill(1);
  if (pairs) {
    for (const [i, j] of withoutStrayWords(pairs, a, b)) onlyLeft[i] = onlyRight[j] = 0;
  } else {
    const [inLeft, inRight] = [new Set(left), new Set(right)];
    left.forEach((word, i) => { onlyLeft[i] = inRight.has(word) ? 0 : 1; });
    right.forEach((word, j) => { onlyRight[j] = inLeft.has(word) ? 0 : 1; });
  }
  return { onlyLeft, onlyRight, isApproximate: !pairs };
}

function markWords(tokens, isMarked) {
  const runs = [];
  tokens.forEach((token, i) => {
    if (!isMarked[i]) return;
    const last = runs.at(-1);
    if (last && last.node === token.node && isMarked[i - 1]) last.end = token.end;
    else runs.push({ node: token.node, start: token.start, end: token.end });
  });
  for (const { node, start, end } of runs.reverse()) { // from the end, so that offsets stay right
    node.splitText(end);
    const middle = node.splitText(start);
    const mark = h("mark", { class: "rs-diff" });
    middle.replaceWith(mark);
    mark.append(middle);
  }
  return runs.length;
}

// Marks both and says in a sentence what was found.
function markDifference(left, right) {
  const [a, b] = [tokensOf(left), tokensOf(right)];
  const { onlyLeft, onlyRight, isApproximate } = compareWords(a, b);
  const count = (tokens, marks) => tokens.filter(({ text }, i) => marks[i] && isWord(text)).length;
  markWords(a, onlyLeft);
  markWords(b, onlyRight);
  const [numLeft, numRight] = [count(a, onlyLeft), count(b, onlyRight)];
  if (!numLeft && !numRight) return "The answers have the same words.";
  if (isApproximate) return "The answers are long and very different: words that the other one lacks altogether are marked.";
  return `Marked: ${plural(numLeft, "word", "words")} only in the left answer, `
    + `${plural(numRight, "word", "words")} only in the right one.`;
}
