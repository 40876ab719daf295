"use strict";
// Stems play as elements of their own, as scripts may not read files of a page that is on a disk.
// They start when all are there, and again where those that are heard come 20 ms apart.
document.documentElement.classList.add("js");
for (const song of document.querySelectorAll("article")) {
  const rows = [...song.querySelectorAll(".stems tr")];
  const stems = rows.map(row => row.querySelector("audio"));
  const play = song.querySelector("[data-play]"), place = song.querySelector("input");
  const pressed = (row, what) => row.querySelector(what).getAttribute("aria-pressed") === "true";
  let together = false, turn = 0;
  const listen = () => {
    const solo = rows.some(row => pressed(row, "[data-solo]"));
    rows.forEach((row, k) => {
      stems[k].muted = solo ? !pressed(row, "[data-solo]") : pressed(row, "[data-mute]");
    });
  };
  const show = on => { together = on; play.textContent = on ? "pause" : "play stems together"; };
  const there = stem => stem.seeking &&
    new Promise(done => stem.addEventListener("seeked", done, {once: true}));
  const start = async time => {
    const mine = ++turn;
    for (const stem of stems) { stem.pause(); stem.currentTime = time; }
    await Promise.all(stems.map(there));
    if (mine !== turn) return;
    await Promise.all(stems.map(stem => stem.play())).then(() => show(true), () => show(false));
  };
  const stop = () => { turn++; stems.forEach(stem => stem.pause()); show(false); };
  for (const button of song.querySelectorAll("[aria-pressed]")) {
    button.addEventListener("click", () => {
      button.setAttribute("aria-pressed", button.getAttribute("aria-pressed") !== "true");
      listen();
    });
  }
  play.addEventListener("click", () => {
    if (together) { stop(); return; }
    document.querySelectorAll("audio").forEach(other => other.pause());
    document.dispatchEvent(new CustomEvent("alone", {detail: song}));
    start(Number(place.value));
  });
  document.addEventListener("alone", event => { if (event.detail !== song) stop(); });
  place.addEventListener("input", () => { if (together) start(Number(place.value)); });
  stems[0].addEventListener("timeupdate", () => {
    if (!together || stems[0].paused) return;
    place.value = stems[0].currentTime;
    const times = stems.filter(stem => !stem.muted).map(stem => stem.currentTime);
    if (Math.max(...times) - Math.min(...times) > 0.02) start(times[0]);
  });
  stems[0].addEventListener("ended", () => { show(false); place.value = 0; });
}
