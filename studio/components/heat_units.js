// From tokens to what is coloured: units (tokens, words, sentences, phrases) with their three readings.
//
// A unit begins where its kind begins in the text AND a token begins there: a token is never split,
// and neither is a character made of several code points (emoji, accents, Hangul).

const SEGMENTERS = {};

function segments(text, granularity) {
  SEGMENTERS[granularity] ||= new Intl.Segmenter(undefined, { granularity });
  return SEGMENTERS[granularity].segment(text);
}

// A word's or sentence's unit takes the spaces before it, as the tokenizer's tokens do.
function beforeSpaces(text, at) {
  let start = at;
  while (start > 0 && (text[start - 1] === " " || text[start - 1] === "\t")) start -= 1;
  return start;
}

const BEGINNINGS = {
  token: (text) => Array.from(segments(text, "grapheme"), (piece) => piece.index),
  word: (text) => {
    const starts = [];
    let wasSpace = true;
    for (const { segment, index, isWordLike } of segments(text, "word")) {
      const isSpace = segment.trim() === "";
      if (isWordLike && !wasSpace) starts.push(index);
      if (isSpace && !wasSpace) starts.push(index);
      wasSpace = isSpace;
    }
    return starts;
  },
  sentence: (text) => Array.from(segments(text, "sentence"), (piece) => beforeSpaces(text, piece.index)),
  phrase: (text) => {
    const starts = BEGINNINGS.sentence(text);
    for (const match of text.matchAll(/[,;:–—]\s+|[，、；：。！？]/gu)) {
      starts.push(beforeSpaces(text, match.index + match[0].length));
    }
    return cutLong(text, [...new Set(starts)].sort((a, b) => a - b));
  },
};

// Segmenting is most of the work, and of several answers mostly one is edited: what was found is kept.
const KEPT_TEXTS = 64; // eight answers in every kind, and those before the last edits
const keptByText = new Map();

function remembered(kind, text, make) {
  const key = `${kind} ${text}`;
  const found = keptByText.has(key) ? keptByText.get(key) : make();
  keptByText.delete(key);
  keptByText.set(key, found);
  if (keptByText.size > KEPT_TEXTS) keptByText.delete(keptByText.keys().next().value);
  return found;
}

const beginningsOf = (kind, text) => remembered(kind, text, () => new Set(BEGINNINGS[kind](text)));

function numWords(text) {
  return remembered("count", text, () => Array.from(segments(text, "word")).filter(({ isWordLike }) => isWordLike).length);
}

const LONG_PHRASE = 72;

// Text without any punctuation is cut at a word where it gets long.
function cutLong(text, starts) {
  const words = BEGINNINGS.word(text);
  const cut = [];
  let last = 0;
  let w = 0;
  for (const start of [...starts, text.length]) {
    for (; w < words.length && words[w] < start; w += 1) {
      if (words[w] - last > LONG_PHRASE) cut.push(last = words[w]);
    }
    if (start < text.length) cut.push(last = start);
  }
  return cut;
}

// {units, ends}: units of the text in order, and the end tokens behind it. Each has its text, first and
// last token, `value` after it (null where the model read nothing), `change`, `contribution`, `running`.
function unitsOf(answer, kind) {
  const { tokens } = answer;
  const numInside = tokens.text.findIndex((text, i) => text === "" && i >= 0);
  const inside = numInside < 0 ? tokens.text.length : numInside;
  const text = tokens.text.join("");
  const graphemes = beginningsOf("token", text);
  const wanted = kind === "token" ? graphemes : beginningsOf(kind, text);
  const units = [];
  const ends = [];
  let at = 0;
  let before = answer.prompt_value ?? 0;
  let running = 0;
  for (let i = 0; i < tokens.text.length; i += 1) {
    const isEnd = i >= inside;
    if (isEnd || !units.length || (wanted.has(at) && graphemes.has(at))) {
      (isEnd ? ends : units).push({
        text: "", first: i, last: i, value: null, change: 0, contribution: 0, running: 0, numPieces: 0, isEnd,
      });
    }
    const unit = (isEnd ? ends : units).at(-1);
    const value = tokens.value[i];
    unit.text += tokens.text[i];
    unit.last = i;
    unit.numPieces += tokens.pieces[i] || 1;
    unit.contribution += tokens.contribution[i];
    if (value !== null) {
      unit.value = value;
      unit.change += value - before;
      before = value;
    }
    running += tokens.contribution[i];
    unit.running = running;
    at += tokens.text[i].length;
  }
  return { units, ends };
}

// What one checkpoint reads minus what the other reads; null where their tokens differ.
function differenceOf(one, other) {
  const same = one.tokens.text.length === other.tokens.text.length
    && one.tokens.text.every((text, i) => text === other.tokens.text[i]);
  if (!same) return null;
  const minus = (a, b) => (a === null || b === null ? null : a - b);
  const column = (name) => one.tokens[name].map((number, i) => minus(number, other.tokens[name][i]));
  return {
    ...one,
    reward: one.reward - other.reward,
    prompt_value: minus(one.prompt_value, other.prompt_value),
    end_term: one.end_term - other.end_term,
    tokens: { ...one.tokens, value: column("value"), contribution: column("contribution") },
  };
}

// ---- the scale ---------------------------------------------------------------------------------

// Where the scale ends: the 98th percentile of |score|, so that one outlier does not pale all.
function scaleOf(numbers) {
  const sizes = numbers.filter((number) => number !== null).map(Math.abs).sort((a, b) => a - b);
  if (!sizes.length || sizes.at(-1) === 0) return 1;
  return sizes[Math.min(sizes.length - 1, Math.floor(props.quantile * sizes.length))] || sizes.at(-1);
}

function levelOf(number, scale) {
  if (number === null) return 0;
  const level = Math.round((props.levels * number) / scale);
  return Math.max(-props.levels, Math.min(props.levels, level));
}

function decimalsFor(size) {
  return size < 0.0095 ? 5 : size < 0.095 ? 4 : size < 9.5 ? 3 : 1;
}
