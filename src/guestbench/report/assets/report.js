"use strict";
// Makes tables sortable: a press on a column's name sorts by it, upwards, downwards, then as it was.
for (const table of document.querySelectorAll("main table")) {
  const body = table.tBodies[0];
  const original = [...body.rows];
  if (original.length < 2) continue;
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const order = { none: "ascending", ascending: "descending", descending: "none" };
      const next = order[head.getAttribute("aria-sort") || "none"];
      heads.forEach((each) => each.removeAttribute("aria-sort"));
      if (next !== "none") head.setAttribute("aria-sort", next);
      body.append(...(next === "none" ? original : sort(original, column, next === "ascending" ? 1 : -1)));
    });
  });
}

function sort(rows, column, direction) {
  const keyed = rows.map((row) => ({ row, key: read(row.cells[column]) }));
  keyed.sort((a, b) => {
    // What has no value stays below, whichever way is up.
    if (a.key === null || b.key === null) return (a.key === null) - (b.key === null);
    const numbers = (typeof b.key === "number") - (typeof a.key === "number");
    if (numbers) return numbers;
    const text = typeof a.key === "string";
    return direction * (text ? a.key.localeCompare(b.key, "en", { numeric: true }) : a.key - b.key);
  });
  return keyed.map((each) => each.row);
}

function read(cell) {
  const key = cell.dataset.sort;
  if (key !== undefined) return key === "" ? null : Number(key);
  const text = cell.textContent.trim();
  return /^-?\d[\d,]*(\.\d+)?$/.test(text) ? Number(text.replaceAll(",", "")) : text;
}

// What is folded is part of what is printed.
let opened = [];
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details:not([open])")];
  opened.forEach((each) => { each.open = true; });
});
addEventListener("afterprint", () => opened.forEach((each) => { each.open = false; }));
