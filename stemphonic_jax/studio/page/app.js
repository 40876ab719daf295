// The studio: one song at a time, as the server has it, and what is done with it here.

import {$, el, later} from "./dom.js";
import {api, listen, me, takeUrl} from "./api.js";
import {bringer} from "./bring.js";
import {Compose} from "./compose.js";
import {keys, ruler, zoom} from "./controls.js";
import {Jobs} from "./jobs.js";
import {Named} from "./named.js";
import {exporter, songList} from "./songs.js";
import {Grid} from "./time.js";
import {Transport} from "./transport.js";

const EMPTY = {title: "", prompt: "", negative: "", key: "", bpm: null, metre: null, duration: null, seed: 0, passes: 1, guidance: null, steps: null, variations: 1, lanes: [], takes: {}};
const FIRST = ["drums", "basses", "keys", "guitars"];
const STRIP = {gain: 0, pan: 0, mute: false, solo: false};
const KEPT = 40;  // buffers of takes that are kept

class App extends Named {
  constructor() {
    super();
    this.id = null; this.song = null; this.desk = {...EMPTY}; this.mixer = {}; this.info = null;
    this.lanes = new Map(); this.buffers = new Map(); this.grid = new Grid(); this.selection = null;
    this.turn = 0; this.changes = {}; this.strips = {};
    this.transport = new Transport(() => this.showTransport());
    this.jobs = new Jobs(this);
    this.compose = new Compose(this);
    this.save = later(() => this.saveDesk(), 350);
    this.saveMix = later(() => this.saveStrips(), 250);
  }

  async start() {
    songList(this); exporter(this); bringer(this); ruler(this); zoom(this); keys(this);
    this.continue();
    listen(event => this.hear(event), () => this.anew());
    new ResizeObserver(() => this.draw()).observe($("timeline"));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
    addEventListener("hashchange", () => this.fromHash());
    addEventListener("beforeunload", () => { this.save.now(); this.saveMix.now(); });
    const frame = () => { this.frame(); requestAnimationFrame(frame); };
    frame();
    setInterval(() => this.jobs.tick(), 1000);
    await this.anew(true);
  }

  /** Reads all anew. */
  async anew(first = false) {
    try {
      const [info, jobs] = await Promise.all([api.studio(), api.jobs()]);
      this.info = info;
      this.showModel();
      this.jobs.set(jobs);
      if (first) { this.showTypes(); await this.fromHash(); } else await this.refresh();
      if (this.missed) { this.missed = false; await this.anew(); }
    } catch (error) { this.say(error); }
  }

  async fromHash() {
    const id = decodeURIComponent(location.hash.slice(1)) || null;
    if (id !== this.id || !this.shown) await this.open(id);
  }

  hear(event) {
    if (!this.info) { this.missed = true; return; }  // it comes while all is read: read it again
    if (event.type === "anew") this.anew();
    else if (event.type === "model") { this.info.model = event.model; this.showModel(); this.show(); }
    else if (event.type === "job") this.hearJob(event.job);
    else if (event.type === "gone") this.hearGone(event.song);
    else if (event.type === "song" && event.song === this.id) this.refresh();
    else if (event.song !== this.id || event.author === me) return;
    else if (event.type === "desk") { this.desk = this.whole(this.save.waits() ? {...event.desk, ...this.changes} : event.desk); this.show(); }
    else if (event.type === "mixer") { this.mixer = event.mixer; this.remix(); this.show(); }
  }

  hearJob(job) {
    this.jobs.hear(job);
    if (job.song !== this.id) return;
    if (job.state === "failed" && (job.do === "make" || job.do === "add")) {
      this.compose.error(job.error);
      this.jobs.drop(job.id);
    }
    const songs = job.result?.songs ?? [];
    if (job.state === "done" && songs.length > 1) this.jobs.say(`${songs.length} variations are made; the others are in the list of songs`, true);
    this.show();
  }

  // The song

  async open(id) {
    await this.flush().catch(error => this.say(error));
    this.transport.stop();
    this.shown = true;
    this.id = id;
    if (decodeURIComponent(location.hash.slice(1)) !== (id ?? "")) history.replaceState(null, "", id ? `#${encodeURIComponent(id)}` : "/");
    this.buffers.clear();
    this.lanes.clear();
    $("lanes").replaceChildren();
    this.grid = new Grid();
    this.select(null);
    this.compose.error("");
    if (!id) { this.take({song: null, desk: {...EMPTY, lanes: FIRST.map(fresh)}, mixer: {}}); $("prompt").focus(); return; }
    try { this.take(await api.song(id)); }
    catch (error) { this.say(error); this.open(null); }
  }

