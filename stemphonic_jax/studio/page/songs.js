// The list of songs, and what a song is handed over as.

import {$, el, icon, place, rename} from "./dom.js";
import {api} from "./api.js";

const FORMS = [
  ["dawproject", "DAWproject", "Bitwig Studio, Studio One, Cubase: tracks, colours, mixer, tempo, sections"],
  ["zip", "WAVs", "the stems as you hear them, and their mix"],
  ["reaper", "REAPER", "a project with its audio, zipped"],
  ["stem", "Stem file", ".stem.mp4 of four parts, for Traktor and other DJ programs"],
];

const PEN = "M4 20h4L19 9l-4-4L4 16zM13 7l4 4", BIN = "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13M10 11v5M14 11v5";

export function songList(app) {
  const pop = $("songs"), button = $("songs-button");
  place(pop, button);
  pop.addEventListener("beforetoggle", event => { if (event.newState === "open") fill(); });

  async function fill() {
    const fresh = el("button.item", {type: "button", onclick: () => { pop.hidePopover(); app.open(null); }}, el("b", {}, "New song"));
    pop.replaceChildren(fresh, el("hr"));
    try {
      const [songs, bin] = await Promise.all([api.songs(), api.bin()]);
      if (!songs.length) pop.append(el("p.hint", {}, "No songs yet. Describe one and press Make."));
      pop.append(...songs.map(row), ...binned(bin));
    } catch (error) { pop.append(el("p.error", {}, error.message)); }
  }

  function row(song) {
    const dots = el("span.dots", {}, ...(song.stems ?? []).slice(0, 8).map(kind => el("i", {"--c": app.colour(kind)})));
    const about = song.error ? "cannot be read" : !song.made ? "not made yet" : [song.bpm && `${Math.round(song.bpm)} bpm`, `${Math.round(song.seconds)} s`].filter(Boolean).join(", ");
    const name = el("span.name", {}, song.title);
    const open = el("button.item", {type: "button", title: song.error ?? song.id, "aria-current": String(song.id === app.id),
      onclick: () => { pop.hidePopover(); song.error ? app.say(song.error) : app.open(song.id); }}, name, dots, el("small", {}, about));
    const pen = tool(PEN, `Rename ${song.title}`, async () => {
      const title = await rename(open, song.title, "Name of the song");
      if (title === null || title === song.title) { pen.focus(); return; }
      await app.doing(() => app.nameSong(song.id, title));
      fill();
    });
    const bin = tool(BIN, `Delete ${song.title}`, async () => { if (await app.doing(() => app.throwSong(song))) fill(); });
    return el("div.row", {}, open, song.error ? null : pen, bin);
  }

  /** What was deleted, to be brought back or not. */
  function binned(things) {
    if (!things.length) return [];
    const rows = things.map(thing => {
      const what = thing.kind === "song" ? thing.title : `${thing.title || `take of ${thing.stem}`}, in ${thing.song}`;
      const sure = el("button.chip", {type: "button", "aria-label": `Delete ${what} for good`}, "Delete for good");
      sure.addEventListener("click", async () => {
        if (sure.dataset.asked) { await app.doing(() => api.forget(thing.id)); fill(); return; }
        sure.dataset.asked = "yes";
        sure.textContent = "Really? It cannot be undone";
        sure.classList.add("danger");
      });
      return el("div.row.gone", {}, el("span.name", {title: what}, what), el("button.chip", {type: "button", "aria-label": `Bring back ${what}`,
        onclick: async () => { await app.doing(() => app.restore(thing.id, thing.kind === "song")); fill(); }}, "Bring back"), sure);
    });
    return [el("hr"), el("details", {}, el("summary", {}, `Deleted (${things.length})`), ...rows)];
  }
}

/** A small button with a picture. */
export const tool = (path, label, work) => el("button.icon.small", {type: "button", "aria-label": label, title: label.split(" ")[0], onclick: work}, icon(path));
export {BIN, PEN};

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
