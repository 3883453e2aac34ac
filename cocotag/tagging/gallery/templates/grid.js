// The grid of cards. Only cards near the screen are in the document.

const PART = 20000; // images per part: browsers limit the height of a page to some millions of pixels
const BESIDE = 600; // pixels above and below the screen that have cards too
const grid = byId("grid");
const cards = new Map(); // image -> its card
let part = 0, current = 0; // `current` is an index in `shown`
let columns = 1, cardWidth = 0, cardHeight = 0, gap = 0;

const inPart = () => Math.min(PART, shown.length - part * PART);
const rowHeight = () => cardHeight + gap;

function measure() {
  const rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
  gap = Math.round(0.7 * rem);
  columns = Math.max(1, Math.floor((grid.clientWidth + gap) / (10 * rem + gap)));
  cardWidth = (grid.clientWidth - gap * (columns - 1)) / columns;
  const imageHeight = Math.round(cardWidth * 0.75);
  cardHeight = Math.round(imageHeight + (1.6 + LINES * 1.3 + 0.4) * rem);
  for (const [name, size] of Object.entries({ "card-width": cardWidth, "card-height": cardHeight, "image-height": imageHeight })) {
    grid.style.setProperty(`--${name}`, `${size}px`);
  }
}

function draw({ refill = false } = {}) {
  const count = inPart(), rows = Math.ceil(count / columns);
  grid.style.height = `${Math.max(0, rows * rowHeight() - gap)}px`;
  const top = grid.getBoundingClientRect().top;
  const first = Math.max(0, Math.floor((-top - BESIDE) / rowHeight()));
  const last = Math.min(rows, Math.ceil((innerHeight - top + BESIDE) / rowHeight()));
  const wanted = [];
  for (let slot = first * columns; slot < Math.min(last * columns, count); slot += 1) wanted.push(put(slot, refill));
  const focused = document.activeElement.closest(".card");
  for (const [image, card] of cards) {
    if (wanted.includes(card)) continue;
    const slot = focused === card ? shown.indexOf(image) - part * PART : -1;
    if (slot >= 0 && slot < count) wanted[slot < first * columns ? "unshift" : "push"](put(slot, refill)); // keeps the focus
    else {
      card.remove();
      cards.delete(image);
    }
  }
  let next = grid.firstChild; // document order equals visual order, for screen readers
  for (const card of wanted) {
    if (card === next) next = next.nextSibling;
    else grid.insertBefore(card, next);
  }
}

function put(slot, refill) {
  const number = part * PART + slot, image = shown[number];
  let card = cards.get(image);
  if (!card) {
    card = makeCard(image);
    cards.set(image, card);
    fillCard(card);
  } else if (refill) fillCard(card);
  card.style.left = `${(slot % columns) * (cardWidth + gap)}px`;
  card.style.top = `${Math.floor(slot / columns) * rowHeight()}px`;
  card.number = number;
  card.firstChild.tabIndex = number === current ? 0 : -1;
  card.setAttribute("aria-posinset", String(number + 1));
  card.setAttribute("aria-setsize", String(shown.length));
  return card;
}

function clearCards() {
  for (const card of cards.values()) card.remove();
  cards.clear();
}

function goTo(number, { focus = true } = {}) {
  if (!shown.length) return;
  current = Math.max(0, Math.min(shown.length - 1, number));
  if (Math.floor(current / PART) !== part) {
    part = Math.floor(current / PART);
    drawParts();
  }
  draw();
  const row = Math.floor((current - part * PART) / columns), box = grid.getBoundingClientRect();
  const above = box.top + row * rowHeight(), covered = barHeight() + gap;
  if (above < covered) scrollBy(0, above - covered);
  else if (above + cardHeight > innerHeight - gap) scrollBy(0, above + cardHeight - innerHeight + gap);
  draw();
  if (focus) cards.get(shown[current])?.firstChild.focus({ preventScroll: true });
}

function barHeight() { // of the bar that stays at the top while the page scrolls
  const bar = document.querySelector(".bar");
  return getComputedStyle(bar).position === "sticky" ? bar.offsetHeight : 0;
}

function drawParts() {
  const many = Math.ceil(shown.length / PART), box = byId("parts");
  box.hidden = many < 2;
  if (box.hidden) return;
  const step = (text, to) => element("button", { type: "button", disabled: to < 0 || to >= many, onclick: () => showPart(to) }, text);
  const start = part * PART, text = `${(start + 1).toLocaleString("en")} to ${(start + inPart()).toLocaleString("en")}`;
  box.replaceChildren(step("Previous part", part - 1), text, step("Next part", part + 1));
}

function showPart(number) {
  [part, current] = [number, number * PART];
  drawParts();
  scrollToGrid();
  draw();
}

function scrollToGrid() {
  const top = grid.getBoundingClientRect().top - barHeight() - 2 * gap;
  if (top < 0) scrollBy(0, top);
}

const MOVES = {
  ArrowLeft: () => current - 1,
  ArrowRight: () => current + 1,
  ArrowUp: () => (current >= columns ? current - columns : current),
  ArrowDown: () => (current + columns < shown.length ? current + columns : current),
  Home: () => 0,
  End: () => shown.length - 1,
};

function moveByKey(event) {
  if (!MOVES[event.key] || !shown.length) return;
  event.preventDefault();
  const started = document.activeElement.closest(".card") !== null;
  goTo(started ? MOVES[event.key]() : firstInSight());
}

function firstInSight() { // the image from which the keyboard starts if no card has the focus
  const row = Math.ceil((barHeight() - grid.getBoundingClientRect().top) / rowHeight());
  return Math.min(shown.length - 1, part * PART + Math.max(0, row) * columns);
}
