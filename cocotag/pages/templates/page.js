"use strict";
// Sorting, filtering and opening of table rows. Without scripts, everything on the page is readable too.
document.documentElement.classList.add("js");

const opened = new Map(); // a row -> the row below it with its details

const valueOf = (row, column) => {
  const cell = row.cells[column];
  return cell.dataset.value ?? cell.textContent.trim();
};
const order = {
  number: (a, b) => Number(a) - Number(b),
  text: (a, b) => a.localeCompare(b, undefined, { numeric: true, sensitivity: "base" }),
};
const isMissing = (text, kind) => text === "" || (kind === "number" && Number.isNaN(Number(text)));
const rowsOf = (table) => Array.from(table.tBodies[0].rows).filter((row) => !row.classList.contains("opened"));

function sortBy(table, header) {
  const column = header.cellIndex, kind = header.dataset.sort;
  const now = header.getAttribute("aria-sort");
  const down = now === null ? kind === "number" : now === "ascending";
  for (const other of header.parentNode.cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", down ? "descending" : "ascending");
  const rows = rowsOf(table).map((row) => [valueOf(row, column), row]);
  rows.sort(([a], [b]) => {
    const missing = isMissing(a, kind) - isMissing(b, kind); // undefined values are last in both directions
    return missing || (isMissing(a, kind) ? 0 : order[kind](a, b) * (down ? -1 : 1));
  });
  table.tBodies[0].append(...rows.flatMap(([, row]) => (opened.has(row) ? [row, opened.get(row)] : [row])));
}

function filterBy(table, wanted, count) {
  const rows = rowsOf(table);
  let shown = 0;
  for (const row of rows) {
    row.hidden = !row.textContent.toLowerCase().includes(wanted);
    if (opened.has(row)) opened.get(row).hidden = row.hidden;
    if (!row.hidden) shown += 1;
  }
  count.textContent = wanted ? `${shown} of ${rows.length} rows` : "";
}

function toggle(row, open) {
  const button = row.querySelector(".opener"), details = document.getElementById(row.dataset.details);
  if (!button || !details || open === opened.has(row)) return;
  button.setAttribute("aria-expanded", String(open));
  if (open) {
    const below = document.createElement("tr"), cell = document.createElement("td"), panel = document.createElement("div");
    below.className = "opened";
    cell.colSpan = row.cells.length;
    panel.className = "panel";
    panel.id = button.getAttribute("aria-controls");
    panel.append(...Array.from(details.childNodes).filter((node) => node.nodeName !== "SUMMARY"));
    cell.append(panel);
    below.append(cell);
    row.after(below);
    opened.set(row, below);
    if (row.closest("tbody").querySelectorAll("tr.opened").length === 1) makeScrollable(); // the table may now be wider than its box
  } else {
    const below = opened.get(row);
    details.append(...below.querySelector(".panel").childNodes);
    below.remove();
    opened.delete(row);
  }
}

function makeOpenable(row) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "opener";
  button.setAttribute("aria-expanded", "false");
  button.setAttribute("aria-controls", `${row.dataset.details}-opened`);
  button.append(...row.cells[0].childNodes);
  row.cells[0].append(button);
  row.addEventListener("click", (event) => {
    const other = event.target.closest("a, button, input, summary");
    if (other && other !== button) return;
    if (other !== button && String(document.getSelection())) return; // the user is selecting text of the row
    toggle(row, !opened.has(row));
  });
}

function closeOnEscape(event) {
  if (event.key !== "Escape") return;
  let row = event.target.closest("tr");
  while (row && !row.dataset.details && !row.classList.contains("opened")) row = row.parentNode.closest("tr"); // from a table inside the details
  if (row && row.classList.contains("opened")) row = row.previousElementSibling;
  if (!row || !opened.has(row)) return;
  toggle(row, false);
  row.querySelector(".opener").focus();
}

function openLinked() {
  const id = decodeURIComponent(location.hash.slice(1));
  const row = id && document.querySelector(`tr[data-details="${CSS.escape(id)}"]`);
  if (!row) return;
  row.hidden = false;
  toggle(row, true);
  row.scrollIntoView({ block: "center" });
  row.querySelector(".opener").focus({ preventScroll: true });
}

function makeScrollable() { // arrow keys scroll content that is wider or higher than its box; screen readers get a label
  for (const box of document.querySelectorAll(".scroll, .figure")) {
    if (box.scrollWidth <= box.clientWidth && box.scrollHeight <= box.clientHeight) continue;
    box.tabIndex = 0;
    if (box.hasAttribute("aria-label") || box.hasAttribute("aria-labelledby")) continue;
    const headings = Array.from(document.querySelectorAll("h1, h2, h3"));
    const above = headings.filter((heading) => heading.compareDocumentPosition(box) & Node.DOCUMENT_POSITION_FOLLOWING).pop();
    box.setAttribute("role", "region");
    box.setAttribute("aria-label", above ? above.textContent.trim() : document.title);
  }
}

for (const table of document.querySelectorAll("table.sortable")) {
  for (const header of table.tHead.querySelectorAll("th[data-sort]")) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    header.append(button);
    button.addEventListener("click", () => sortBy(table, header));
  }
}
for (const table of document.querySelectorAll("table.openable")) {
  for (const row of table.tBodies[0].rows) if (document.getElementById(row.dataset.details)) makeOpenable(row);
  table.addEventListener("keydown", closeOnEscape);
}
for (const input of document.querySelectorAll("input.filter")) {
  const table = document.getElementById(input.dataset.table), count = document.createElement("output");
  count.className = "filter-count";
  input.after(count);
  input.addEventListener("input", () => filterBy(table, input.value.trim().toLowerCase(), count));
}
makeScrollable();
openLinked();
window.addEventListener("hashchange", openLinked);
