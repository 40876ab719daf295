// What the page shows of the state of a song. App, which has the state, is made of it.

import {$, clamp, clock, el, place} from "./dom.js";
import {drawRuler} from "./draw.js";
import {Lane} from "./lane.js";

export class View {
  show() {
    const {song, desk} = this, names = desk.lanes.map(lane => lane.name);
    for (const [name, lane] of this.lanes) {
      if (!names.includes(name)) { lane.node.remove(); this.lanes.delete(name); }
    }
    for (const [k, name] of names.entries()) {
      if (!this.lanes.has(name)) this.lanes.set(name, new Lane(this, name));
      const {node} = this.lanes.get(name);
      if ($("lanes").children[k] !== node) $("lanes").insertBefore(node, $("lanes").children[k] ?? null);
    }
    for (const lane of desk.lanes) {
      const stem = song?.stems[lane.name] ?? null, made = song?.activity[lane.name] ?? null;
      this.lanes.get(lane.name).show({
        lane, stem, takes: this.takesOf(lane.name), step: this.step(lane.name), strip: this.stripOf(lane.name),
        colour: this.colour(lane.type), job: this.jobs.of(this.id, lane.name), silent: stem?.silent,
        painted: Boolean(stem && !stem.given && lane.activity && JSON.stringify(lane.activity) !== JSON.stringify(made)),
        reworded: this.reworded(lane.name),
      });
    }
    this.compose.show(desk);
    $("title").textContent = desk.title || song?.prompt || desk.prompt || (this.id ? this.id : "New song");
    document.title = `${$("title").textContent.slice(0, 60)} – stemphonic studio`;
    $("export-button").disabled = !song;
    const from = this.before(), next = this.next();
    $("undo").disabled = from == null || this.changing;
    $("redo").disabled = next < 0 || this.changing;
    $("timeline").setAttribute("aria-busy", String(Boolean(this.changing)));
    const busy = [...this.jobs.jobs.values()].some(job => job.song === this.id && job.state === "running");
    $("undo").title = from == null ? "Nothing to undo" : busy ? "Wait until the work is done, or cancel it" : "Undo (Ctrl+Z)";
    $("continue-button").hidden = !song;
    const lanes = desk.lanes.length;
    $("lanes").style.setProperty("--count", Math.max(1, lanes));  // few lanes fill the window
    $("corner").textContent = lanes ? `${lanes} stem${lanes > 1 ? "s" : ""}${this.grid.bpm ? `, ${Math.round(this.grid.bpm * 10) / 10} bpm` : ""}` : "";
    $("hint").textContent = !lanes ? "Add a stem below, or drop audio of your own anywhere on the page."
      : !song ? "Click or drag on the strip under a lane to say when that stem plays. Beats snap; hold shift to paint freely."
      : "Drag over a waveform to choose bars, to repair or loop them. Keys [ and ] do the same at the playhead. Nothing is overwritten; each result is a take.";
    this.showLeftOut();
    this.showSelection();
    this.showTransport();
    this.draw();
  }

  /** Stems that were made and left out since, to be taken in again. */
  showLeftOut() {
    const left = [...this.leftOut()], key = JSON.stringify(left), node = $("left-out");
    if (node.dataset.key === key) return;
    node.dataset.key = key;
    node.hidden = !left.length;
    node.replaceChildren("Left out", ...left.map(([name, step]) => el("button.chip", {type: "button", "aria-label": `Take ${name} in again`,
      onclick: () => this.useTake(name, step)}, `${name} ↩`)));
  }

  showModel() {
    const {model} = this.info, words = {loading: "the model is loading", ready: "ready", failed: "no model"};
    $("model").dataset.state = model.state;
    $("model").textContent = words[model.state];
    $("model").title = model.error ?? "";
    if (model.state === "failed") this.compose.error(`The model cannot be loaded: ${model.error}`);
    if (!this.song && model.seconds) this.change({});
  }

  showTypes() {
    $("types").replaceChildren(...this.types().map(({type, colour}) => el("button",
      {type: "button", "--c": colour, onclick: () => this.addStem(type)}, type)));
  }

  /** What can be done with the range that is chosen. */
  showSelection() {
    const node = $("selection"), {selection, song} = this;
    const key = selection && JSON.stringify([selection, Boolean(song), this.transport.loop]);
    node.hidden = !selection;
    if (!selection || node.dataset.key === key) { node.dataset.key = key ?? ""; return; }
    node.dataset.key = key;
    const {name, range} = selection, stem = name && song?.stems[name];
    const act = (word, work, kind = "") => el(`button${kind}`, {type: "button", onclick: work}, word);
    node.replaceChildren(...[
      el("b", {}, this.grid.range(range)), name ? el("span", {}, `of ${this.called(name)}`) : null,
      song && (!name || stem && !stem.given) ? act(name ? "Repair" : "Repair in all", () => this.repair(name ? [name] : null), ".act") : null,
      act(this.transport.loop ? "Stop looping" : "Loop", () => this.toggleLoop()),
      act("✕", () => this.select(null)),
    ].filter(Boolean));
    node.lastChild.setAttribute("aria-label", "Choose no range");
  }

