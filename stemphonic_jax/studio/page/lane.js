// One stem: its head with mixer, words and takes, its waveform, and the strip where its activity is painted.

import {clamp, el, icon, place, rename} from "./dom.js";
import {drawActivity, drawWave} from "./draw.js";
import {BIN, PEN, tool} from "./songs.js";
import {painted, plays} from "./time.js";

const LOCK = "M7 11V8a5 5 0 0 1 10 0v3M5 11h14v9H5z";
const FULL = 16384;  // full scale in peaks
const QUIET = 50;  // of them: −50 dBFS
const GAP = 0.5;  // seconds of rest that are part of playing
const DOTS = "M6 12h.01M12 12h.01M18 12h.01";
let count = 0;

export class Lane {
  /** `app` is asked for everything that changes more than what is seen here. */
  constructor(app, name) {
    this.app = app;
    this.name = name;
    this.peaks = null;
    this.loudest = 0;
    this.sounds = null;  // when it is heard, as far as its peaks tell
    this.cursor = null;
    this.id = `lane${count++}`;
    this.build();
  }

  build() {
    const {app, name} = this;
    const toggle = (kind, word, content) => el(`button.ms.${kind}`, {
      type: "button", "aria-pressed": "false", "data-says": `${word} `, title: word,
      onclick: () => kind === "lock" ? app.lock(name) : app.strip(name, {[kind]: !app.stripOf(name)[kind]}),
    }, content);
    this.mute = toggle("mute", "Mute", "M");
    this.solo = toggle("solo", "Solo", "S");
    this.lock = toggle("lock", "Lock", icon(LOCK));
    this.gain = el("input", {type: "range", min: -40, max: 6, step: 0.5, "data-says": "Gain of ",
      oninput: () => app.strip(name, {gain: Number(this.gain.value)}),
      ondblclick: () => app.strip(name, {gain: 0})});
    this.pan = el("input.pan", {type: "range", min: -1, max: 1, step: 0.05, "data-says": "Pan of ",
      oninput: () => app.strip(name, {pan: Number(this.pan.value)}),
      ondblclick: () => app.strip(name, {pan: 0})});
    this.own = el("small.own", {hidden: true}, "your audio: it stays as it is");
    this.gainWord = el("span");
    this.panWord = el("span");
    this.words = el("input.words", {type: "text", maxlength: 200, "data-says": "Words for ",
      placeholder: "how it is played…", oninput: () => app.setLane(name, {words: this.words.value})});
    this.title = el("span.name", {ondblclick: () => this.rename()});
    this.take = el("button.chip", {type: "button", popovertarget: `${this.id}-takes`, "aria-haspopup": "true"});
    this.takes = el("div.pop.takes", {popover: "", id: `${this.id}-takes`, "data-says": "Takes of "});
    this.more = el("button.ms.dots-button", {type: "button", popovertarget: `${this.id}-menu`, "data-says": "More for ", "aria-haspopup": "true"}, icon(DOTS));
    this.menu = el("div.pop.menu", {popover: "", id: `${this.id}-menu`});
    this.again = el("button.chip", {type: "button", title: "Make this stem again; the others are its context",
      onclick: () => app.again(name)}, "Again");
    place(this.takes, this.take);
    place(this.menu, this.more);
    this.wave = el("canvas.wave", {"aria-hidden": "true"});
    this.strip = el("canvas.paint", {tabindex: 0, role: "slider", "aria-valuemin": 0,
      "data-says": "When ", "data-more": " plays: arrows move by a beat, space changes a beat, enter a bar, delete leaves it open"});
    this.note = el("span.note", {hidden: true});
    this.body = el("div.body", {}, this.wave, this.strip, this.note);
    this.head = el("div.head", {},
      el("div.row", {}, this.title, this.take, this.again, this.more),
      el("div.row", {}, this.mute, this.solo, this.lock,
        el("label.knob", {title: "Gain; double click for 0 dB"}, this.gainWord, this.gain),
        el("label.knob.narrow", {title: "Pan; double click for the middle"}, this.panWord, this.pan)),
      this.words, this.own);
    this.node = el("article.lane", {"data-says": ""}, this.head, this.body, this.takes, this.menu);
    this.listenToWave();
    this.listenToPaint();
  }