  async refresh() {
    if (!this.id) return;
    const fetched = this.fetched = (this.fetched ?? 0) + 1, id = this.id;
    try {
      const data = await api.song(id);
      if (fetched === this.fetched && id === this.id) this.take(data, true);
    } catch (error) { this.say(error); }
  }

  take(data, keep = false) {
    const waits = keep && this.save.waits();
    this.song = data.song;
    this.desk = waits ? this.whole({...data.desk, ...this.changes}) : data.desk;
    this.mixer = data.mixer;
    this.grid = this.newGrid();
    if (this.song) this.transport.reset(this.song.rate, this.song.seconds);
    this.show();
    this.loadAudio();
  }

  /** A desk with a lane for each stem that there is. */
  whole(desk) {
    const there = new Set(desk.lanes.map(lane => lane.name));
    const more = Object.entries(this.song?.stems ?? {}).filter(([name]) => !there.has(name));
    return {...desk, lanes: [...desk.lanes, ...more.map(([name, stem]) => ({...fresh(stem.type ?? name), name}))]};
  }

  newGrid() {
    const seconds = this.song?.seconds ?? this.desk.duration ?? this.info?.model.seconds ?? 32;
    const grid = new Grid(seconds, this.song?.bpm ?? this.desk.bpm, this.song?.metre ?? this.desk.metre), {from, span, seconds: before} = this.grid;
    if (span < before) grid.show(from, span);
    return grid;
  }

  /** Shows more or less of the song, around a time. */
  zoom(factor, around = this.transport.time()) {
    const {from, span} = this.grid, share = (around - from) / span, inside = share >= 0 && share <= 1;
    this.grid.show(inside ? around - share * span * factor : around - span * factor / 2, span * factor);
    this.draw();
  }
  scroll(seconds) { this.grid.show(this.grid.from + seconds, this.grid.span); this.draw(); }
  /** Brings a time into view. */
  reveal(at) {
    const {from, span} = this.grid;
    if (at < from || at >= from + span) { this.grid.show(at, span); this.draw(); }
  }

  missing() { return this.desk.lanes.filter(lane => !this.song?.stems[lane.name]); }
  step(name) { return this.song?.steps[this.song.now].stems[name]; }
  laneOf(name) { return this.desk.lanes.find(lane => lane.name === name); }
  stripOf(name) { return {...STRIP, ...this.mixer[name]}; }
  /** When a stem is to play: as painted, or else as it was asked for; null where that is left open. */
  activityOf(name) { return this.laneOf(name)?.activity ?? this.song?.activity[name] ?? null; }
  /** How it is to be played: as is written, or else as it was asked for. */
  wordsOf(name) { return this.laneOf(name)?.words ?? this.song?.words[name] ?? ""; }
  /** What people call a stem. */
  called(name) { return this.laneOf(name)?.label || name; }
  /** The loudest sample of all lanes, which fills a lane. */
  loudest() { return Math.max(0.1, ...[...this.lanes.values()].map(lane => lane.loudest)); }
  types() { return [...this.info?.types ?? [], ...(this.info?.model.types ?? []).map(type => ({type, colour: "#6b7686"}))]; }
  colour(kind) { return this.types().find(type => type.type === kind)?.colour ?? "#6b7686"; }
  takesOf(name) {
    return (this.song?.steps ?? []).flatMap((step, k) => name in step.made && !step.gone.includes(name)
      ? [{step: k, title: this.desk.takes[`${k} ${name}`] ?? "", label: labelOf(step, name, this.grid)}] : []);
  }
  heard(name) {
    const solo = Object.keys(this.song?.stems ?? {}).some(other => this.stripOf(other).solo), strip = this.stripOf(name);
    return solo ? strip.solo : !strip.mute;
  }
  stage(job) { return this.jobs.stage(job); }

  async loadAudio() {
    const turn = ++this.turn, {id, song} = this, tracks = new Map();
    if (!song) { this.transport.set(tracks); this.showTransport(); return; }
    this.loading = true;
    this.showTransport();
    const names = Object.keys(song.stems), of = name => {
      const step = this.step(name), sha = song.steps[step].made[name].sha256;
      return {step, sha, key: `${name} ${step} ${sha}`};
    };
    const show = async name => {
      const {step, sha, key} = of(name), lane = this.lanes.get(name);
      if (!lane || lane.takeShown === key) return;
      lane.takeShown = key;
      const bytes = await api.bytes(takeUrl(id, step, name, "peaks", sha));
      if (lane.takeShown === key) { lane.setPeaks(new Int16Array(bytes)); this.draw(); }
    };
    const load = async name => {
      const {step, sha, key} = of(name);
      let buffer = this.buffers.get(key);
      if (!buffer) buffer = await this.transport.decode(await api.bytes(takeUrl(id, step, name, "audio", sha)));
      this.buffers.delete(key);
      this.buffers.set(key, buffer);
      tracks.set(name, {buffer, strip: this.stripOf(name)});
    };
    await Promise.allSettled(names.map(show));  // first what is seen: it is little
    if (turn !== this.turn || id !== this.id) return;
    const loaded = await Promise.allSettled(names.map(load));
    for (const key of [...this.buffers.keys()].slice(0, Math.max(0, this.buffers.size - KEPT))) this.buffers.delete(key);
    if (turn !== this.turn || id !== this.id) return;
    for (const {reason} of loaded) if (reason) this.say(reason);  // the others are heard without it
    this.transport.set(new Map(names.filter(name => tracks.has(name)).map(name => [name, tracks.get(name)])));
    this.loading = false;
    this.showTransport();
  }

