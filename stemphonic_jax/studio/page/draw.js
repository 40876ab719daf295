// What is drawn: the ruler, waveforms, activity.

import {surface} from "./time.js";

const style = (node, name) => getComputedStyle(node).getPropertyValue(name).trim();

/** Lines of bars, and of beats where there is room. */
function lines(context, grid, width, height, colour) {
  const every = grid.every(width), room = grid.beat * width / grid.span >= 14;
  context.fillStyle = colour;
  for (let bar = Math.floor(grid.from / grid.bar); bar * grid.bar < grid.from + grid.span + 1e-6; bar++) {
    context.globalAlpha = bar % every ? 0.14 : 0.34;
    context.fillRect(Math.round(grid.x(bar * grid.bar, width)), 0, 1, height);
    context.globalAlpha = 0.08;
    for (let k = 1; room && k < grid.beats; k++) context.fillRect(Math.round(grid.x(bar * grid.bar + k * grid.beat, width)), 0, 1, height);
  }
  context.globalAlpha = 1;
}

export function drawRuler(canvas, grid, loop, looping) {
  const {context, width, height} = surface(canvas), soft = style(canvas, "--soft");
  const every = grid.every(width);
  if (loop) {
    context.globalAlpha = looping ? 0.5 : 0.22;
    context.fillStyle = style(canvas, "--accent");
    context.fillRect(grid.x(loop[0], width), height - 8, (loop[1] - loop[0]) / grid.span * width, 6);
    context.globalAlpha = 1;
  }
  context.font = `12px system-ui, sans-serif`;
  context.textBaseline = "top";
  for (let bar = Math.floor(grid.from / grid.bar); bar * grid.bar < Math.min(grid.seconds, grid.from + grid.span) - 1e-6; bar++) {
    const x = Math.round(grid.x(bar * grid.bar, width));
    context.fillStyle = soft;
    context.globalAlpha = bar % every ? 0.3 : 0.8;
    context.fillRect(x, bar % every ? height - 7 : height - 13, 1, 13);
    context.globalAlpha = 1;
    const word = grid.bpm ? `${bar + 1}` : `${(bar * grid.bar).toFixed(0)} s`;
    if (bar % every === 0 && x < width - 14) context.fillText(word, x + 3, 3);
  }
}

/** Peaks of the server, lowest and highest of each piece, around the middle; `full` fills the height. */
export function drawWave(canvas, grid, peaks, seconds, full) {
  const {context, width, height} = surface(canvas), colour = style(canvas, "--w-shown");
  lines(context, grid, width, height, style(canvas, "--ink"));
  if (!peaks) return;
  const pieces = peaks.length / 2, middle = height / 2;
  const piece = x => Math.floor(grid.at(x / width) / seconds * pieces);
  context.fillStyle = colour;
  for (let x = 0; x < width; x++) {
    const a = piece(x), b = Math.max(a + 1, piece(x + 1));
    let low = Infinity, high = -Infinity;
    for (let k = a; k < b && k < pieces; k++) {
      low = Math.min(low, peaks[2 * k]);
      high = Math.max(high, peaks[2 * k + 1]);
    }
    if (low > high) continue;
    const up = shape(high / full) * middle, down = shape(low / full) * middle;
    context.fillRect(x, middle - up - 0.5, 1, Math.max(1, up - down));
  }
}

/** Quiet passages are to be seen too. */
const shape = x => Math.sign(x) * Math.min(1, Math.abs(x) ** 0.75) * 0.96;

/** When a stem plays: solid where that was asked for, else faint where it is heard, or hatched. */
export function drawActivity(canvas, grid, ranges, sounds, cursor) {
  const {context, width, height} = surface(canvas), colour = style(canvas, "--w-shown");
  const step = width / grid.span;
  lines(context, grid, width, height, style(canvas, "--ink"));
  context.fillStyle = colour;
  if (ranges === null) context.globalAlpha = 0.3;
  if (ranges === null && sounds === null) {
    for (let x = -height; x < width; x += 9) {
      context.beginPath();
      context.moveTo(x, height - 6); context.lineTo(x + height - 12, 6);
      context.lineTo(x + height - 10, 6); context.lineTo(x + 2, height - 6);
      context.fill();
    }
  }
  for (const [start, end] of ranges ?? sounds ?? []) {
    const thin = ranges === null ? 4 : 0;
    context.beginPath();
    context.roundRect(grid.x(start, width) + 1, 5 + thin, Math.max(2, (end - start) * step - 2), height - 10 - 2 * thin, 4);
    context.fill();
  }
  context.globalAlpha = 1;
  if (cursor != null) {
    context.strokeStyle = style(canvas, "--ink");
    context.lineWidth = 2;
    context.strokeRect(grid.x(cursor, width) + 1, 2, Math.max(4, grid.beat * step - 2), height - 4);
  }
}
