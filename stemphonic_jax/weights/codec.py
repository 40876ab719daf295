"""Codecs as folders, and in use: samples of one channel to columns of codes, and back.

    config.json          architecture, sample rate, and what is known of the codec
    codec.safetensors    its networks and codebooks

Codes are only worth something together with the codec that made them: `Codec.fingerprint` says
which one that was.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32, UInt16

from stemphonic_jax.audio.folders import if_file, settled, whole_folder
from stemphonic_jax.errors import DataError, MismatchError, MissingError, UsageError
from stemphonic_jax.weights.architecture import CODEC, build_codec, codec_config, codec_shapes
from stemphonic_jax.weights.config_json import check_codec, check_depth
from stemphonic_jax.weights.files import digest, read_json
from stemphonic_jax.weights.tensors import materialize, open_params, open_tensors, save_params

KIND, VERSION = "stemphonic_jax codec", 1
CONFIG, WEIGHTS = "config.json", "codec.safetensors"
WINDOW = 1500  # frames coded at once: 30 s at 50 Hz


@dataclass(frozen=True, eq=False)
class CodecWeights:
  """A codec, its tensors (arrays or `Lazy`), samples per second, and the SHA-256 of their file."""

  model: CODEC
  params: Any
  rate: int
  sha256: str = ""

  @property
  def fingerprint(self) -> str:
    """A SHA-256 of the file and of the config, which codes depend on too; empty without a file."""
    said = json.dumps([self.sha256, self.rate, codec_config(self.model)])
    return hashlib.sha256(said.encode()).hexdigest() if self.sha256 else ""


def save_codec(directory: Path, weights: CodecWeights, about: Mapping[str, Any]) -> None:
  """Writes the folder, whole or not at all; `about` are facts of the codec, as its licence.

  A codec that lies there is replaced. OutputError where it cannot be written, or where a file of
  something else has the name of one of a codec.
  """
  content = {
    "format": f"{KIND} {VERSION}",
    "sample_rate": weights.rate,
    "codec": codec_config(weights.model),
    **about,
  }
  with whole_folder(directory, _files_of) as folder:
    (folder / CONFIG).write_text(json.dumps(content, indent=2) + "\n")
    save_params(folder / WEIGHTS, weights.params)


def _files_of(directory: Path) -> tuple[str, ...]:
  """The files of a codec in a folder; none where it is the folder of something else."""
  with contextlib.suppress(DataError, MissingError):
    if read_json(directory / CONFIG).get("format") == f"{KIND} {VERSION}":
      return CONFIG, WEIGHTS
  return ()


def open_codec(directory: Path) -> CodecWeights:
  """The codec in a folder that `save_codec` wrote, checked but not yet read.

  MissingError where there is none; DataError where a file is damaged; MismatchError where the
  folder is another kind of model, or its tensors do not fit its config.
  """
  if not (settled(directory) / CONFIG).is_file():
    raise MissingError(
      f"{directory}: no codec here; expected {CONFIG} and {WEIGHTS}{if_file(directory)}"
    )
  config = read_json(directory / CONFIG)
  if (found := config.get("format")) != f"{KIND} {VERSION}":
    raise MismatchError(
      f"{directory}: format {found!r}, expected '{KIND} {VERSION}'; a codec is what a run leaves in"
      f" WORKDIR/codecs/NAME"
    )
  codec, rate = config.get("codec"), config.get("sample_rate")
  if not isinstance(codec, dict) or type(rate) is not int or rate < 1:
    raise MismatchError(
      f"{directory / CONFIG}: codec or sample_rate is wrong or missing; copy the folder again"
    )
  path = directory / WEIGHTS
  try:
    check_codec(codec)
    check_depth("codec.layers", codec.get("layers", 0), open_tensors(path))
    model = build_codec(codec)
    shapes = codec_shapes(model)
  except (ValueError, UsageError) as error:
    raise MismatchError(f"{directory / CONFIG}: {error}") from None
  return CodecWeights(model, open_params(path, shapes), rate, digest(path))


class Codec:
  """A codec with its weights in memory.

  `rate` is in samples per second, `hop` in samples per column; codes of `levels` levels are below
  `entries`; `fingerprint` is that of its weights.
  """

  def __init__(self, weights: CodecWeights):
    self.model, self.rate, self.fingerprint = weights.model, weights.rate, weights.fingerprint
    self.hop, self.levels, self.entries = (
      getattr(weights.model, name) for name in ("hop", "levels", "entries")
    )
    self._params = materialize(weights.params, jax.device_put)
    self._jitted = jax.jit(weights.model.apply, static_argnames="method")

  def encode(self, audio: Float32[np.ndarray, "N"], rate: int) -> UInt16[np.ndarray, "K T"]:
    """Columns of codes, ceil(N / hop) of them.

    UsageError for audio of several channels, another rate, no samples, or such as are no number.
    """
    if audio.ndim != 1 or not len(audio):
      raise UsageError(
        f"audio of shape {audio.shape}: a codec hears one channel, shape (samples,); give the mean"
        f" of the channels, or each by itself"
      )
    if rate != self.rate:
      raise UsageError(f"audio at {rate} Hz: this codec hears {self.rate} Hz; resample it first")
    if not np.isfinite(audio).all():
      raise UsageError("audio has samples that are no number (NaN or infinite); make it again")
    codes = self.model.encode_chunked(self._apply, jnp.asarray(audio[None], jnp.float32), WINDOW)
    return np.asarray(codes[0], np.uint16)

  def decode(self, codes: Any) -> Float32[np.ndarray, "N"]:
    """Samples of columns of codes, `hop` for each.

    UsageError where they are not of this codec: other levels, no columns, beyond its entries.
    """
    codes = np.asarray(codes)
    if (
      codes.ndim != 2 or len(codes) != self.levels or not codes.size or codes.dtype.kind not in "iu"
    ):
      raise UsageError(
        f"codes of shape {codes.shape} and type {codes.dtype}: expected whole numbers of shape"
        f" ({self.levels}, columns); they are another codec's"
      )
    if (wrong := np.argwhere((codes < 0) | (codes >= self.entries))).size:
      level, column = wrong[0]
      raise UsageError(
        f"code {codes[level, column]} at level {level}, column {column}: expected 0 to"
        f" {self.entries - 1}; special tokens are to be taken out first"
      )
    rows = jnp.asarray(codes[None], jnp.int32)
    return np.asarray(self.model.decode_chunked(self._apply, rows, WINDOW)[0])

  @functools.cached_property
  def silence(self) -> UInt16[np.ndarray, "K"]:
    """The column that silence is, when it has lasted for a second."""
    second = -(-self.rate // self.hop)
    return self.encode(np.zeros(2 * second * self.hop, np.float32), self.rate)[:, second]

  def _apply(self, *arguments: Any, method: str) -> Any:
    return self._jitted({"params": self._params}, *arguments, method=method)
