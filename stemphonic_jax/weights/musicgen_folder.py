"""A whole MusicGen in a folder: network, text encoder, tokenizer, and a codec or one for each stem.

Hugging Face's   config.json, model.safetensors with everything, spiece.model
audiocraft's     state_dict.bin, compression_state_dict.bin, or, of MusicGen-Stem, one of these for
                 each of bass, drums and other; T5 is a folder of its own, and so is the codec where
                 the file only names it
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from stemphonic_jax.audio.folders import if_file
from stemphonic_jax.errors import MismatchError, MissingError, UsageError
from stemphonic_jax.weights.checkpoint import open_weights
from stemphonic_jax.weights.codec import CodecWeights
from stemphonic_jax.weights.encodec import import_encodec, open_encodec
from stemphonic_jax.weights.files import read_json
from stemphonic_jax.weights.lazy import Lazy
from stemphonic_jax.weights.musicgen import find_weights, open_musicgen
from stemphonic_jax.weights.musicgen_parts import MusicGenParts
from stemphonic_jax.weights.t5 import TextWeights, find_tokenizer, import_t5, open_huggingface

MIX = "mix"  # what a model of one codec makes
STEMS = ("bass", "drums", "other")  # in the order of MusicGen-Stem's streams
CODEC = "compression_state_dict.bin"
CODEC_OF = "compression_state_dict_{}.bin"


def open_folder(folder: Path, t5: Path | None = None, codec: Path | None = None) -> MusicGenParts:
  """All parts of a MusicGen, checked against each other, their tensors not yet read.

  `t5` is the folder of the text encoder where the model's own has none, `codec` that of an EnCodec
  where it has none. Errors as of each part; UsageError where a folder is missing or one too many;
  MismatchError where the codecs are not those of the network's streams.
  """
  if not folder.is_dir():
    raise MissingError(f"{folder}: no such folder of a MusicGen{if_file(folder)}")
  network = open_musicgen(folder)
  if (folder / "config.json").is_file():
    if more := t5 or codec:
      raise UsageError(f"{folder}: has a text encoder and a codec of its own; leave out {more}")
    text, codecs = _hugging_face(folder)
    tokenizer = find_tokenizer(folder)
  else:
    if t5 is None:
      raise UsageError(
        f"{folder}: audiocraft's files hold no text encoder; name a folder of t5-base too"
      )
    text, tokenizer, codecs = open_huggingface(t5), find_tokenizer(t5), _audiocraft(folder, codec)
  model = network.model
  if (width := text.config["width"]) != model.text_width:
    raise MismatchError(f"{folder}: text is {model.text_width} wide to the network, T5's {width}")
  levels = {name: codec.model.levels for name, codec in codecs.items()}
  if sum(levels.values()) * (2 if network.stereo else 1) != model.streams:
    found = ", ".join(f"{name} {count}" for name, count in levels.items())
    raise MismatchError(
      f"{folder}: codecs have levels {found}, the network {model.streams} streams"
    )
  for name, codec in codecs.items():
    if codec.model.entries != model.vocabulary:
      raise MismatchError(
        f"{folder}: the codec of {name} has {codec.model.entries} entries, the network's streams"
        f" {model.vocabulary}; it is another model's"
      )
  rates = {(codec.rate, codec.model.hop) for codec in codecs.values()}
  if len(rates) > 1:
    raise MismatchError(f"{folder}: its codecs differ in rate or hop: {sorted(rates)}")
  return MusicGenParts(network, text, tokenizer, codecs, rates.pop()[0])


def _hugging_face(folder: Path) -> tuple[TextWeights, dict[str, CodecWeights]]:
  path = folder / "config.json"
  config, source = read_json(path), find_weights(folder)
  tensors = open_weights(source)
  parts = {}
  for part, kind in (("text_encoder", "t5"), ("audio_encoder", "encodec")):
    given = config.get(part)
    if not isinstance(given, dict) or given.get("model_type") != kind:
      raise MismatchError(f"{path}: its {part} is no {kind}, which is not read")
    start = f"{part}."
    found = {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}
    parts[part] = given, found
  text = import_t5(path, parts["text_encoder"][0], source, parts["text_encoder"][1])
  model, params, rate = import_encodec(source, *parts["audio_encoder"])
  return text, {MIX: CodecWeights(model, params, rate, _digest(parts["audio_encoder"][1]))}


def _digest(tensors: Mapping[str, Lazy]) -> str:
  """The SHA-256 of the codec's own tensors: the file holds more, and may be a list of shards."""
  found = hashlib.sha256()
  for name in sorted(tensors):
    found.update(name.encode() + tensors[name].read().tobytes())
  return found.hexdigest()


def _audiocraft(folder: Path, codec: Path | None) -> dict[str, CodecWeights]:
  if codec is not None:
    return {MIX: open_encodec(codec)}
  if (folder / CODEC).is_file():
    return {MIX: open_encodec(folder / CODEC)}
  files = {name: folder / CODEC_OF.format(name) for name in STEMS}
  if absent := [path.name for path in files.values() if not path.is_file()]:
    raise MissingError(f"{folder}: has no codec; expected {CODEC}, or {', '.join(absent)}")
  return {name: open_encodec(path) for name, path in files.items()}
