// The card of an image: thumbnail, name, first tags.

const LINES = 4;

function element(kind, values = {}, ...children) {
  const node = Object.assign(document.createElement(kind), values);
  node.append(...children);
  return node;
}

function makeCard(image) {
  const name = nameOf(image), address = thumbOf(image), thumb = element("span", { className: "thumb" });
  if (address) {
    const picture = element("img", { alt: "", loading: "lazy", decoding: "async", draggable: false, src: address });
    picture.onerror = () => thumb.replaceChildren("no thumbnail");
    thumb.append(picture);
  } else thumb.append("no thumbnail");
  const open = element("button", { type: "button", className: "open", title: pathOf(image) }, thumb);
  open.append(element("span", { className: "file" }, shortened(name)));
  open.setAttribute("aria-label", name);
  const card = element("li", { className: "card" }, open, element("ul"));
  card.image = image;
  return card;
}

// The middle is cut, since the end of a name often distinguishes it.
const shortened = (name) => (name.length > 24 ? `${name.slice(0, 11)}\u2026${name.slice(-11)}` : name);

function linesOf(image) { // selected classes come first, whether they are tags or not
  const all = scoresOf(image), close = wish.order === "uncertain" ? nearest(image) : null;
  const isFirst = (one) => wish.chosen.has(one.tag) || (close !== null && one.tag === close.tag);
  return [...all.filter(isFirst), ...all.filter((one) => one.on && !isFirst(one))];
}

function fillCard(card) {
  const lines = linesOf(card.image), fit = lines.length > LINES ? LINES - 1 : lines.length;
  const items = lines.slice(0, fit).map((one) => element("li", {}, makeTag(one)));
  if (fit < lines.length) items.push(element("li", { className: "more" }, `and ${lines.length - fit} more`));
  if (!lines.length) items.push(element("li", { className: "more" }, "no tag"));
  card.lastChild.replaceChildren(...items);
}

function makeTag({ tag, value, on }) {
  const name = tagName(tag), threshold = thresholdOf(tag);
  const score = element("span", { className: "score" }, value.toFixed(Math.abs(value - threshold) < 0.01 ? 3 : 2));
  const button = element("button", { type: "button", className: "tag", tabIndex: -1 }, element("span", { className: "name" }, name), score);
  button.classList.toggle("off", !on);
  button.classList.toggle("wanted", wish.chosen.has(tag));
  button.title = `${name} ${value.toFixed(4)}${on ? "" : ", not a tag"}; threshold ${threshold.toFixed(3)}`;
  button.style.setProperty("--score", String(value));
  button.tag = tag;
  return button;
}

const tagName = (tag) => {
  const { classes } = about.models[wish.model];
  return tag === classes.length ? "(no tag)" : wellFormed(classes[tag][0]);
};