  showTransport() {
    const {transport} = this, play = $("play");
    play.setAttribute("aria-pressed", String(transport.playing));
    play.setAttribute("aria-label", transport.playing ? "Pause" : "Play");
    play.disabled = !transport.tracks.size;
    play.setAttribute("aria-busy", String(Boolean(this.loading)));
    $("loop").setAttribute("aria-pressed", String(Boolean(transport.loop)));
    this.drawnAt = null;
  }

  /** The way to a longer song. */
  continue() {
    const pop = el("form.pop.export", {popover: "", id: "continue", "aria-label": "Continue the song"});
    const button = el("button.quiet", {id: "continue-button", type: "button", popovertarget: "continue", hidden: true}, "Continue the song");
    const seconds = el("input", {type: "number", min: 1, max: 600, step: "any", name: "seconds", required: true});
    const left = el("input", {type: "checkbox", name: "left"});
    pop.append(el("div.options", {}, el("label", {}, "to ", seconds, " s")), el("div.options", {}, el("label", {}, left, " at its beginning")),
      el("button.item", {type: "submit"}, el("b", {}, "Continue")),
      el("hr"), el("button.item", {type: "button", onclick: () => { pop.hidePopover(); this.ask({...this.asked(), do: "loop"}); }},
        el("b", {}, "Make it a loop"), el("small", {}, "so that its end goes into its beginning")));
    pop.addEventListener("beforetoggle", () => { seconds.value = Math.round((this.song?.seconds ?? 16) * 2); });
    pop.addEventListener("submit", event => {
      event.preventDefault();
      pop.hidePopover();
      this.ask({...this.asked(), do: "extend", seconds: Number(seconds.value), left: left.checked || undefined});
    });
    place(pop, button);
    document.querySelector(".add").append(button, pop);
  }

  /** Draws all before the next picture of the screen, once, however often it is asked for. */
  draw() {
    if (this.drawing) return;
    this.drawing = true;
    requestAnimationFrame(() => { this.drawing = false; this.paint(); });
  }

  paint() {
    drawRuler($("ruler"), this.grid, this.selection?.range ?? this.transport.loop, Boolean(this.transport.loop));
    for (const lane of this.lanes.values()) lane.draw();
    const node = $("range"), chosen = this.selection;
    node.hidden = !chosen;
    if (chosen) {
      const area = this.area(), body = chosen.name ? this.lanes.get(chosen.name)?.wave : $("ruler");
      if (!body) { node.hidden = true; return; }
      const box = body.getBoundingClientRect(), outer = $("timeline").getBoundingClientRect();
      const [start, end] = chosen.range.map(edge => clamp(this.grid.x(edge, area.width), 0, area.width));
      node.style.left = `${area.left + start}px`;
      node.style.width = `${end - start}px`;
      node.style.top = `${box.top - outer.top}px`;
      node.style.height = `${chosen.name ? box.height : outer.height}px`;
    }
    this.drawnAt = null;
  }

  /** Where the seconds are, within the timeline. */
  area() {
    const box = $("ruler").getBoundingClientRect(), outer = $("timeline").getBoundingClientRect();
    return {left: box.left - outer.left, width: box.width};
  }

  /** Once for each picture of the screen. */
  frame() {
    const at = this.transport.time();
    if (at === this.drawnAt) return;
    if (this.transport.playing) this.reveal(at);
    this.drawnAt = at;
    const area = this.area(), {grid} = this, x = grid.x(at, area.width);
    $("playhead").hidden = x < -1 || x > area.width + 1;
    $("playhead").style.transform = `translateX(${area.left + x}px)`;
    $("bars").textContent = grid.name(at);
    $("time").textContent = `${clock(at)} / ${clock(this.song?.seconds ?? grid.seconds)}`;
    $("ruler").setAttribute("aria-valuemax", grid.seconds.toFixed(1));
    $("ruler").setAttribute("aria-valuenow", at.toFixed(1));
    $("ruler").setAttribute("aria-valuetext", `${grid.bpm ? `bar ${grid.name(at)}, ` : ""}${at.toFixed(1)} seconds`);
  }
}
