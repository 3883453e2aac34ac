// The large view: the original photograph, every score, steps to the next and the previous image.

const large = byId("large");
let largeTurn = 0; // number of the latest request for an original; answers to earlier ones are ignored

function openLarge(number) {
  current = number;
  if (!large.open) {
    large.showModal();
    large.focus();
  }
  showLarge();
}

function showLarge() {
  const image = shown[current], folder = folderOf(image), name = encodeName(images.names[image]);
  byId("large-name").textContent = nameOf(image);
  byId("large-folder").textContent = wellFormed(folder.text);
  byId("large-link").href = folder.near + name;
  byId("large-place").textContent = `${(current + 1).toLocaleString("en")} of ${shown.length.toLocaleString("en")}`;
  byId("previous").disabled = current === 0;
  byId("next").disabled = current === shown.length - 1;
  byId("large-note").hidden = true;
  fillLarge(image);
  showOriginal(image, [folder.near + name, folder.far + name]);
}

function fillLarge(image) {
  const all = scoresOf(image);
  const on = all.filter((one) => one.on).map((one) => tagName(one.tag));
  byId("large-image").alt = `${nameOf(image)}: ${on.join(", ") || "no tag"}`;
  byId("large-tags").replaceChildren(...all.map(({ tag, value, on: met }) => {
    const meter = element("span", { className: "meter" });
    meter.style.setProperty("--score", String(value));
    meter.style.setProperty("--threshold", String(thresholdOf(tag)));
    const item = element("li", { className: met ? "on" : "off" }, element("span", { className: "name" }, tagName(tag)), meter);
    item.append(element("span", { className: "score" }, value.toFixed(3)));
    item.title = `threshold ${thresholdOf(tag).toFixed(3)}`;
    return item;
  }));
  if (!all.length) byId("large-tags").replaceChildren(element("li", { className: "off" }, "no scores"));
}

function showOriginal(image, addresses) { // shows the thumbnail until the original is loaded, or if it cannot be loaded
  const turn = ++largeTurn, picture = byId("large-image"), thumb = thumbOf(image);
  if (thumb) picture.src = thumb; else picture.removeAttribute("src");
  const attempt = ([address, ...rest]) => {
    const original = new Image();
    original.onload = () => {
      if (turn !== largeTurn) return;
      picture.src = address;
      byId("large-link").href = address;
    };
    original.onerror = () => {
      if (turn !== largeTurn) return;
      if (rest.length) attempt(rest);
      else {
        byId("large-note").textContent = "The original cannot be shown: it was moved or is offline, or the browser does not support its format.";
        byId("large-note").hidden = false;
      }
    };
    original.src = address;
  };
  attempt([...new Set(addresses)].filter((address) => location.protocol === "file:" || !address.startsWith("file:")));
}

function stepLarge(by) {
  const to = current + by;
  if (to >= 0 && to < shown.length) openLarge(to);
}

large.addEventListener("close", () => {
  largeTurn += 1;
  byId("large-image").removeAttribute("src");
  goTo(current);
});
large.addEventListener("keydown", (event) => {
  const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!by || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  stepLarge(by);
});
byId("previous").onclick = () => stepLarge(-1);
byId("next").onclick = () => stepLarge(1);
byId("close").onclick = () => large.close();