  setPeaks(peaks) {
    this.peaks = peaks;
    this.loudest = 0;
    for (const peak of peaks) this.loudest = Math.max(this.loudest, Math.abs(peak) / FULL);
    this.sounds = sounding(peaks, this.app.song.seconds);
  }

  /** Tells all parts of it what people call the stem. */
  callIt(called) {
    if (this.shownAs === called) return;
    this.shownAs = called;
    for (const node of [this.node, ...this.node.querySelectorAll("[data-says]")]) {
      node.setAttribute("aria-label", `${node.dataset.says}${called}${node.dataset.more ?? ""}`);
    }
  }

  async rename() {
    const label = await rename(this.title, this.app.called(this.name), "Name of the stem");
    this.more.focus();
    if (label !== null) this.app.setLane(this.name, {label: label === this.name ? "" : label});
  }

  /** Where a pointer is, in seconds. */
  at(event, node) {
    const box = node.getBoundingClientRect();
    return this.app.grid.at((event.clientX - box.left) / box.width);
  }

  listenToWave() {
    let from = null, moved = false;
    this.wave.addEventListener("pointerdown", event => {
      if (event.button) return;
      from = this.at(event, this.wave);
      moved = false;
      this.wave.setPointerCapture(event.pointerId);
    });
    this.wave.addEventListener("pointermove", event => {
      if (from === null) return;
      const to = this.at(event, this.wave);
      if (Math.abs(to - from) / this.app.grid.span * this.wave.clientWidth > 5) moved = true;
      if (moved) this.app.select(from, to, this.name, event.shiftKey);
    });
    const end = event => {
      if (from !== null && !moved && event.type === "pointerup") this.app.seek(from);
      from = null;
    };
    this.wave.addEventListener("pointerup", end);
    this.wave.addEventListener("pointercancel", end);
  }

  listenToPaint() {
    let last = null, on = true;
    const {strip} = this;
    const cover = (a, b, free) => {
      const {grid} = this.app, [low, high] = a < b ? [a, b] : [b, a];
      if (free) return [low, Math.max(high, low + 0.02)];
      return [grid.cell(low)[0], grid.cell(Math.min(high, grid.seconds - 1e-6))[1]];
    };
    strip.addEventListener("pointerdown", event => {
      if (event.button) return;
      strip.setPointerCapture(event.pointerId);
      last = this.at(event, strip);
      on = !plays(this.begun(), last);
      this.change(cover(last, last, event.shiftKey), on);
    });
    strip.addEventListener("pointermove", event => {
      if (last === null) return;
      // All between two events is painted, however fast the pointer is.
      for (const one of event.getCoalescedEvents?.().length ? event.getCoalescedEvents() : [event]) {
        const to = this.at(one, strip);
        this.change(cover(last, to, event.shiftKey), on);
        last = to;
      }
    });
    for (const name of ["pointerup", "pointercancel"]) strip.addEventListener(name, () => { last = null; });
    strip.addEventListener("focus", () => { if (strip.matches(":focus-visible")) { this.cursor ??= 0; this.draw(); } });
    strip.addEventListener("blur", () => { this.cursor = null; this.draw(); });
    strip.addEventListener("keydown", event => this.key(event));
  }

