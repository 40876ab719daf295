// Work that waits, runs or went wrong, at the lower right.

import {$, el, icon} from "./dom.js";
import {api} from "./api.js";

const WORDS = {make: "Make", add: "Add", again: "Make again", vary: "Vary", extend: "Continue", loop: "Make a loop of"};
const STAGES = {
  preparing: "getting ready", compiling: "compiling for this length: the first time takes longer",
  making: "making", decoding: "decoding", saving: "saving",
};

export class Jobs {
  constructor(app) {
    this.app = app;
    this.jobs = new Map();
    this.nodes = new Map();
  }

  set(jobs) {
    for (const id of [...this.jobs.keys()]) this.drop(id);
    for (const job of jobs) if (job.state === "queued" || job.state === "running") this.hear(job);
  }

  hear(job) {
    this.jobs.set(job.id, {...job, heard: performance.now()});
    if (job.state === "done" || job.state === "cancelled") this.drop(job.id);
    else this.show(this.jobs.get(job.id));
  }

  drop(id) {
    this.nodes.get(id)?.remove();
    this.nodes.delete(id);
    this.jobs.delete(id);
  }

  /** The job that works on a stem of a song, or is to. */
  of(song, stem) {
    return [...this.jobs.values()].find(job => job.song === song && job.state !== "failed" &&
      (this.names(job).includes(stem) || !this.names(job).length));
  }

  /** The stems that a job makes; none where it is all of them. */
  names(job) { return job.ask.names ?? job.ask.stems ?? []; }

  /** Whether all that a song's desk asks for is being made already. */
  makes(song) {
    return [...this.jobs.values()].some(job => job.song === song && job.do === "make" && job.state !== "failed");
  }

  title(job) {
    const stems = this.names(job).map(name => job.song === this.app.id ? this.app.called(name) : name), few = stems.length > 3 ? `${stems.length} stems` : stems.join(", ");
    const range = job.ask.range && job.song === this.app.id ? `, ${this.app.grid.range(job.ask.range.flat())}` : "";
    return `${WORDS[job.do] ?? job.do} ${job.do === "extend" ? "the song" : few || "the song"}${range}`;
  }

  /** How far a job is, in words. */
  stage(job) {
    if (job.state === "failed") return job.error;
    if (job.state === "queued") {
      const model = this.app.info?.model.state;
      return model === "loading" ? "waits for the model to load" : "waits for its turn";
    }
    const {stage, done, of} = job.progress ?? {};
    const words = STAGES[stage] ?? "begins";
    return stage === "making" && of && done ? `${words}, ${Math.round(done / of * 100)} %` : words;
  }

  /** Seconds left, as far as is known. */
  left(job) {
    const left = job.progress?.left;
    if (left == null) return "";
    const now = left - (performance.now() - job.heard) / 1000;
    return now > 1 ? `about ${Math.ceil(now)} s left` : "nearly done";
  }

  show(job) {
    const failed = job.state === "failed";
    let node = this.nodes.get(job.id);
    if (!node) {
      const close = el("button.icon.small", {type: "button"}, icon("M6 6l12 12M18 6 6 18"));
      node = el("div.job", {}, el("div.row", {}, el("b"), close), el("small"), el("progress", {max: 1}));
      close.addEventListener("click", () => {
        const now = this.jobs.get(job.id);
        if (!now || now.state === "failed") { this.drop(job.id); return; }
        close.disabled = true;
        api.cancel(job.id).catch(error => this.app.say(error));
      });
      this.nodes.set(job.id, node);
      $("jobs").append(node);
    }
    node.classList.toggle("failed", failed);
    if (failed) node.setAttribute("role", "alert");
    node.querySelector("b").textContent = this.title(job);
    node.querySelector("button").setAttribute("aria-label", failed ? "Close" : `Cancel: ${this.title(job)}`);
    const left = failed || job.state === "queued" ? "" : this.left(job);
    node.querySelector("small").textContent = [this.stage(job), left].filter(Boolean).join(" · ");
    const bar = node.querySelector("progress"), {done, of, stage} = job.progress ?? {};
    bar.hidden = failed;
    if (job.state === "running" && of && done && stage === "making") bar.value = done / of;
    else bar.removeAttribute("value");
    bar.setAttribute("aria-label", this.title(job));
  }

  tick() {
    for (const job of this.jobs.values()) if (job.state === "running") this.show(job);
  }

  /** An error that belongs nowhere else, or `good` news; with `undo`, what takes it back. */
  say(text, good = false, undo = null) {
    const back = undo && el("button.chip.call", {type: "button", onclick: () => { node.remove(); undo(); }}, "Undo");
    const node = el(good ? "div.job.word" : "div.job.word.failed", {role: good ? "status" : "alert"}, el("div.row", {}, el("small", {}, text), back, el("button.icon.small",
      {type: "button", "aria-label": "Close", onclick: () => node.remove()}, icon("M6 6l12 12M18 6 6 18"))));
    $("jobs").append(node);
    setTimeout(() => node.remove(), undo ? 30_000 : 12_000);
    return node;
  }
}
