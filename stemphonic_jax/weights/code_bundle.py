"""A model that generates codes, as one folder.

config.json                system, architecture, sample rate, longest generation, settings to
                           generate with, licence and source
codec_NAME.safetensors     each codec, to the byte as it was trained with
network.safetensors        what writes their codes, with its text encoder if that is learned
text_encoder.safetensors   T5, where the text encoder is frozen (t5.py)
tokenizer.model            sentencepiece, where the system reads texts
manifest.json              as of all models (signed.py)
"""

import functools
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stemphonic_jax.audio.folders import whole_folder
from stemphonic_jax.data.tokenizer import Tokenizer
from stemphonic_jax.errors import MismatchError, UsageError
from stemphonic_jax.weights.architecture import (
  CODEC,
  build_codec,
  codec_config,
  codec_shapes,
  parameter_count,
)
from stemphonic_jax.weights.codec import WEIGHTS, CodecWeights, open_codec
from stemphonic_jax.weights.config_json import check, check_depth, reading
from stemphonic_jax.weights.files import digest
from stemphonic_jax.weights.known import NETWORK, TEXT_ENCODER, codec_file, own_files
from stemphonic_jax.weights.networks import (
  build_musicgen,
  build_stemgen,
  categories,
  hop_of,
  musicgen_shapes,
  stemgen_shapes,
)
from stemphonic_jax.weights.signed import (
  CONFIG,
  FORMAT,
  MANIFEST,
  MUSICGEN_STEM,
  STEMGEN,
  check_absent,
  check_files,
  check_vocabulary,
  find_bundle,
  read_config,
  sign,
  system_of,
)
from stemphonic_jax.weights.t5 import TextWeights, open_text_encoder, save_text_encoder
from stemphonic_jax.weights.tensors import halved, open_params, open_tensors, save_params

TOKENIZER = "tokenizer.model"


def musicgen_stem(config: Mapping[str, Any], codecs: Mapping[str, CODEC]) -> tuple[Any, Any]:
  """The network of a config with these codecs, and the shapes of its parameters."""
  model = build_musicgen(config["network"], config["text"], codecs)
  return model, musicgen_shapes(model)


def stemgen(config: Mapping[str, Any], codecs: Mapping[str, CODEC]) -> tuple[Any, Any]:
  """The same of a network that is told the types of stems."""
  (codec,) = codecs.values()
  model = build_stemgen(config["network"], codec, len(categories(config["types"])))
  return model, stemgen_shapes(model)


# By system what builds its network.
NETWORKS: Mapping[str, Callable[..., tuple[Any, Any]]] = {
  MUSICGEN_STEM: musicgen_stem,
  STEMGEN: stemgen,
}


@dataclass(frozen=True, eq=False)
class CodeBundle:
  """A model of codes: its network, parameters as `Lazy` leaves, codecs, and its config.

  `fingerprint` is the SHA-256 of the manifest. Where no text is read there is no tokenizer.
  """

  directory: Path
  config: Mapping[str, Any]
  network: Any
  params: Any
  codecs: Mapping[str, CodecWeights]
  tokenizer: Tokenizer | None
  text_encoder: TextWeights | None
  fingerprint: str

  @property
  def system(self) -> str:
    """The name of the system."""
    return system_of(self.config)

  @functools.cached_property
  def hop(self) -> int:
    """Samples per frame."""
    return hop_of({name: codec.model for name, codec in self.codecs.items()})


def _files(config: Mapping[str, Any]) -> list[str]:
  text = config.get("text") or {}
  names = [CONFIG, NETWORK, *map(codec_file, config["codec"])]
  names += [TOKENIZER] if text else []
  return names + ([TEXT_ENCODER] if text.get("encoder") == "t5" else [])


def save_code_bundle(
  directory: Path,
  config: Mapping[str, Any],
  *,
  params: Any,
  codecs: Mapping[str, Path],
  tokenizer: Tokenizer | None = None,
  text_encoder: TextWeights | None = None,
  made_from: Sequence[Path] = (),
) -> None:
  """Writes a model folder, whole or not at all; of an older one, only a model's files are replaced.

  `codecs` are folders of weights/codec.py; notices of the models that it is `made_from` go along.
  OutputError where the folder cannot be written, or where a file of something else has the name of
  one of a model.
  """
  models = {name: codec_config(open_codec(folder).model) for name, folder in codecs.items()}
  content = {"format": FORMAT, **config, "codec": models}
  with whole_folder(directory, own_files) as folder:
    (folder / CONFIG).write_text(json.dumps(content, indent=2) + "\n")
    save_params(folder / NETWORK, params)
    for name, source in codecs.items():
      shutil.copyfile(source / WEIGHTS, folder / codec_file(name))
    if text_encoder:
      save_text_encoder(folder / TEXT_ENCODER, text_encoder)
    if tokenizer:
      (folder / TOKENIZER).write_bytes(tokenizer.model)
    sign(folder, [directory, *made_from])


