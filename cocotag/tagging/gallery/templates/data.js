"use strict";
// The data of the page, loaded from the chunks into typed arrays. A million images fit.
document.documentElement.classList.add("js");

const byId = (id) => document.getElementById(id);
const about = JSON.parse(byId("about").textContent);

// A score is the bits of its float16: as integers, they have the order of the scores. The sign bit marks a tag.
const ONE = 0x3c00, DECIDED = 0x8000, BITS = 0x7fff;
const valueOf = Float32Array.from({ length: ONE + 1 }, (_, bits) => {
  const exponent = bits >> 10, fraction = (bits & 1023) / 1024;
  return exponent ? (1 + fraction) * 2 ** (exponent - 15) : fraction * 2 ** -14;
});

function bitsOf(value) { // bits of the nearest float16, so that a threshold has the same meaning as in cocotag
  let low = 0, high = ONE;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (valueOf[middle] < value) low = middle + 1; else high = middle;
  }
  if (!low) return 0;
  const above = valueOf[low] - value, below = value - valueOf[low - 1];
  return below < above || (below === above && low % 2) ? low - 1 : low;
}

const images = {
  count: 0, // images loaded so far
  names: [],
  folder: new Uint32Array(about.images),
  thumbs: new Uint8Array(8 * about.images),
};
const folders = []; // {text, lower, near, far}
const failures = []; // {folder, name, status, message}
const scored = about.models.map((model) => ({
  start: new Float64Array(about.images + 1), // index of the first score of each image
  classes: new (model.classes.length > 65535 ? Uint32Array : Uint16Array)(model.pairs),
  scores: new Uint16Array(model.pairs),
}));

function bytesOf(text) {
  const letters = atob(text), bytes = new Uint8Array(letters.length);
  for (let at = 0; at < letters.length; at += 1) bytes[at] = letters.charCodeAt(at);
  return bytes;
}

function take(chunk) {
  const before = folders.length, first = images.count;
  for (const [text, near, far] of chunk.folders) folders.push({ text, lower: wellFormed(text).toLowerCase(), near, far });
  let next = first;
  for (let at = 0; at < chunk.where.length; at += 2) {
    images.folder.fill(before + chunk.where[at], next, next + chunk.where[at + 1]);
    next += chunk.where[at + 1];
  }
  for (const name of chunk.names) images.names.push(name);
  images.thumbs.set(bytesOf(chunk.thumbs), 8 * first);
  chunk.models.forEach((model, number) => {
    const into = scored[number], Wide = into.classes.constructor;
    const counts = new Wide(bytesOf(model.counts).buffer), from = into.start[first];
    counts.forEach((count, at) => { into.start[first + at + 1] = into.start[first + at] + count; });
    into.classes.set(new Wide(bytesOf(model.classes).buffer), from);
    into.scores.set(new Uint16Array(bytesOf(model.scores).buffer), from);
  });
  for (const [folder, name, status, message] of chunk.errors) {
    failures.push({ folder: before + folder, name, status, message: wellFormed(message) });
  }
  images.count = first + chunk.names.length;
}

// Names may have bytes that are not UTF-8. These are lone surrogates, \udc80 to \udcff, one per byte.
const wellFormed = (text) => text.replace(/\p{Surrogate}/gu, "\ufffd");

const encodeName = (name) => Array.from(name, (letter) => {
  const code = letter.codePointAt(0);
  if (code >= 0xdc80 && code <= 0xdcff) return `%${(code - 0xdc00).toString(16).toUpperCase()}`;
  return encodeURIComponent(wellFormed(letter));
}).join("");

const nameOf = (image) => wellFormed(images.names[image]);
const folderOf = (image) => folders[images.folder[image]];
const join = (folder, name) => (folder && !folder.endsWith("/") ? `${folder}/${name}` : folder + name);
const pathOf = (image) => join(wellFormed(folderOf(image).text), nameOf(image));

function thumbOf(image) {
  const bytes = images.thumbs.subarray(8 * image, 8 * image + 8);
  if (bytes.every((byte) => byte === 0)) return null;
  const digits = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return `${about.thumbs}${digits.slice(0, 2)}/${digits}.jpg`;
}

function loadChunks(after) { // one after the other, so that the page is usable from the first chunk on
  let number = 0;
  const next = () => {
    if (number === about.chunks) return;
    const script = document.createElement("script"), file = `${about.data}${String(number).padStart(6, "0")}.js`;
    script.src = file;
    script.onload = () => { script.remove(); number += 1; after(number); next(); };
    script.onerror = () => {
      byId("trouble").textContent = `${file} is missing beside this page, so some images are not shown. Copy the whole folder.`;
      byId("trouble").hidden = false;
    };
    document.head.append(script);
  };
  window.cocotagChunk = take;
  next();
  if (!about.chunks) after(0);
}
