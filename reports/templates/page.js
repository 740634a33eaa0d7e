"use strict";
// Sort a table by the column whose header is pressed; without this script the tables stand as they are.
for (const table of document.querySelectorAll("table.sortable")) {
  const headers = [...table.tHead.rows[0].cells];
  headers.forEach((header, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    header.append(button);
    button.addEventListener("click", () => {
      const isAscending = header.getAttribute("aria-sort") === "ascending";
      headers.forEach((other) => other.removeAttribute("aria-sort"));
      header.setAttribute("aria-sort", isAscending ? "descending" : "ascending");
      const body = table.tBodies[0];
      const key = (row) => row.cells[column].dataset.key ?? row.cells[column].textContent;
      const compare = header.classList.contains("number")
        ? (a, b) => parseFloat(key(a).replaceAll(",", "")) - parseFloat(key(b).replaceAll(",", ""))
        : (a, b) => key(a).localeCompare(key(b), "en", { numeric: true });
      body.append(...[...body.rows].sort((a, b) => (isAscending ? -1 : 1) * compare(a, b)));
    });
  });
}
// What a mark says, at once and beside the pointer; without this script the browser shows the same <title> in its own time.
const tooltip = document.createElement("div");
tooltip.id = "tooltip";
tooltip.hidden = true;
document.body.append(tooltip);
for (const mark of document.querySelectorAll(".mark")) {
  const title = mark.querySelector("title");
  mark.setAttribute("aria-label", title.textContent);
  title.remove();
  mark.addEventListener("pointerenter", (event) => {
    tooltip.textContent = mark.getAttribute("aria-label");
    tooltip.hidden = false;
    tooltip.style.left = `${Math.max(4, Math.min(event.clientX + 12, innerWidth - tooltip.offsetWidth - 8))}px`;
    tooltip.style.top = `${event.clientY > 60 ? event.clientY - tooltip.offsetHeight - 10 : event.clientY + 16}px`;
  });
  mark.addEventListener("pointerleave", () => { tooltip.hidden = true; });
}
// Paper has no buttons: everything that is folded is printed.
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((details) => { details.open = true; }));
