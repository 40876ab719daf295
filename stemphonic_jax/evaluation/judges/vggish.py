"""Embeddings of VGGish, with which the field measures its Fréchet audio distances (FAD)."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import soxr
from absl import logging
from jaxtyping import Float, Float32

from stemphonic_jax.errors import UsageError
from stemphonic_jax.evaluation.judges.judge import Audio, in_batches, mono, parts
from stemphonic_jax.evaluation.judges.resampling import as_fadtk, as_resampy
from stemphonic_jax.weights.tensors import materialize
from stemphonic_jax.weights.vggish import BANDS, FRAMES, VGGishWeights, open_vggish

RATE = 16_000  # Hz
WINDOW, HOP, SIZE = 400, 160, 512  # samples of a frame, between frames, of its transform
MEL_HZ, OFFSET = (125.0, 7500.0), 0.01
PATCH = WINDOW + (FRAMES - 1) * HOP  # samples that a patch looks at, 0.975 s
MODES = {
  "default": "windows of 0.96 s",
  "google": "windows of 1 s every 0.5 s, each clip at peak 1, as Google's frechet_audio_distance",
  "gudgud96": "windows of 0.96 s, resampled by Kaiser's window, as gudgud96's package",
  "fadtk": "windows of 0.96 s, resampled by Kaiser's window, in 16 bits, as Microsoft's fadtk",
}
# Patches at once: on a CPU a third of a song of 32 s, so that little of the last batch is padding.
ROWS = {"cpu": 11}
ROWS_ELSEWHERE = 66
# Of 3 s of a sine of 1 kHz, by vggish_smoke_test.py: the spread of its embeddings.
SPREAD, TOLERANCE = 0.343, 0.1
BLOCK = 64  # patches whose spectra are in memory at once


class VGGishJudge:
  """VGGish as a judge: an embedding for every 0.96 s of a clip; nothing for one under 0.975 s."""

  name = "VGGish"

  def __init__(self, found: VGGishWeights, mode: str = "default"):
    if mode not in MODES:
      raise UsageError(f"VGGish: mode is {mode!r}, expected {', '.join(MODES)}")
    self.mode, self.size = mode, found.model.widths[-1]
    self.key = {"judge": self.name, "weights": found.sha256, "mode": mode}
    self.note = f"VGGish {found.sha256[:8]}, {MODES[mode]}"
    self._params = materialize(found.params, jnp.asarray)
    self._apply = jax.jit(found.model.apply)
    self._rows = ROWS.get(jax.default_backend(), ROWS_ELSEWHERE)

  def embed(self, audio: Audio, rate: int) -> Float32[np.ndarray, "n d"]:
    """Embeddings of all windows of some clips at `rate` Hz, in their order."""
    return self._embed([self.patches(clip, rate) for clip in audio])

  def embed_each(self, audio: Audio, rate: int) -> list[Float32[np.ndarray, "n d"]]:
    """The same for each clip by itself."""
    found = [self.patches(clip, rate) for clip in audio]
    return parts(self._embed(found), found)

  def patches(self, clip: Float[np.ndarray, "N *C"], rate: int) -> Float32[np.ndarray, "n F M"]:
    """What the network sees of a clip in this mode."""
    x = mono(clip)
    if self.mode == "gudgud96":
      return patches(as_resampy(x, rate, RATE) if rate != RATE else x)
    if self.mode == "fadtk":
      x = as_fadtk(x, rate, RATE) if rate != RATE else x
      x = np.clip(np.rint(x * 2**15), -(2**15), 2**15 - 1) / 2**15
      return patches(np.pad(x, (0, max(0, RATE - len(x)))))
    x = soxr.resample(x, rate, RATE, quality="HQ") if rate != RATE else x
    if self.mode == "google":
      units = np.clip(np.rint(x * 2.0**15), -(2**15), 2**15 - 1)
      whole = max(0, (len(x) - RATE) // (RATE // 2) + 1)  # seconds, every half second
      return patches(units / max(0.1, units.max(initial=0.0)), RATE // 2)[:whole]
    return patches(x)

  def _embed(self, found: Sequence[Float32[np.ndarray, "n F M"]]) -> Float32[np.ndarray, "n d"]:
    rows = np.concatenate([np.empty((0, FRAMES, BANDS), np.float32), *found])
    if not len(rows):
      return np.empty((0, self.size), np.float32)
    embeddings = in_batches(self._one, self._rows, rows)
    return embeddings.astype(np.float16).astype(np.float32) if self.mode == "fadtk" else embeddings

  def _one(self, rows: Float32[np.ndarray, "B F M"]) -> jax.Array:
    return self._apply({"params": self._params}, rows)


def open_judge(path: Path, mode: str = "default") -> VGGishJudge:
  """VGGish of a file (weights/vggish.py has its errors), by the rules of one of MODES.

  A warning where a sine is not heard as Google's smoke test says it is. UsageError for another
  mode.
  """
  judge = VGGishJudge(open_vggish(path), mode)
  sine = np.sin(2 * np.pi * 1000 * np.arange(3 * RATE) / RATE)
  spread = float(in_batches(judge._one, judge._rows, patches(sine)).std())
  if not abs(spread / SPREAD - 1) <= TOLERANCE:
    logging.warning(
      "%s: a sine has embeddings of spread %.3f, where Google's smoke test has %.3f: other weights"
      " than those of the papers", path, spread, SPREAD,
    )  # fmt: skip
  return judge


def patches(x: Float[np.ndarray, "N"], stride: int = FRAMES * HOP) -> Float32[np.ndarray, "n F M"]:
  """Log-mel spectrograms of all whole windows of 0.975 s of a sound at 16 kHz, one per `stride`."""
  starts = np.arange(0, len(x) - PATCH + 1, stride)
  found = [np.empty((0, FRAMES, BANDS), np.float32)]
  for some in np.split(starts, range(BLOCK, len(starts), BLOCK)) if len(starts) else ():
    frames = np.lib.stride_tricks.sliding_window_view(np.asarray(x, np.float64), WINDOW)
    frames = frames[some[:, None] + HOP * np.arange(FRAMES)]
    magnitude = np.abs(np.fft.rfft(frames * _hann(), SIZE))
    bands = magnitude.reshape(-1, SIZE // 2 + 1) @ _bands()
    found.append(np.log(bands + OFFSET).astype(np.float32).reshape(-1, FRAMES, BANDS))
  return np.concatenate(found)


@functools.cache
def _hann() -> Float[np.ndarray, "N"]:
  return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)


@functools.cache
def _bands() -> Float[np.ndarray, "Q M"]:
  """Triangles that are linear in mel, by the formula of HTK; nothing of the constant part."""
  edges = np.linspace(*(_mel(hz) for hz in MEL_HZ), BANDS + 2)
  bins = _mel(np.arange(SIZE // 2 + 1) * RATE / SIZE)[:, None]
  rise = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
  fall = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
  bands = np.maximum(0.0, np.minimum(rise, fall))
  bands[0] = 0.0
  return bands


def _mel(hz: Any) -> Any:
  return 1127.0 * np.log(1.0 + np.asarray(hz) / 700.0)
