"""A small random EnCodec as Hugging Face's folder has it, as safetensors."""

import json
import re

import numpy as np
from safetensors.numpy import save_file

from stemphonic_jax.models.encodec import EnCodec
from stemphonic_jax.weights import encodec as names

MODEL = EnCodec(filters=2, ratios=(3, 2), latent=4, levels=2, entries=8)
CONFIG = {
  "model_type": "encodec",
  "sampling_rate": 60,
  "audio_channels": 1,
  "num_filters": 2,
  "upsampling_ratios": [3, 2],
  "hidden_size": 4,
  "codebook_size": 8,
  "num_lstm_layers": 2,
  "use_causal_conv": False,
  "use_conv_shortcut": False,
  "pad_mode": "reflect",
  "target_bandwidths": [0.06],  # 2 codebooks of 3 bits, 10 times a second
}


def drawn():
  """Under the names of older files."""
  draw, found = np.random.default_rng(0), {}
  for parts in names._wanted(MODEL).values():
    for name, leaf in parts:
      theirs = re.sub(r"^codebooks\.(\d+)$", r"quantizer.layers.\1.codebook.embed", name)
      theirs = re.sub(r"^(encoder|decoder)\.(\d+)", r"\1.layers.\2", theirs)
      theirs = re.sub(r"\.(weight_[gv]|bias)$", r".conv.\1", theirs)
      found[theirs] = draw.standard_normal(leaf.shape, np.float32)
  return found


def save(folder, tensors=None, **changes):
  """The folder, with changes to its config."""
  folder.mkdir(exist_ok=True)
  (folder / "config.json").write_text(json.dumps(CONFIG | changes))
  save_file(drawn() if tensors is None else tensors, folder / "model.safetensors")
  return folder
