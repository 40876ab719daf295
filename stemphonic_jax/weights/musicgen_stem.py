"""Public MusicGen-Stem weights as a model folder, which is asked and edited as one trained here."""

import tempfile
from pathlib import Path
from typing import Any

from stemphonic_jax.errors import MismatchError
from stemphonic_jax.weights.code_bundle import save_code_bundle
from stemphonic_jax.weights.codec import save_codec
from stemphonic_jax.weights.musicgen_folder import STEMS, open_folder
from stemphonic_jax.weights.musicgen_parts import MusicGenParts
from stemphonic_jax.weights.networks import delays_of
from stemphonic_jax.weights.signed import MUSICGEN_STEM, check_absent

SECONDS, TOKENS = 30.0, 256  # that it was trained on, and of a text at most
LICENCE = "CC-BY-NC-4.0"  # of the public weights


def import_musicgen_stem(folder: Path, out: Path, text_encoder: Path | None = None) -> None:
  """Writes the MusicGen-Stem of `folder` (state_dict.bin, and a codec of each stem) to `out`.

  `text_encoder` is a folder of its T5. OutputError where `out` exists; MismatchError for a model
  of mixes; other errors as of `open_folder`, and then nothing is written.
  """
  check_absent(out)
  parts = open_folder(folder, text_encoder)
  if tuple(parts.codecs) != STEMS or parts.network.stereo:
    raise MismatchError(
      f"{folder}: makes {', '.join(parts.codecs)}, expected a MusicGen-Stem, which makes"
      f" {', '.join(STEMS)}; generation/musicgen.py generates with it as it is"
    )
  if parts.network.delays != delays_of({n: codec.model for n, codec in parts.codecs.items()}):
    raise MismatchError(f"{folder}: has delays {parts.network.delays}, expected one for each level")
  with tempfile.TemporaryDirectory() as place:
    codecs = {name: Path(place, name) for name in STEMS}
    for name, weights in parts.codecs.items():
      save_codec(codecs[name], weights, {"licence": LICENCE})
    save_code_bundle(
      out,
      _config(parts),
      params=parts.network.params,
      codecs=codecs,
      tokenizer=parts.tokenizer,
      text_encoder=parts.text,
    )


def _config(parts: MusicGenParts) -> dict[str, Any]:
  """What config.json says, as of a model that was trained here (configs/musicgen_stem.py)."""
  model = parts.network.model
  sizes = {name: getattr(model, name) for name in ("width", "depth", "heads")}
  return {
    "system": MUSICGEN_STEM,
    "sample_rate": parts.rate,
    "seconds": SECONDS,
    "network": {**sizes, "dtype": "float32", "remat": "none"},
    "text": {"encoder": "t5", "width": model.text_width, "length": TOKENS},
    "editing": {"share": 0.5, "whole": False},
    "dropout": {"text": 0.3, "bpm": 0.0, "context": 0.0, "activity": 1.0},
    "sample": {
      "guidance": 3.0, "top_k": 250, "temperature": 1.0, "steps": 1, "share_noise": True
    },
    "types": ["other"],
    "whole_mixes": False,
    "licence": LICENCE,
    "source": "public MusicGen-Stem weights",
  }  # fmt: skip
