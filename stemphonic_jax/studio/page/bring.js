// Audio of one's own: dropped files and folders are sent, shown with their guessed types, and taken in.

import {$, el} from "./dom.js";
import {api} from "./api.js";

const AUDIO = /\.(wav|wave|bwf|rf64|flac|aiff?|aifc|og[ga]|opus|mp3)$/i;
const MOST = 16;

export function bringer(app) {
  const dialog = $("bring"), input = $("files"), drop = $("drop");
  $("bring-button").addEventListener("click", () => input.click());
  input.addEventListener("change", () => { begin([...input.files]); input.value = ""; });
  let inside = 0;
  const holds = event => [...event.dataTransfer?.types ?? []].includes("Files");
  addEventListener("dragenter", event => { if (holds(event)) { inside++; drop.hidden = false; } });
  addEventListener("dragleave", event => { if (holds(event) && --inside <= 0) { inside = 0; drop.hidden = true; } });
  addEventListener("dragover", event => { if (holds(event)) event.preventDefault(); });
  addEventListener("drop", async event => {
    if (!holds(event)) return;
    event.preventDefault();
    inside = 0;
    drop.hidden = true;
    const entries = [...event.dataTransfer.items].map(item => item.webkitGetAsEntry?.()).filter(Boolean);
    const files = entries.length ? (await Promise.all(entries.map(inFolder))).flat() : [...event.dataTransfer.files];
    begin(files);
  });

  async function begin(all) {
    const files = all.filter(file => AUDIO.test(file.name)).slice(0, MOST);
    if (!files.length) { app.say(new Error("none of these is audio that can be read: WAV, FLAC, MP3, OGG or AIFF")); return; }
    const rows = files.map(file => el("tr", {}, el("td", {}, file.name), el("td", {}, el("small", {}, "reading…")), el("td")));
    const take = el("button.primary", {type: "button", disabled: true}, "Bring in");
    const close = el("button.quiet", {type: "button", onclick: () => dialog.close()}, "Cancel");
    const note = el("p.error", {role: "alert", hidden: true});
    const asks = !app.song && !app.desk.bpm, tempo = el("input", {type: "number", min: 20, max: 400, step: "any", placeholder: "open", inputmode: "decimal", "aria-label": "Tempo of the song"});
    const times = (word, factor, says) => el("button.chip", {type: "button", "aria-label": says, title: says, onclick: () => { if (tempo.value) tempo.value = short(tempo.value * factor); }}, word);
    const about = el("p.tempo", {hidden: !asks}, el("label", {}, "Tempo ", tempo, " bpm"), times("½", 0.5, "Half the tempo"), times("×2", 2, "Double the tempo"),
      el("small", {}, "It stays with the song: correct what was heard, or leave it open."));
    dialog.replaceChildren(el("h2", {}, "Bring your own audio"), el("table", {}, el("tbody", {}, ...rows)), about, note, el("div.row", {}, close, take));
    dialog.showModal();
    const found = [];
    for (const [k, file] of files.entries()) {
      const [, kind, length] = rows[k].children, listens = asks && !found.some(other => other.bpm);
      if (listens) kind.replaceChildren(el("small", {}, "reading, and listening for its tempo…"));
      try {
        const one = await api.upload(file, listens);
        const types = [...new Set([...app.types().map(type => type.type), one.type])];
        one.select = el("select", {"aria-label": `Type of ${file.name}`},
          ...types.map(type => el("option", {value: type, selected: type === one.type}, type)), el("option", {value: ""}, "leave it out"));
        kind.replaceChildren(one.select);
        length.textContent = `${one.seconds.toFixed(1)} s${one.bpm ? `, ~${Math.round(one.bpm)} bpm` : ""}`;
        if (one.bpm && !tempo.value) tempo.value = short(one.bpm);
        found.push(one);
      } catch (error) { kind.replaceChildren(el("span.error", {}, error.message)); }
    }
    take.disabled = !found.length;
    take.addEventListener("click", async () => {
      take.disabled = true;
      try {
        const uploads = found.filter(one => one.select.value).map(one => ({upload: one.upload, type: one.select.value}));
        if (!tempo.checkValidity()) throw new Error("tempo: expected 20 to 400, or nothing");
        await app.bring(uploads, asks && tempo.value ? Number(tempo.value) : null);
        dialog.close();
      } catch (error) {
        note.textContent = error.message;
        note.hidden = false;
        take.disabled = false;
      }
    });
  }
}

const short = bpm => Math.round(bpm * 10) / 10;

/** The files of a dropped file or folder. */
function inFolder(entry) {
  if (entry.isFile) return new Promise(done => entry.file(file => done([file]), () => done([])));
  const reader = entry.createReader(), found = [];
  return new Promise(done => {
    const more = () => reader.readEntries(async entries => {
      if (!entries.length) { done((await Promise.all(found.map(inFolder))).flat()); return; }
      found.push(...entries);
      more();
    }, () => done([]));
    more();
  });
}