  key(event) {
    const {grid} = this.app, step = event.shiftKey ? grid.bar : grid.beat;
    const moves = {ArrowLeft: -step, ArrowRight: step, Home: -Infinity, End: Infinity};
    this.cursor ??= 0;
    if (event.key in moves) {
      const last = grid.cell(grid.seconds - 1e-3)[0];
      this.cursor = grid.snap(clamp(this.cursor + moves[event.key], 0, last));
    } else if (event.key === " " || event.key === "Enter") {
      const cell = grid.cell(this.cursor, event.key === " " ? grid.beat : grid.bar);
      this.change(cell, !plays(this.begun(), this.cursor));
    } else if (event.key === "Delete" || event.key === "Backspace") {
      this.app.setLane(this.name, {activity: null});
    } else return;
    event.preventDefault();
    event.stopPropagation();
    this.app.reveal(this.cursor);
    this.draw();
  }

  /** What painting begins with: what is asked, or the beats in which it is heard, or all along. */
  begun() {
    const {grid} = this.app;
    if (this.activity() || !this.sounds) return this.activity() ?? [[0, grid.seconds]];
    return this.sounds.reduce((whole, [a, b]) => painted(whole, [grid.cell(a)[0], grid.cell(b - 1e-3)[1]], true), []);
  }

  change(range, on) {
    this.app.setLane(this.name, {activity: painted(this.begun(), range, on)});
    this.draw();
  }

  /** What is asked of it: painted, or else as it was made; null where that is left open. */
  activity() {
    return this.app.activityOf(this.name);
  }

  /** Shows the state: `lane` of the desk, `stem` that was made or null, its takes and its job. */
  show({lane, stem, takes, step, strip, colour, job, painted: drawn, reworded, silent}) {
    const pending = drawn || reworded, called = lane.label || this.name;
    const set = (node, value) => node.setAttribute("aria-pressed", String(Boolean(value)));
    this.node.style.setProperty("--c", colour);
    this.callIt(called);
    const says = called.toLowerCase().includes(lane.type.toLowerCase().replace(/s$/, ""));  // what it is
    this.title.replaceChildren(called, ...(says ? [] : [el("small", {}, lane.type)]));
    this.title.title = `${called} (${lane.type}): double click to rename`;
    set(this.mute, strip.mute); set(this.solo, strip.solo); set(this.lock, lane.locked);
    if (document.activeElement !== this.gain) this.gain.value = strip.gain;
    if (document.activeElement !== this.pan) this.pan.value = strip.pan;
    this.gainWord.textContent = strip.gain ? `${signed(strip.gain)} dB` : "gain";
    this.panWord.textContent = strip.pan ? `${strip.pan < 0 ? "L" : "R"}${Math.round(Math.abs(strip.pan) * 100)}` : "pan";
    this.gain.setAttribute("aria-valuetext", `${signed(strip.gain)} dB`);
    this.pan.setAttribute("aria-valuetext", strip.pan ? `${Math.round(Math.abs(strip.pan) * 100)} % ${strip.pan < 0 ? "left" : "right"}` : "middle");
    if (document.activeElement !== this.words) this.words.value = this.app.wordsOf(this.name);
    this.words.hidden = Boolean(stem?.given);
    this.own.hidden = !stem?.given;
    for (const node of [this.mute, this.solo, this.gain, this.pan, this.take]) node.disabled = !stem;
    this.again.hidden = !stem || stem.given;
    this.again.disabled = lane.locked;
    this.again.classList.toggle("call", pending && !job);
    const number = takes.findIndex(take => take.step === step) + 1;
    this.take.textContent = stem ? `take ${number}/${takes.length}` : "not made";
    this.take.hidden = !stem;
    this.node.classList.toggle("still", Boolean(stem) && !this.app.heard(this.name));
    this.node.classList.toggle("empty", !stem);
    this.node.classList.toggle("working", Boolean(job));
    const note = job ? this.app.stage(job) : !stem ? "Paint when it plays below, then press Make"
      : silent ? "It came out silent: make it again, or try another seed"
      : pending ? `${drawn ? "Painted" : "Other words"}: press Again to hear ${drawn ? "it" : "them"}` : "";
    this.note.textContent = note;
    this.note.hidden = !note;
    this.showTakes(takes, step);
    this.showMenu(stem, lane);
  }