  // Changes of the desk and the mixer

  change(values) {
    this.desk = {...this.desk, ...values};
    this.changes = {...this.changes, ...values};
    this.grid = this.newGrid();
    if (this.id) this.save();
    this.show();
  }

  setLane(name, values) { this.change({lanes: this.desk.lanes.map(lane => lane.name === name ? {...lane, ...values} : lane)}); }
  setStems(types) { this.change({lanes: types.map(fresh)}); }

  async saveDesk() {
    const changes = this.changes;
    this.changes = {};
    if (!this.id || !Object.keys(changes).length) return;
    await api.prepare(this.id, changes).catch(error => this.compose.error(error.message));
  }

  strip(name, values) {
    this.mixer = {...this.mixer, [name]: {...this.stripOf(name), ...values}};
    this.strips = {...this.strips, [name]: this.mixer[name]};
    this.remix();
    this.saveMix();
    this.show();
  }

  remix() {
    for (const [name, track] of this.transport.tracks) track.strip = this.stripOf(name);
    this.transport.mix();
  }

  async saveStrips() {
    const strips = this.strips;
    this.strips = {};
    if (this.id && Object.keys(strips).length) await api.mix(this.id, strips).catch(error => this.say(error));
  }

  async flush() { await this.save.now(); await this.saveMix.now(); }

  addStem(kind) {
    const names = new Set(this.desk.lanes.map(lane => lane.name.toLowerCase()));
    let name = kind, number = 1;
    while (names.has(name.toLowerCase())) name = `${kind} ${++number}`;
    this.change({lanes: [...this.desk.lanes, {...fresh(kind), name}]});
    this.lanes.get(name)?.node.scrollIntoView({block: "nearest", behavior: "smooth"});
  }

  lock(name) { this.setLane(name, {locked: !this.laneOf(name).locked}); }

  // What is asked of the server

  /** Does something, and says what went wrong where it belongs. */
  async doing(work) {
    this.compose.error("");
    try { return await work(); } catch (error) { this.say(error); return null; }
  }

  async make() {
    this.compose.error("");
    try {
      if (!this.id) {
        if (!this.desk.prompt.trim() && !this.desk.key.trim()) throw new Error("describe the music in a few words first");
        const data = await api.create(this.desk);
        this.changes = {};
        this.id = data.id;
        history.replaceState(null, "", `#${encodeURIComponent(data.id)}`);
        this.show();
      }
      await this.flush();
      if (this.song && !this.missing().length) await api.ask(this.id, {...this.asked(), do: "again", stems: this.asAsked(), activity: this.painted()});
      else await api.ask(this.id, {do: "make"});
    } catch (error) { this.compose.error(error.message); }
  }

  /** What an edit is asked beside what it is: what was changed above the lanes since the song was made. */
  asked() {
    const {steps, guidance, seed} = this.desk, key = this.desk.key.trim();
    let prompt = this.desk.prompt.trim().replace(/\s+/g, " ");
    if (key && !prompt.toLowerCase().includes(key.toLowerCase())) prompt = prompt ? `${prompt} in ${key}` : `Music in ${key}`;
    const fresh = this.otherSeed ? seed : null;
    this.otherSeed = false;
    const negative = this.desk.negative.trim() || null;
    return {prompt: prompt && prompt !== this.song.prompt ? prompt : null, negative, steps, guidance, seed: fresh};
  }

  async ask(job) { await this.doing(async () => { await this.flush(); await api.ask(this.id, job); }); }

  /** What is painted and not made yet, of stems that can be made again. */
  painted(names = Object.keys(this.song.stems)) {
    const lanes = names.map(name => this.laneOf(name)).filter(lane => lane?.activity && !lane.locked && !this.song.stems[lane.name].given);
    return lanes.length ? Object.fromEntries(lanes.map(lane => [lane.name, lane.activity])) : null;
  }

