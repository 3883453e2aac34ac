// Controls: mouse and keyboard input, and the updates that follow.

const MOST_TAGS = 400; // listed at once
const find = byId("find"), level = byId("level"), decided = byId("decided");

function update({ stay = false } = {}) {
  select();
  if (!stay) [part, current] = [0, 0];
  current = Math.min(current, Math.max(0, shown.length - 1));
  part = Math.floor(current / PART);
  drawParts();
  if (!stay) scrollToGrid();
  draw({ refill: true });
  countTags();
  tell();
}

function tell() {
  const all = images.count.toLocaleString("en"), some = shown.length.toLocaleString("en");
  const loading = images.count < about.images ? `, ${all} of ${about.images.toLocaleString("en")} loaded` : "";
  byId("count").textContent = shown.length === images.count ? `${all} images${loading}` : `${some} of ${all} images${loading}`;
  const value = wish.bits === null ? null : Number(level.value).toFixed(2);
  byId("level-text").textContent = value === null ? "as decided, one per tag" : `${value} for every tag`;
  const keep = value === null || !about.keeping ? [] : ["To apply this threshold: ", element("code", {}, keepCommand(value))];
  byId("keep").replaceChildren(...keep);
  decided.setAttribute("aria-pressed", String(wish.bits === null));
  const { size } = wish.chosen;
  byId("chosen").textContent = size ? `${size} selected` : "";
  byId("clear").disabled = !size;
}

function keepCommand(value) { // a shell command
  const { state, gallery, names, start } = about.keeping;
  const from = start ? `cd ${shellWord(start)} && ` : "", rename = names ? ` --rename ${shellWord(names)}` : "";
  return `${from}cocotag retag ${shellWord(state)} --gallery ${shellWord(gallery)}${rename} --threshold ${value}`;
}

function shellWord([near, far]) { // relative addresses stay valid for files that were moved together with the page
  const bytes = new URL(location.protocol === "file:" ? near : far, location).pathname.replace(/(?<=.)\/$/, "");
  try {
    const path = decodeURIComponent(bytes);
    if (/^[\w/.,:@%+-]+$/.test(path)) return path;
    if (!/\p{Cc}/u.test(path)) return `'${path.replaceAll("'", "'\\''")}'`;
  } catch { /* not UTF-8 */ }
  return `$'${bytes.replaceAll("'", "\\'").replace(/%(..)/g, "\\x$1")}'`;
}

// The list of tags

let items = new Map(); // tag -> its line

function listTags() {
  const { classes } = about.models[wish.model], text = byId("find-tag").value.trim().toLowerCase(), list = byId("tag-list");
  items = new Map();
  const lines = [], all = [...classes.keys()];
  const fits = (tag) => tagName(tag).toLowerCase().includes(text) || groupOf(tag).toLowerCase().includes(text);
  const groups = new Map();
  for (const tag of all.filter(fits)) {
    if (!groups.has(groupOf(tag))) groups.set(groupOf(tag), []);
    groups.get(groupOf(tag)).push(tag);
  }
  const isAlone = ([group, [tag, ...others]]) => !others.length && tagName(tag) === group; // such as COCO's person
  if (!text) lines.push(makeItem(classes.length));
  for (const entry of [...groups].sort((a, b) => isAlone(b) - isAlone(a))) {
    if (items.size >= MOST_TAGS) break;
    if (!isAlone(entry)) lines.push(element("li", { className: "group" }, entry[0]));
    for (const tag of entry[1].slice(0, MOST_TAGS - items.size)) lines.push(makeItem(tag));
  }
  const left = [...groups.values()].flat().length + (text ? 0 : 1) - items.size;
  if (left > 0) lines.push(element("li", { className: "group" }, `and ${left.toLocaleString("en")} more: use the search box above`));
  if (!lines.length) lines.push(element("li", { className: "group" }, "No tag matches."));
  list.replaceChildren(...lines);
  countTags();
}

const groupOf = (tag) => {
  const [name, group] = about.models[wish.model].classes[tag];
  return wellFormed(group || name);
};

function makeItem(tag) {
  const box = element("input", { type: "checkbox", checked: wish.chosen.has(tag), onchange: () => toggleTag(tag, box.checked) });
  const many = element("span", { className: "n" });
  const item = element("li", {}, element("label", {}, box, element("span", { className: "name" }, tagName(tag)), many));
  items.set(tag, { item, box, many, shown: null });
  return item;
}

