// Seconds, beats and bars, and where they are in a canvas.

export class Grid {
  constructor(seconds = 8, bpm = null, metre = null) {
    const [above, below] = (metre ?? "4/4").split("/").map(Number);
    this.seconds = seconds;
    this.bpm = bpm;
    this.beats = below === 8 ? above / 3 : above;  // of a bar, as audio/metre.py counts
    this.from = 0;  // what is seen: the whole song, until somebody zooms
    this.span = seconds;
  }

  /** Where a time is, of a width in pixels, and the time at a share of it. */
  x(seconds, width) { return (seconds - this.from) / this.span * width; }
  at(share) { return this.from + Math.min(1, Math.max(0, share)) * this.span; }

  /** Shows a stretch, as far as there is a song. */
  show(from, span) {
    this.span = Math.min(this.seconds, Math.max(Math.min(this.seconds, this.beat), span));
    this.from = Math.min(this.seconds - this.span, Math.max(0, from));
  }

  get beat() { return this.bpm ? 60 / this.bpm : 0.5; }
  get bar() { return this.beats * this.beat; }

  /** The nearest edge of a beat, within the song. */
  snap(seconds, unit = this.beat) {
    const edge = Math.round(seconds / unit) * unit;
    return Math.min(this.seconds, Math.max(0, edge));
  }
  /** The beat before and the one after. */
  cell(seconds, unit = this.beat) {
    const start = Math.floor(seconds / unit + 1e-6) * unit;
    return [start, Math.min(this.seconds, start + unit)];
  }
  /** "5.3": the third beat of bar five. */
  name(seconds) {
    const beats = Math.floor(seconds / this.beat + 1e-6);
    return this.bpm ? `${Math.floor(beats / this.beats) + 1}.${beats % this.beats + 1}` : `${seconds.toFixed(1)} s`;
  }
  /** "bars 5–8", or seconds where no tempo is known. */
  range([start, end]) {
    if (!this.bpm) return `${start.toFixed(1)}–${end.toFixed(1)} s`;
    const a = start / this.bar, b = end / this.bar, whole = x => Math.abs(x - Math.round(x)) < 0.02;
    if (whole(a) && (whole(b) || end >= this.seconds - 0.01)) {
      const first = Math.round(a) + 1, last = Math.ceil(b - 0.02);
      return first >= last ? `bar ${first}` : `bars ${first}–${last}`;
    }
    return `${this.name(start)} – ${this.name(end)}`;
  }
  /** Bars between two numbers on the ruler, so that they have room. */
  every(width) {
    const bars = this.span / this.bar;
    return [1, 2, 4, 8, 16, 32, 64].find(n => width / (bars / n) > 44) ?? 128;
  }
}

/** A canvas at the resolution of the screen: its context, width and height in CSS pixels. */
export function surface(canvas) {
  const ratio = devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return {context, width, height};
}

/** Ranges with `[start, end]` put in or taken out, in order and apart. */
export function painted(ranges, [start, end], on) {
  const rest = [];
  for (const [a, b] of ranges) {
    if (a < start) rest.push([a, Math.min(b, start)]);
    if (b > end) rest.push([Math.max(a, end), b]);
  }
  if (on) rest.push([start, end]);
  rest.sort((x, y) => x[0] - y[0]);
  const whole = [];
  for (const range of rest) {
    if (range[1] - range[0] < 1e-4) continue;
    const last = whole.at(-1);
    if (last && range[0] - last[1] < 1e-4) last[1] = Math.max(last[1], range[1]);
    else whole.push([...range]);
  }
  return whole;
}

export const plays = (ranges, at) => ranges.some(([a, b]) => a <= at && at < b);