  showTakes(takes, step) {
    const key = JSON.stringify([step, takes]), {app, name} = this;
    if (this.takesShown === key) return;
    this.takesShown = key;
    this.takes.replaceChildren(...takes.map((take, k) => {
      const heard = take.step === step, shown = `take ${k + 1}`;
      const use = el("button.item", {type: "button", "aria-current": String(heard), title: take.label,
        onclick: () => { this.takes.hidePopover(); app.useTake(name, take.step); }},
      el("b", {}, String(k + 1)), el("span.name", {}, take.title || take.label), heard ? el("small", {}, "heard") : null);
      const pen = tool(PEN, `Rename ${shown}`, async () => {
        const title = await rename(use, take.title, `Name of ${shown}`);
        if (title !== null && title !== take.title) app.nameTake(name, take.step, title);
      });
      const bin = tool(BIN, `Delete ${shown}`, () => app.doing(() => app.throwTake(name, take.step)));
      bin.disabled = heard;
      return el("div.row", {}, use, pen, bin);
    }));
  }

  showMenu(stem, lane) {
    const key = JSON.stringify([stem, lane.locked, this.app.selection, lane.activity === null]);
    if (this.menuShown === key) return;
    this.menuShown = key;
    const item = (word, work, disabled = false) => el("button.item", {type: "button", disabled,
      onclick: () => { this.menu.hidePopover(); work(); }}, word);
    const {app, name} = this, own = stem && !stem.given;
    const strength = el("input", {type: "range", min: 0.05, max: 1, step: 0.05, value: 0.4, "aria-label": "How far a variation goes"});
    const range = app.selection && `Repair ${app.grid.range(app.selection.range)}`;
    this.menu.replaceChildren(...[
      own && item("Make again", () => app.again(name), lane.locked),
      own && item(range || "Repair a range: drag over the waveform first", () => app.repair([name]), lane.locked || !app.selection),
      own && item("Vary", () => app.vary([name], Number(strength.value)), lane.locked),
      own && el("label", {}, "a little", strength, "a lot"),
      item("Rename", () => this.rename()),
      lane.activity !== null && item("Leave open when it plays", () => app.setLane(name, {activity: null})),
      stem && item("Download WAV", () => app.download(name)),
      el("hr"),
      item(stem ? "Leave out of the song" : "Remove the lane", () => app.remove(name)),
    ].filter(Boolean));
  }

  draw() {
    const {grid} = this.app;
    const shown = getComputedStyle(this.head).borderLeftColor;
    this.node.style.setProperty("--w-shown", shown);
    drawWave(this.wave, grid, this.peaks, this.app.song?.seconds ?? grid.seconds, FULL * this.app.loudest());
    const ranges = this.activity();
    drawActivity(this.strip, grid, ranges, this.sounds, this.cursor);
    const at = this.cursor ?? 0;
    const open = ranges === null ? "left to the model" : plays(ranges, at) ? "plays" : "silent";
    this.strip.setAttribute("aria-valuemax", String(Math.round(grid.seconds / grid.beat)));
    this.strip.setAttribute("aria-valuenow", String(Math.round(at / grid.beat)));
    this.strip.setAttribute("aria-valuetext", `${grid.name(at)}: ${open}`);
  }
}

const signed = x => `${x < 0 ? "−" : ""}${Math.abs(x)}`;

/** The stretches in which peaks are louder than QUIET, short rests closed. */
function sounding(peaks, seconds) {
  const pieces = peaks.length / 2, piece = seconds / pieces, ranges = [];
  for (let k = 0; k < pieces; k++) {
    if (Math.max(-peaks[2 * k], peaks[2 * k + 1]) < QUIET) continue;
    const last = ranges.at(-1);
    if (last && k * piece - last[1] < GAP) last[1] = (k + 1) * piece;
    else ranges.push([k * piece, (k + 1) * piece]);
  }
  return ranges;
}
