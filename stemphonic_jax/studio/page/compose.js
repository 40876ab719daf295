// What is asked for: the prompt, and the numbers beside it.

import {$, el} from "./dom.js";

const KEYS = ["C", "D♭", "D", "E♭", "E", "F", "F♯", "G", "A♭", "A", "B♭", "B"]
  .flatMap(note => [`${note} major`, `${note} minor`]);
const IDEAS = [
  ["Laid-back country rock in G major", 100, ["drums", "basses", "keys", "guitars"]],
  ["Tight funk in A minor", 112, ["drums", "basses", "guitars", "keys"]],
  ["Slow ballad in A minor", 72, ["keys", "strings", "basses", "drums"]],
  ["Upbeat house in F minor", 124, ["drums", "basses", "synths", "percussion"]],
];

export class Compose {
  constructor(app) {
    this.app = app;
    this.form = $("compose");
    $("keys").append(...KEYS.map(value => el("option", {value})));
    this.form.addEventListener("input", event => this.changed(event.target));
    this.form.addEventListener("submit", event => { event.preventDefault(); app.make(); });
    $("die").addEventListener("click", () => {
      this.form.seed.value = Math.floor(Math.random() * 1e6);
      this.changed(this.form.seed);
    });
    $("prompt").addEventListener("keydown", event => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); app.make(); }
    });
    $("ideas").append(...IDEAS.map(([prompt, bpm, stems]) => el("button", {type: "button", onclick: () => {
      app.change({prompt, bpm});
      app.setStems(stems);
      this.show(app.desk);
    }}, `${prompt}, ${bpm} bpm`)));
  }

  changed(field) {
    if (!field.name || !field.checkValidity()) return;
    if (field.name === "seed") this.app.otherSeed = true;
    const whole = field.name === "seed" || field.name === "variations";
    let value = field.value;
    if (field.type === "number") value = value === "" ? (whole ? Number(field.defaultValue || 0) : null) : Number(value);
    if (field.name === "metre") value ||= null;
    if (field.name === "passes") value = value === "K" ? "K" : Number(value);
    this.app.change({[field.name]: value});
  }

  show(desk) {
    for (const name of ["prompt", "negative", "bpm", "metre", "key", "duration", "seed", "passes", "guidance", "steps", "variations"]) {
      const field = this.form.elements[name];
      if (field !== document.activeElement) field.value = desk[name] ?? "";
    }
    const model = this.app.info?.model;
    if (model?.seconds) {
      this.form.duration.placeholder = Number(model.seconds.toFixed(1));
      this.form.guidance.placeholder = model.guidance;
      this.form.steps.placeholder = model.steps;
      this.form.duration.max = Math.ceil(model.seconds * 100) / 100;
    }
    const made = Boolean(this.app.song);
    this.form.bpm.disabled = Boolean(this.app.song?.bpm) || model?.conditions?.includes("bpm") === false;
    this.form.bpm.title = this.app.song?.bpm ? "The song was made at this tempo" : "";
    this.form.metre.disabled = made;
    if (made) this.form.metre.value = this.app.song.metre;
    this.form.duration.disabled = this.form.variations.disabled = this.form.passes.disabled = made;
    $("ideas").hidden = made || Boolean(desk.prompt);
    const missing = this.app.missing();
    $("make").textContent = !made ? "Make" : missing.length ? `Make ${missing.length} more` : "Make all again";
    $("make").title = "Ctrl+Enter";
    const own = made && Object.values(this.app.song.stems).every(stem => stem.given) && !missing.length;
    $("make").disabled = own || this.app.jobs.makes(this.app.id);
    if (own) $("make").title = "All stems are yours: add one to be made";
  }

  error(text) {
    $("compose-error").textContent = text;
    $("compose-error").hidden = !text;
  }
}
