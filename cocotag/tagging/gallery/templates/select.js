// Selection and order of the images, and the number of images with each tag.

const wish = { model: 0, bits: null, chosen: new Set(), match: "any", words: [], order: "given" }; // bits: null is as decided
let shown = new Uint32Array(0);
let counts = new Uint32Array(0); // images with each tag; the last is images without tags

const isOn = (score) => (wish.bits === null ? (score & DECIDED) !== 0 : (score & BITS) >= wish.bits);
const thresholdOf = (tag) => (wish.bits === null ? about.models[wish.model].thresholds[tag] : valueOf[wish.bits]);

function scoresOf(image) { // {tag, value, on}, highest first
  const { start, classes, scores } = scored[wish.model], found = [];
  for (let at = start[image]; at < start[image + 1]; at += 1) {
    found.push({ tag: classes[at], value: valueOf[scores[at] & BITS], on: isOn(scores[at]) });
  }
  return found;
}

function nearest(image) { // the tag whose score is nearest to its threshold, among the selected tags if there are any
  let best = null, least = Infinity;
  for (const one of scoresOf(image)) {
    const away = Math.abs(one.value - thresholdOf(one.tag));
    if (away < least && (!wish.chosen.size || wish.chosen.has(one.tag))) [best, least] = [one, away];
  }
  return best;
}

function select() {
  const { start, classes, scores } = scored[wish.model], tags = about.models[wish.model].classes.length;
  const order = wish.order === "name" ? nameOrder() : null, found = new Uint32Array(images.count);
  const wanted = new Uint8Array(tags + 1);
  for (const tag of wish.chosen) wanted[tag] = 1;
  counts = new Uint32Array(tags + 1);
  let many = 0;
  for (let position = 0; position < images.count; position += 1) {
    const image = order ? order[position] : position;
    if (wish.words.length && !hasWords(image)) continue;
    let on = 0, met = 0;
    for (let at = start[image]; at < start[image + 1]; at += 1) {
      if (isOn(scores[at])) {
        on += 1;
        counts[classes[at]] += 1;
        met += wanted[classes[at]];
      } else if (wish.bits !== null) break; // the rest are lower
    }
    if (!on) {
      counts[tags] += 1;
      met += wanted[tags];
    }
    if (matches(met)) found[many++] = image;
  }
  shown = found.subarray(0, many);
  if (keys[wish.order]) shown = sortedBy(keys[wish.order]());
}

function matches(met) {
  if (!wish.chosen.size) return true;
  return wish.match === "any" ? met > 0 : wish.match === "all" ? met === wish.chosen.size : met === 0;
}

function hasWords(image) {
  const text = join(folderOf(image).lower, nameOf(image).toLowerCase());
  return wish.words.every((word) => text.includes(word));
}

let byName = new Uint32Array(0);

function nameOrder() { // numbers by value, accented letters beside plain ones; a collator would take ten times as long
  if (byName.length !== images.count) {
    const plain = images.names.map((name) => wellFormed(name).normalize("NFKD").toLowerCase()
      .replace(/\d+/g, (digits) => digits.padStart(16, "0")));
    byName = Uint32Array.from(plain.keys())
      .sort((a, b) => (plain[a] < plain[b] ? -1 : plain[a] > plain[b] ? 1 : a - b));
  }
  return byName;
}

// Sort keys of images: integers from 0 to 65535, lowest first.
const FAR = 65535;
const keys = {
  uncertain() {
    const thresholds = Float32Array.from(counts, (_, tag) => thresholdOf(tag) ?? 0);
    const { start, classes, scores } = scored[wish.model], { chosen } = wish;
    return (image) => {
      let least = 1;
      for (let at = start[image]; at < start[image + 1]; at += 1) {
        const tag = classes[at];
        if (chosen.size && !chosen.has(tag)) continue;
        least = Math.min(least, Math.abs(valueOf[scores[at] & BITS] - thresholds[tag]));
      }
      return Math.round(least * FAR);
    };
  },
  high: () => (image) => FAR - scoreFor(image),
  low: () => scoreFor,
};

function scoreFor(image) { // the highest score, among the selected tags if there are any; their lowest if all must match
  const { start, classes, scores } = scored[wish.model], { chosen } = wish;
  const tags = chosen.has(counts.length - 1) ? chosen.size - 1 : chosen.size;
  if (!tags) return start[image] < start[image + 1] ? scores[start[image]] & BITS : 0;
  let high = 0, low = ONE, found = 0;
  for (let at = start[image]; at < start[image + 1]; at += 1) {
    if (!chosen.has(classes[at])) continue;
    const bits = scores[at] & BITS;
    [high, low, found] = [Math.max(high, bits), Math.min(low, bits), found + 1];
  }
  return wish.match === "all" ? (found === tags ? low : 0) : high;
}

function sortedBy(key) { // counting sort: a comparison sort of a million images would take seconds
  const values = Uint16Array.from(shown, key), starts = new Uint32Array(FAR + 2), sorted = new Uint32Array(shown.length);
  for (const value of values) starts[value + 1] += 1;
  for (let value = 0; value <= FAR; value += 1) starts[value + 1] += starts[value];
  values.forEach((value, at) => { sorted[starts[value]++] = shown[at]; });
  return sorted;
}