function countTags() {
  for (const [tag, line] of items) {
    if (line.shown === counts[tag]) continue;
    line.shown = counts[tag];
    line.many.textContent = (counts[tag] ?? 0).toLocaleString("en");
    line.item.classList.toggle("empty", !counts[tag]);
  }
}

function toggleTag(tag, on = !wish.chosen.has(tag)) {
  if (on) wish.chosen.add(tag); else wish.chosen.delete(tag);
  if (items.has(tag)) items.get(tag).box.checked = on;
  update();
}

// Controls

find.oninput = () => {
  wish.words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
  update();
};
byId("find-tag").oninput = listTags;
byId("order").onchange = () => { wish.order = byId("order").value; update(); };
for (const choice of document.querySelectorAll("input[name=match]")) {
  choice.onchange = () => { wish.match = choice.value; update(); };
}
byId("clear").onclick = () => {
  wish.chosen.clear();
  for (const { box } of items.values()) box.checked = false;
  update();
};
level.oninput = () => {
  wish.bits = bitsOf(Number(level.value));
  update({ stay: true });
};
decided.onclick = () => {
  wish.bits = null;
  restLevel();
  update({ stay: true });
};

function restLevel() { // at the median of the tags' thresholds
  const sorted = Float64Array.from(about.models[wish.model].thresholds).sort();
  level.value = String(sorted[sorted.length >> 1] ?? 0.5);
}

const choice = byId("model");
if (choice) {
  choice.append(...about.models.map(({ name }, at) => element("option", { value: String(at) }, wellFormed(name))));
  choice.onchange = () => {
    const before = about.models[wish.model].classes, names = new Set([...wish.chosen].map((tag) => before[tag]?.[0]));
    wish.model = Number(choice.value);
    const { classes } = about.models[wish.model];
    const now = [...classes.keys()].filter((tag) => names.has(classes[tag][0]));
    wish.chosen = new Set(names.has(undefined) ? [...now, classes.length] : now);
    if (wish.bits === null) restLevel();
    clearCards();
    update();
    listTags();
  };
}

function show(errors) {
  byId("images").hidden = errors;
  byId("errors").hidden = !errors;
  byId("show-images").setAttribute("aria-pressed", String(!errors));
  byId("show-errors").setAttribute("aria-pressed", String(errors));
  if (errors) drawErrors(); else draw();
}
byId("show-images").onclick = () => show(false);
byId("show-errors").onclick = () => show(true);

grid.addEventListener("click", (event) => {
  const tag = event.target.closest(".tag"), open = event.target.closest(".open");
  if (tag) toggleTag(tag.tag);
  else if (open) openLarge(open.parentNode.number);
});

document.addEventListener("keydown", (event) => {
  if (large.open || byId("images").hidden || event.ctrlKey || event.metaKey || event.altKey) return;
  const { target } = event, typing = target.closest("input, select, textarea");
  if (event.key === "Escape" && target === find) {
    find.value = "";
    find.oninput();
    find.blur();
  } else if (event.key === "/" && !target.closest("input[type=search]")) {
    event.preventDefault();
    find.focus();
    find.select();
  } else if (!typing && (target === document.body || grid.contains(target))) {
    if (event.key === "Enter" && target === document.body && shown.length) openLarge(current);
    else if (target === document.body && (event.key === "Home" || event.key === "End")) return; // the browser scrolls the page
    else moveByKey(event);
  }
});

let waiting = false;
function drawSoon() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    if (!byId("images").hidden) draw();
  });
}
addEventListener("scroll", drawSoon, { passive: true });
let seen = 0;
new ResizeObserver(() => {
  if (!grid.clientWidth) return;
  if (grid.clientWidth !== seen) {
    seen = grid.clientWidth;
    measure();
  }
  drawSoon();
}).observe(grid);
addEventListener("resize", drawSoon);

byId("tags").open = matchMedia("(min-width: 58rem)").matches;
restLevel();
measure();
listTags();
tell();
loadChunks((number) => { // update after the first chunk, at powers of two, and after the last
  if (number === about.chunks || (number & (number - 1)) === 0) update({ stay: true });
});
