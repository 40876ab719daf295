// The list of songs, and what a song is handed over as.

import {$, el, place} from "./dom.js";
import {api} from "./api.js";

const FORMS = [
  ["dawproject", "DAWproject", "Bitwig Studio, Studio One, Cubase: tracks, colours, mixer, tempo, sections"],
  ["zip", "WAVs", "the stems as you hear them, and their mix"],
  ["reaper", "REAPER", "a project with its audio, zipped"],
  ["stem", "Stem file", ".stem.mp4 of four parts, for Traktor and other DJ programs"],
];

export function songList(app) {
  const pop = $("songs"), button = $("songs-button");
  place(pop, button);
  pop.addEventListener("beforetoggle", async event => {
    if (event.newState !== "open") return;
    const fresh = el("button.item", {type: "button", onclick: () => { pop.hidePopover(); app.open(null); }}, el("b", {}, "New song"));
    pop.replaceChildren(fresh, el("hr"));
    try {
      const songs = await api.songs();
      if (!songs.length) pop.append(el("p.hint", {}, "No songs yet. Describe one and press Make."));
      for (const song of songs) {
        const dots = el("span.dots", {}, ...(song.stems ?? []).slice(0, 8).map(kind => el("i", {"--c": app.colour(kind)})));
        const about = song.error ? "cannot be read" : !song.made ? "not made yet" : [song.bpm && `${Math.round(song.bpm)} bpm`, `${Math.round(song.seconds)} s`].filter(Boolean).join(", ");
        pop.append(el("button.item", {type: "button", title: song.error ?? song.id, "aria-current": String(song.id === app.id),
          onclick: () => { pop.hidePopover(); song.error ? app.say(song.error) : app.open(song.id); }},
        el("span.name", {}, song.title), dots, el("small", {}, about)));
      }
    } catch (error) { pop.append(el("p.error", {}, error.message)); }
  });
}

export function exporter(app) {
  const form = $("export"), note = el("p.error", {role: "alert", hidden: true});
  place(form, $("export-button"));
  form.addEventListener("submit", event => event.preventDefault());
  const buttons = FORMS.map(([kind, name, about]) => el("button.item", {type: "button", onclick: () => save(kind)},
    el("b", {}, name), el("small", {}, about)));
  form.append(...buttons, el("hr"), el("div.options", {},
    el("label", {}, el("input", {type: "checkbox", name: "bits"}), " 24 bit"),
    el("label", {title: "of WAVs: without gain, pan, mute and solo"}, el("input", {type: "checkbox", name: "raw"}), " as made")), note);

  async function save(kind) {
    note.hidden = true;
    form.setAttribute("aria-busy", "true");
    for (const button of buttons) button.disabled = true;
    try {
      await app.flush();
      const query = {as: kind, bits: form.bits.checked && kind !== "stem" ? 24 : 32, raw: form.raw.checked && kind === "zip" ? 1 : 0};
      const answer = await api.export(app.id, query);
      const said = answer.headers.get("content-disposition") ?? "";
      const coded = /filename\*=utf-8''([^;]+)/.exec(said), plain = /filename="([^"]+)"/.exec(said);
      const url = URL.createObjectURL(await answer.blob());
      el("a", {href: url, download: coded ? decodeURIComponent(coded[1]) : plain?.[1] ?? "song"}).click();
      setTimeout(() => URL.revokeObjectURL(url), 60_000);
      form.hidePopover();
    } catch (error) {
      note.textContent = error.message;
      note.hidden = false;
    }
    for (const button of buttons) button.disabled = false;
    form.removeAttribute("aria-busy");
  }
}
