"use strict";
// Comfort only: what opening a row shows, shown beside it while the pointer or the keyboard's focus is on it.
const card = document.createElement("div");
card.id = "card";
card.setAttribute("role", "tooltip");
card.hidden = true;
document.body.append(card);

let shown = null;
let waiting = 0;

function hide() {
  clearTimeout(waiting);
  shown?.removeAttribute("aria-describedby");
  shown = null;
  card.hidden = true;
}

function show(summary) {
  hide();
  const row = summary.parentElement;
  if (row.open) return;
  const command = document.createElement("pre");
  command.textContent = summary.querySelector("code").textContent;
  const detail = row.querySelector(".detail").cloneNode(true);
  detail.className = "";
  card.replaceChildren(command, detail);
  card.hidden = false;
  shown = summary;
  summary.setAttribute("aria-describedby", card.id);
  const place = summary.getBoundingClientRect();
  const below = place.bottom + card.offsetHeight <= innerHeight;
  card.style.top = `${below ? place.bottom : Math.max(place.top - card.offsetHeight, 0)}px`;
  card.style.left = `${Math.max(Math.min(place.left + 16, innerWidth - card.offsetWidth - 8), 8)}px`;
}

for (const summary of document.querySelectorAll(".row > summary")) {
  summary.addEventListener("pointerenter", (event) => {
    if (event.pointerType !== "mouse") return;
    clearTimeout(waiting);
    waiting = setTimeout(show, 250, summary);
  });
  summary.addEventListener("pointerleave", (event) => {
    if (!card.contains(event.relatedTarget)) hide();
  });
  summary.addEventListener("focus", () => summary.matches(":focus-visible") && show(summary));
  summary.addEventListener("blur", hide);
  summary.parentElement.addEventListener("toggle", hide);
}
card.addEventListener("pointerleave", hide);
addEventListener("keydown", (event) => event.key === "Escape" && hide());