def load_code_bundle(directory: Path) -> CodeBundle:
  """Opens a model folder, or the `model` folder of a training workdir, after checking all of it.

  Errors as of bundle.load_bundle.
  """
  directory = find_bundle(directory)
  config = read_config(directory)
  build = NETWORKS.get(system_of(config))
  if build is None:
    raise MismatchError(
      f"{directory}: is a model of {system_of(config)}, expected one of {', '.join(NETWORKS)}"
    )
  with reading(directory):
    check(config)
  check_files(directory, _files(config))
  rate, text, codecs = config["sample_rate"], config.get("text"), {}
  with reading(directory):
    for name, fields in config["codec"].items():
      model, path = build_codec(fields), directory / codec_file(name)
      check_depth(f"codec.{name}.layers", fields.get("layers", 0), open_tensors(path))
      params = open_params(path, codec_shapes(model))
      codecs[name] = CodecWeights(model, params, rate, digest(path))
    if text:
      check_depth("text.depth", text.get("depth", 0), open_tensors(directory / NETWORK))
    models = {name: codec.model for name, codec in codecs.items()}
    hop_of(models)
    network, shapes = build(config, models)
  tokenizer = text_encoder = None
  if text:
    frozen = text["encoder"] == "t5"
    text_encoder = open_text_encoder(directory / TEXT_ENCODER) if frozen else None
    tokenizer = Tokenizer.load(directory / TOKENIZER)
    rows = (text_encoder.config if text_encoder else text).get("vocabulary", 0)
    check_vocabulary(directory, len(tokenizer), rows)
  return CodeBundle(
    directory=directory,
    config=config,
    network=network,
    params=open_params(directory / NETWORK, shapes),
    codecs=codecs,
    tokenizer=tokenizer,
    text_encoder=text_encoder,
    fingerprint=digest(directory / MANIFEST),
  )


def export_code_bundle(
  model: Path,
  out: Path,
  *,
  half: bool = False,
  decoder: Path | None = None,
  average: Path | None = None,
  **notes: str,
) -> CodeBundle:
  """As bundle.export_bundle; codecs stay as they are to the byte, and have no decoder apart."""
  bundle = load_code_bundle(model)
  if decoder:
    raise UsageError(f"{decoder}: a model of {bundle.system} has codecs, whose decoders stay")
  if average:
    raise UsageError(f"{average}: a model of {bundle.system} is averaged with no other")
  check_absent(out)
  with whole_folder(out) as folder:
    for name in _files(bundle.config):
      shutil.copyfile(bundle.directory / name, folder / name)
    if half:
      save_params(folder / NETWORK, halved(bundle.params))
    (folder / CONFIG).write_text(json.dumps({**bundle.config, **notes}, indent=2) + "\n")
    sign(folder, [bundle.directory])
  return load_code_bundle(out)


def describe(bundle: CodeBundle) -> str:
  """What a model is, in a few lines."""
  config = bundle.config
  parts = {name: codec.params for name, codec in bundle.codecs.items()} | {"network": bundle.params}
  if bundle.text_encoder:
    parts["text encoder"] = bundle.text_encoder.params
  codecs = (
    f"{name} {codec.model.levels} of {codec.model.entries}" for name, codec in bundle.codecs.items()
  )
  lines = {
    "model": bundle.directory,
    "system": bundle.system,
    "makes": f"stems of up to {config['seconds']:.4g} s at {config['sample_rate']} Hz, mono",
    "parameters": ", ".join(f"{name} {parameter_count(tree):,}" for name, tree in parts.items()),
    "codes": f"levels and entries: {', '.join(codecs)}; one frame per {bundle.hop} samples",
    "sampling": ", ".join(f"{name} {value}" for name, value in config["sample"].items()),
    "licence": config.get("licence") or "not stated",
    "source": config.get("source") or "not stated",
    "fingerprint": bundle.fingerprint,
  }
  return "\n".join(f"{name:<12} {value}" for name, value in lines.items())
