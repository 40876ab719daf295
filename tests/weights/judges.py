"""Small random weights of judges, as safetensors."""

import json

import numpy as np
from safetensors.numpy import save_file

from stemphonic_jax.data.bpe import LETTERS
from stemphonic_jax.models.clap import CLAP
from stemphonic_jax.models.htsat import HTSAT
from stemphonic_jax.models.roberta import Roberta
from stemphonic_jax.weights import clap as names

WIDTHS = (2, 3, 4, 4, 5, 6, 9, 10, 7)
NUMBERS = {"features": (0, 3, 6, 8, 11, 13), "embeddings": (0, 2, 4)}


def vggish(features="features", embeddings="embeddings"):
  """Tensors of a narrow VGGish under the names of torchvggish, or others."""
  draw, before, found = np.random.default_rng(0), 1, {}
  names = [f"{features}.{i}" for i in NUMBERS["features"]]
  names += [f"{embeddings}.{i}" for i in NUMBERS["embeddings"]]
  for i, (name, width) in enumerate(zip(names, WIDTHS, strict=True)):
    inputs = (before, 3, 3) if i < 6 else (24 * before if i == 6 else before,)
    scale = np.float32(np.sqrt(2 / np.prod(inputs)))
    found[f"{name}.weight"] = draw.standard_normal((width, *inputs), np.float32) * scale
    found[f"{name}.bias"] = draw.standard_normal(width, np.float32)
    before = width
  return found


def save(path, tensors):
  save_file(tensors, path)
  return path


CLAP_MODEL = CLAP(HTSAT(4, (1,), (2,)), Roberta(262, 20, 8, 1, 2, 12), 6)
PAIRS = [("d", "r"), ("Ġ", "t")]


def clap(bands=64):
  """Tensors of a small CLAP under LAION's names."""
  draw, found = np.random.default_rng(0), {}
  for ours, leaf in names._shapes(CLAP_MODEL, bands).items():
    shape = names._theirs(ours, leaf).shape
    tensor = draw.standard_normal(shape, np.float32) / np.float32(np.sqrt(shape[-1]))
    found[names._their_name(ours)] = np.abs(tensor) if "variance" in ours else tensor
  return found


def save_tokenizer(folder):
  """Bytes and a few pairs, as RoBERTa's files have them."""
  pieces = ["<s>", "<pad>", "</s>", "<unk>", *LETTERS.values(), *map("".join, PAIRS)]
  (folder / "vocab.json").write_text(json.dumps({piece: i for i, piece in enumerate(pieces)}))
  (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in PAIRS))


def save_clap(folder, tensors=None, name="music.safetensors"):
  """A folder as it is downloaded, but small."""
  folder.mkdir(exist_ok=True)
  save(folder / name, clap() if tensors is None else tensors)
  save_tokenizer(folder)
  return folder
