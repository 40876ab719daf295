// One clock for all stems: every source of a start is given the same time of the audio context,
// and the same loop, so that they cannot drift apart. Gain and pan are set where the sound passes.

const SOON = 0.06;  // seconds from a click to the common start
const GLIDE = 0.012;  // of gains, so that nothing clicks

export class Transport {
  constructor(changed) {
    this.changed = changed;
    this.tracks = new Map();  // name → {buffer, strip}
    this.rate = 44100;
    this.seconds = 0;
    this.position = 0;
    this.loop = null;  // [start, end] in seconds
    this.volume = 1;
    this.playing = false;
    this.context = null;
    this.live = null;  // the nodes of what plays
    this.trim = 1;
  }

  /** Samples of a WAV as a buffer at the song's rate; needs no permission to sound. */
  decode(bytes) {
    return new OfflineAudioContext(2, 1, this.rate).decodeAudioData(bytes);
  }

  /** Begins with another song. */
  reset(rate, seconds) {
    if (rate !== this.rate && this.context) { this.stop(); this.context.close(); this.context = null; }
    this.rate = rate;
    this.resize(seconds);
  }

  resize(seconds) {
    this.seconds = seconds;
    if (this.position > seconds) this.position = 0;
  }

  /** Puts buffers in the place of those that are there; what plays goes on. */
  set(tracks) {
    const at = this.time();
    this.tracks = tracks;
    this.trim = headroom(tracks);
    if (this.playing) { this.silence(); this.begin(at); }
  }

  /** Where we are, in seconds. */
  time() {
    if (!this.playing) return this.position;
    const gone = Math.max(0, this.context.currentTime - this.began);
    const at = this.from + gone, loop = this.looped;
    if (loop && at >= loop[1]) return loop[0] + (at - loop[0]) % (loop[1] - loop[0]);
    return Math.min(at, this.seconds);
  }

  async play() {
    if (this.playing || !this.tracks.size) return;
    this.context ??= new AudioContext({sampleRate: this.rate, latencyHint: "interactive"});
    await this.context.resume();
    if (this.position >= this.seconds - 0.01) this.position = 0;
    this.begin(this.position);
    this.changed();
  }

  begin(from) {
    const loop = this.loop;
    if (loop && (from < loop[0] || from >= loop[1])) from = loop[0];
    this.from = from;
    this.looped = loop && [...loop];
    this.began = this.context.currentTime + SOON;
    this.live = this.build(this.context, this.began, from, loop);
    this.playing = true;
    const mine = this.live;
    const longest = [...mine.sources.values()].at(-1);
    if (longest) longest.onended = () => { if (this.live === mine && !loop) this.stop(); };
  }

  /** Sources, gains and pans in a context, all to start at one time. */
  build(context, when, from, loop) {
    const master = new GainNode(context, {gain: this.volume * this.trim});
    master.connect(context.destination);
    const sources = new Map(), gains = new Map(), pans = new Map();
    for (const [name, {buffer, strip}] of this.tracks) {
      const source = new AudioBufferSourceNode(context, {buffer});
      if (loop) Object.assign(source, {loop: true, loopStart: loop[0], loopEnd: loop[1]});
      const gain = new GainNode(context, {gain: this.level(name)});
      const pan = new StereoPannerNode(context, {pan: strip.pan});
      source.connect(gain).connect(pan).connect(master);
      sources.set(name, source); gains.set(name, gain); pans.set(name, pan);
    }
    for (const source of sources.values()) source.start(when, from);
    return {master, sources, gains, pans};
  }

  /** The gain of a stem as mute and solo have it. */
  level(name) {
    const {strip} = this.tracks.get(name);
    const solo = [...this.tracks.values()].some(track => track.strip.solo);
    return (solo ? strip.solo : !strip.mute) ? 10 ** (strip.gain / 20) : 0;
  }

  /** Brings what plays to the strips and the volume as they are now. */
  mix() {
    if (!this.live) return;
    const now = this.context.currentTime, glide = (node, value) => node.setTargetAtTime(value, now, GLIDE);
    for (const [name, {strip}] of this.tracks) {
      if (!this.live.gains.has(name)) continue;
      glide(this.live.gains.get(name).gain, this.level(name));
      glide(this.live.pans.get(name).pan, strip.pan);
    }
    glide(this.live.master.gain, this.volume * this.trim);
  }

  silence() {
    for (const source of this.live?.sources.values() ?? []) { source.onended = null; source.stop(); }
    this.live?.master.disconnect();
    this.live = null;
  }

  pause() {
    if (!this.playing) return;
    this.position = this.time();
    this.silence();
    this.playing = false;
    this.changed();
  }

  stop() {
    this.silence();
    this.playing = false;
    this.position = 0;
    this.changed();
  }

  seek(seconds) {
    this.position = Math.min(Math.max(0, seconds), this.seconds);
    if (this.playing) { this.silence(); this.begin(this.position); }
    this.changed();
  }

  setLoop(range) {
    const at = this.time();
    this.loop = range;
    if (this.playing) { this.silence(); this.begin(at); }
    this.changed();
  }

  /** What would sound from `from` on, for `seconds`: the same graph, rendered. */
  render(from, seconds, loop = null) {
    const context = new OfflineAudioContext(2, Math.round(seconds * this.rate), this.rate);
    this.build(context, 0, from, loop);
    return context.startRendering();
  }
}

/** The factor that keeps the sum of all stems within full scale. */
function headroom(tracks) {
  const buffers = [...tracks.values()].map(track => track.buffer);
  if (!buffers.length) return 1;
  let peak = 1;
  for (let channel = 0; channel < 2; channel++) {
    const sum = new Float32Array(Math.max(...buffers.map(buffer => buffer.length)));
    for (const buffer of buffers) {
      const data = buffer.getChannelData(Math.min(channel, buffer.numberOfChannels - 1));
      for (let k = 0; k < data.length; k++) sum[k] += data[k];
    }
    for (let k = 0; k < sum.length; k++) { const x = Math.abs(sum[k]); if (x > peak) peak = x; }
  }
  return 1 / peak;
}
