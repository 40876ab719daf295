"""Embeddings of CLAP, and how well audio and text fit by them: the CLAP score of the papers.

The network hears 10 s of 48 kHz. LAION's own code takes one random crop of a longer clip, so that a
song has another score each time; here fixed windows are taken, and the mean of their cosines.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import scipy.fft
import soxr
from jaxtyping import Float, Float32, Float64

from stemphonic_jax.errors import MismatchError, UsageError
from stemphonic_jax.evaluation.judges.judge import Audio, in_batches, mono, parts
from stemphonic_jax.weights.clap import ClapWeights, open_clap
from stemphonic_jax.weights.tensors import materialize

RATE, LENGTH = 48_000, 480_000  # Hz, samples of a window
GAP = RATE  # at most so many samples lie between two windows
SIZE, HOP, BANDS = 1024, 480, 64  # samples of a frame, between frames, mel bands
MEL_HZ, LEAST = (50.0, 14_000.0), 1e-10
TOKENS = 77  # of a text
ROWS = {"cpu": 1}  # windows or texts at once
ROWS_ELSEWHERE = 16


class ClapJudge:
  """CLAP as a judge: an embedding of length 1 for each window of 10 s of a clip, and of texts.

  Windows are spread evenly, as few as leave no more than a second between them: 0, 11 and 22 s of a
  clip of 32 s. A clip under 10 s is repeated as often as it fits whole, then silent.
  """

  name = "CLAP"

  def __init__(self, found: ClapWeights):
    self.size = found.model.width
    self.key = {"judge": self.name, "weights": found.sha256}
    self.note = (
      f"CLAP {found.sha256[:8]}, mean over windows of 10 s at most 1 s apart, not a random crop"
    )
    self._tokenizer = found.tokenizer
    self._params = materialize(found.params, jnp.asarray)
    self._audio = jax.jit(functools.partial(found.model.apply, method="embed_audio"))
    self._text = jax.jit(functools.partial(found.model.apply, method="embed_text"))
    self._longest = min(TOKENS, found.model.text.positions - 2)
    self._rows = ROWS.get(jax.default_backend(), ROWS_ELSEWHERE)
    self._texts: dict[str, Float32[np.ndarray, "d"]] = {}

  def embed(self, audio: Audio, rate: int) -> Float32[np.ndarray, "n d"]:
    """Embeddings of all windows of some clips at `rate` Hz, in their order."""
    return np.concatenate([np.empty((0, self.size), np.float32), *self.embed_each(audio, rate)])

  def embed_each(self, audio: Audio, rate: int) -> list[Float32[np.ndarray, "n d"]]:
    """The same for each clip by itself."""
    found = [spectrograms(clip, rate) for clip in audio]
    if not found:
      return []
    embed = functools.partial(self._audio, {"params": self._params})
    return parts(in_batches(embed, self._rows, np.concatenate(found)), found)

  def embed_texts(self, texts: Sequence[str]) -> Float32[np.ndarray, "n d"]:
    """Embeddings of texts; of one that has been embedded before, that one."""
    if new := sorted(set(texts) - self._texts.keys()):
      embed = functools.partial(self._text, {"params": self._params})
      rows = in_batches(embed, self._rows, *self._tokenizer.encode(new, self._longest))
      self._texts.update(zip(new, rows, strict=True))
    return np.stack([self._texts[text] for text in texts]) if texts else np.empty((0, self.size))

  def scores(self, audio: Audio, texts: Sequence[str], rate: int) -> Float64[np.ndarray, "n"]:
    """The CLAP score of each clip with its text: 100 times the mean cosine of its windows."""
    pairs = zip(self.embed_each(audio, rate), self.embed_texts(texts), strict=True)
    return np.array([100 * np.mean(heard.astype(np.float64) @ read) for heard, read in pairs])


def open_judge(folder: Path) -> ClapJudge:
  """CLAP of a folder with its weights and tokenizer; errors are those of weights/clap.py."""
  found = open_clap(folder)
  if found.bands != BANDS:
    raise MismatchError(f"{folder}: the model hears {found.bands} bands, expected {BANDS}")
  return ClapJudge(found)


def starts(samples: int) -> list[int]:
  """Where the windows of a clip begin, in samples at 48 kHz."""
  count = max(1, math.ceil((samples + GAP) / (LENGTH + GAP)))
  return np.linspace(0, max(0, samples - LENGTH), count).round().astype(int).tolist()


def spectrograms(clip: Float[np.ndarray, "N *C"], rate: int) -> Float32[np.ndarray, "n F M"]:
  """Log-mel spectrograms in dB of the windows of a clip; UsageError where it has no samples.

  The sound is brought to 16 bits first, as LAION's code does.
  """
  x = mono(clip)
  x = soxr.resample(x, rate, RATE, quality="HQ") if rate != RATE else x
  if not len(x):
    raise UsageError("CLAP: a clip has no samples")
  x = np.trunc(np.clip(x, -1.0, 1.0) * 32767.0) / 32767.0
  if len(x) < LENGTH:
    x = np.tile(x, LENGTH // len(x))
    x = np.pad(x, (0, LENGTH - len(x)))
  return np.stack([_spectrogram(x[start:][:LENGTH]) for start in starts(len(x))])


def _spectrogram(x: Float[np.ndarray, "N"]) -> Float32[np.ndarray, "F M"]:
  padded = np.pad(np.asarray(x, np.float64), SIZE // 2, mode="reflect")
  frames = np.lib.stride_tricks.sliding_window_view(padded, SIZE)[::HOP]
  hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(SIZE) / SIZE)
  spectra = scipy.fft.rfft(frames * hann, axis=1)
  power = (np.square(spectra.real) + np.square(spectra.imag)) @ _mel()
  return (10.0 * np.log10(np.maximum(power, LEAST))).astype(np.float32)


@functools.cache
def _mel() -> Float64[np.ndarray, "Q M"]:
  """Triangles on Slaney's scale, of equal area."""
  import librosa  # half a second

  low, high = MEL_HZ
  filters = librosa.filters.mel(
    sr=RATE, n_fft=SIZE, n_mels=BANDS, fmin=low, fmax=high, dtype=np.float64
  )
  return filters.T
