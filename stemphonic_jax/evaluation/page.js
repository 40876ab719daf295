"use strict";
// Stems play as elements of their own, as scripts may not read files of a page that is on a disk;
// one that drifts from the first by more than 40 ms is brought back.
document.documentElement.classList.add("js");
for (const song of document.querySelectorAll("article")) {
  const rows = [...song.querySelectorAll(".stems tr")];
  const stems = rows.map(row => row.querySelector("audio"));
  const play = song.querySelector("[data-play]"), place = song.querySelector("input");
  const pressed = (row, what) => row.querySelector(what).getAttribute("aria-pressed") === "true";
  let together = false;
  const listen = () => {
    const solo = rows.some(row => pressed(row, "[data-solo]"));
    rows.forEach((row, k) => {
      stems[k].muted = solo ? !pressed(row, "[data-solo]") : pressed(row, "[data-mute]");
    });
  };
  const show = on => { together = on; play.textContent = on ? "pause" : "play stems together"; };
  for (const button of song.querySelectorAll("[aria-pressed]")) {
    button.addEventListener("click", () => {
      button.setAttribute("aria-pressed", button.getAttribute("aria-pressed") !== "true");
      listen();
    });
  }
  play.addEventListener("click", () => {
    if (together) { stems.forEach(stem => stem.pause()); show(false); return; }
    document.querySelectorAll("audio").forEach(other => other.pause());
    document.dispatchEvent(new CustomEvent("alone", {detail: song}));
    stems.forEach(stem => { stem.currentTime = Number(place.value); });
    Promise.all(stems.map(stem => stem.play())).then(() => show(true), () => show(false));
  });
  document.addEventListener("alone", event => { if (event.detail !== song) show(false); });
  place.addEventListener("input", () => {
    stems.forEach(stem => { stem.currentTime = Number(place.value); });
  });
  stems[0].addEventListener("timeupdate", () => {
    if (!together) return;
    place.value = stems[0].currentTime;
    for (const stem of stems) {
      const apart = Math.abs(stem.currentTime - stems[0].currentTime);
      if (apart > 0.04) stem.currentTime = stems[0].currentTime;
    }
  });
  stems[0].addEventListener("ended", () => { show(false); place.value = 0; });
}