  /** Stems that can be made again, each with the words that were written for it since it was made. */
  asAsked(names = null) {
    const some = names ?? Object.keys(this.song.stems).filter(name => !this.song.stems[name].given && !this.laneOf(name)?.locked);
    return some.length ? some.map(name => this.reworded(name) ? `${name}: ${this.wordsOf(name).trim()}` : name) : undefined;
  }
  reworded(name) { return Boolean(this.song?.stems[name]) && this.wordsOf(name).trim() !== (this.song.words[name] ?? ""); }

  again(name) { return this.ask({...this.asked(), do: "again", stems: this.asAsked([name]), activity: this.painted([name])}); }
  repair(names) { return this.ask({...this.asked(), do: "again", stems: this.asAsked(names), range: this.selection.range}); }
  vary(names, strength) { return this.ask({...this.asked(), do: "vary", stems: this.asAsked(names), strength}); }

  useTake(stem, step) { return this.change_now({do: "use", stem, step}); }
  /** Undo, another take and the like, one after the other. */
  async change_now(change) {
    if (this.changing) return;
    this.changing = true;
    this.show();
    await this.doing(async () => { await this.flush(); this.take(await api.now(this.id, change), true); });
    this.changing = false;
    this.show();
  }

  async remove(name) {
    const made = Boolean(this.song?.stems[name]), lanes = this.desk.lanes, shown = this.called(name);
    if (made) await this.change_now({do: "remove", stems: [name]});
    if (this.song?.stems[name]) return;
    this.change({lanes: this.desk.lanes.filter(lane => lane.name !== name)});
    if (!made) this.jobs.say(`${shown} is removed`, true, () => { if (!this.laneOf(name)) this.change({lanes}); });
  }

  download(name) {
    const step = this.step(name);
    el("a", {href: takeUrl(this.id, step, name, "audio"), download: `${this.called(name)}.wav`}).click();
  }

  async bring(uploads, bpm) {
    const lanes = this.untaken(uploads.map(one => one.type));
    if (this.id) this.change({lanes, ...(bpm && {bpm})});
    else {
      const data = await api.create({...this.desk, bpm: this.desk.bpm ?? bpm, lanes: this.desk.prompt ? lanes : []});
      this.id = data.id;
      history.replaceState(null, "", `#${encodeURIComponent(data.id)}`);
    }
    await this.flush();
    this.take(await api.bring(this.id, uploads), true);
  }

  undo() { const step = this.before(); if (step != null) this.change_now({do: "at", step}); }
  redo() { const step = this.next(); if (step >= 0) this.change_now({do: "at", step}); }
  /** The steps that undo and redo go to: those of which no take is in the bin. */
  before() {
    let step = this.song?.steps[this.song.now].from;
    while (step != null && !this.isWhole(this.song.steps[step])) step = this.song.steps[step].from;
    return step;
  }
  next() { return this.song ? this.song.steps.findLastIndex(step => step.from === this.song.now && this.isWhole(step)) : -1; }
  isWhole(step) { return Object.entries(step.stems).every(([name, made]) => !this.song.steps[made].gone.includes(name)); }

  seek(seconds) { this.transport.seek(seconds); }

  /** A range from one time to another, of one stem or (name null) of all. */
  select(from, to, name = null, free = false) {
    if (from === null) this.selection = null;
    else {
      const {grid} = this, [a, b] = from < to ? [from, to] : [to, from];
      const range = free ? [a, b] : [grid.cell(a)[0], grid.cell(Math.max(a, b - 1e-6))[1]];
      this.selection = range[1] - range[0] > 0.05 ? {range, name} : null;
    }
    this.transport.loop && this.transport.setLoop(this.selection?.range ?? null);
    this.show();
  }

  toggleLoop() {
    const range = this.selection?.range ?? [0, this.grid.seconds];
    this.transport.setLoop(this.transport.loop ? null : range);
  }

  say(error) { this.jobs.say(error.message ?? String(error)); }
}

const fresh = kind => ({name: kind, type: kind, label: "", words: null, activity: null, locked: false});

const DONE = {generate: "made", follow: "made", again: "made again", vary: "varied", add: "added", extend: "continued",
  loop: "as a loop", remove: "left out", use: "another take", found: "brought"};
function labelOf(step, name, grid) {
  const range = step.ask?.range, seed = step.ask?.seed, {words} = step.made[name];
  return [DONE[step.do] ?? step.do, words && `“${words}”`, range && grid.range(range.flat()), seed != null && step.do !== "found" && `seed ${seed}`].filter(Boolean).join(", ");
}

// For whoever looks into it with the browser's tools, and for tests.
globalThis.studio = new App();
globalThis.studio.start();
