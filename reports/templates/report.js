"use strict";

// The number that a cell starts with, after marks such as a verdict's; null where it has none.
function leading(text) {
  const found = /^[<>≤≥]?\s*([+\-−]?)(\d[\d,]*(?:\.\d+)?(?:e[+\-−]?\d+)?)(?!\w)/i.exec(text);
  if (!found) return null;
  const size = Number(found[2].replace(/,/g, "").replace("−", "-"));
  return found[1] && found[1] !== "+" ? -size : size;
}

// Cells of one column as keys: all numbers, or all text; empty ones have none, nor those that begin
// with the dash for no value.
function keys(rows, column) {
  const texts = rows.map((row) => row.cells[column].textContent.trim());
  const absent = (text) => !text || /^–(?!\d)/.test(text);
  const numeric = texts.every((text) => absent(text) || leading(text) !== null);
  return texts.map((text) => (absent(text) ? null : numeric ? leading(text) : text));
}

function compare(a, b) {
  return typeof a === "number" ? a - b : a.localeCompare(b, "en", { numeric: true });
}

// A row whose first cell is bold sums up the others and stays below them.
function sums(row) {
  return row.cells[0].childNodes.length === 1 && row.cells[0].firstChild.nodeName === "STRONG";
}

// Rising, then falling, then as the report has it; what has no key stays last.
function sort(table, heading, original, last) {
  const next = { ascending: "descending", descending: null }[heading.getAttribute("aria-sort")];
  const direction = next === undefined ? "ascending" : next;
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  let order = original.map((_, i) => i);
  if (direction) {
    heading.setAttribute("aria-sort", direction);
    const key = keys(original, heading.cellIndex);
    const sign = direction === "ascending" ? 1 : -1;
    order.sort((i, j) => {
      if (key[i] === null || key[j] === null) return (key[i] === null) - (key[j] === null) || i - j;
      return sign * compare(key[i], key[j]) || i - j;
    });
  }
  table.tBodies[0].append(...order.map((i) => original[i]), ...last);
}

for (const table of document.querySelectorAll("main table")) {
  const rows = table.tBodies.length ? [...table.tBodies[0].rows] : [];
  const original = rows.filter((row) => !sums(row));
  const last = rows.filter(sums);
  if (original.length < 2) continue;
  for (const heading of table.tHead.rows[0].cells) {
    if (!heading.textContent.trim()) continue;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => sort(table, heading, original, last));
  }
}

// The contents stand open beside the text where there is room for both.
const contents = document.querySelector(".contents");
const room = matchMedia("(min-width: 64rem)");
const arrange = () => { contents.open = room.matches; };
room.addEventListener("change", arrange);
arrange();
for (const link of contents.querySelectorAll("a")) {
  link.addEventListener("click", () => { if (!room.matches) contents.open = false; });
}

// An anchor inside a folded part opens it; paper shows everything.
const folded = [...document.querySelectorAll("main details")];
const reveal = () => {
  const target = location.hash && document.getElementById(location.hash.slice(1));
  if (!target) return;
  for (let one = target; one; one = one.parentElement) if (one.tagName === "DETAILS") one.open = true;
};
addEventListener("hashchange", reveal);
reveal();
let opened = [];
addEventListener("beforeprint", () => {
  opened = folded.filter((one) => !one.open);
  for (const one of opened) one.open = true;
});
addEventListener("afterprint", () => { for (const one of opened) one.open = false; });
