"""Configs of models: whatever their values are changed to, one plain line says what is wrong."""

import functools
import json
import math
import re
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from stemphonic_jax.errors import MismatchError, StemphonicError
from stemphonic_jax.weights import bundle, codec, config_json, signed
from stemphonic_jax.weights.hub import DEMO
from stemphonic_jax.weights.known import read_known
from tests import tiny
from tests.weights.test_bundle import edit_config

WRONG = (None, "", "x", [], {}, True, -1, 0, 1, 10**9, 10**30, 1e30, math.inf, math.nan)


def leaves(tree: Any, path: tuple = ()) -> Iterator[tuple]:
  """Paths of all values in a config, but of single latents; of objects and lists too."""
  for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
    yield (*path, key)
    if isinstance(value, dict) or (isinstance(value, list) and len(value) < 9):
      yield from leaves(value, (*path, key))


def changed(config: dict, path: tuple, value: Any) -> dict:
  copy = json.loads(json.dumps(config))
  *outer, last = path
  inner = copy
  for key in outer:
    inner = inner[key]
  inner[last] = value
  return copy


SPECTRAL = json.loads((DEMO / "config.json").read_text())
LEAVES = [path for path in leaves(SPECTRAL) if path[0] != "format"]
CODEC = {"architecture": "spectral", "size": 2560, "stride": 640, "resolution": 64}
CODEC |= {"components": 8, "levels": 1, "entries": 32, "refinements": 24}
OF_CODES = {
  "sample_rate": 32_000,
  "seconds": 2.0,
  "whole_mixes": False,
  "types": ["other"],
  "dropout": {"text": 0.3, "bpm": 0.0, "context": 0.0, "activity": 1.0},
  "network": {"width": 48, "depth": 2, "heads": 2, "dtype": "float32", "remat": "none"},
}
DRAWN = {"steps": 4, "guidance": 3.0, "share_noise": False, "top_k": 8, "temperature": 1.0}
ENCODEC = {"architecture": "encodec", "filters": 64, "ratios": [8, 5, 4, 4], "latent": 128}
T5 = {"text": tiny.IMPORTED["text"]}
CONFIGS = {
  "packaged": SPECTRAL,
  "oobleck": json.loads(json.dumps(tiny.CONFIG)),
  "imported": tiny.CONFIG
  | {name: tiny.CONFIG[name] | tiny.IMPORTED[name] for name in tiny.IMPORTED},
  "musicgen-stem": {
    **OF_CODES,
    "system": "musicgen-stem",
    "text": tiny.CONFIG["text"],
    "editing": {"share": 0.5, "whole": True},
    "sample": DRAWN,
    "codec": {"bass": CODEC, "drums": CODEC, "other": ENCODEC},
  },
  "stemgen": {
    **OF_CODES,
    "system": "stemgen",
    "sample": DRAWN | {"weights": [0.1, 0.1, 1.0]},
    "codec": {"stems": CODEC},
  },
}


@pytest.mark.parametrize("name", CONFIGS)
def test_the_config_of_every_kind_of_model_is_taken(name):
  config_json.check(CONFIGS[name])


def refusal(work: Callable[[], Any], kind: type[Exception]) -> Exception | None:
  """The error that says what is wrong, None where nothing is."""
  try:
    work()
  except kind as error:
    return error
  return None


@pytest.mark.parametrize("name", CONFIGS)
def test_whatever_a_value_is_changed_to_the_message_names_it(name):
  config = json.loads(json.dumps(CONFIGS[name]))
  for path in leaves(config):
    if path[0] == "system":
      continue
    for value in WRONG:
      content = changed(config, path, value)
      if error := refusal(functools.partial(config_json.check, content), ValueError):
        assert path[0] in str(error)
        assert len(str(error)) < 300


PARTS = {"bass": CODEC, "drums": CODEC, "other": CODEC}
OTHERS = {
  "codec.bass: is missing": ("musicgen-stem", {"codec": {"drums": CODEC, "other": CODEC}}),
  "codec.lead: unknown, expected bass, drums, other": (
    "musicgen-stem",
    {"codec": PARTS | {"lead": CODEC}},
  ),
  "codec: got drums, bass, other, expected the order bass, drums, other": (
    "musicgen-stem",
    {"codec": {"drums": CODEC} | PARTS},
  ),
  "codec.more: unknown, expected stems": ("stemgen", {"codec": {"stems": CODEC, "more": CODEC}}),
  "whole_mixes: got True, expected false": ("stemgen", {"whole_mixes": True}),
  "seconds: got 0.05, expected 0.1 at least": ("stemgen", {"seconds": 0.05}),
}


@pytest.mark.parametrize("message", OTHERS)
def test_what_a_system_does_not_have_is_refused(message):
  name, changes = OTHERS[message]
  with pytest.raises(ValueError, match=re.escape(message)):
    config_json.check(CONFIGS[name] | changes)


@pytest.fixture(scope="module")
def packaged(tmp_path_factory):
  """The packaged model, its large files linked."""
  folder = tmp_path_factory.mktemp("demo") / "model"
  folder.mkdir()
  for path in DEMO.iterdir():
    (folder / path.name).symlink_to(path)
  for name in (signed.CONFIG, signed.MANIFEST):
    (folder / name).unlink()
    shutil.copyfile(DEMO / name, folder / name)
  return folder


@pytest.mark.parametrize("path", LEAVES, ids=lambda path: ".".join(map(str, path)))
def test_whatever_a_value_is_changed_to_reading_raises_no_other_errors(packaged, monkeypatch, path):
  # Sums are of no interest here.
  for module in (signed, bundle):
    monkeypatch.setattr(module, "check_files", lambda *_: None)
  monkeypatch.setattr("stemphonic_jax.weights.known.check_files", lambda *_: None)
  for value in WRONG:
    text = json.dumps(changed(SPECTRAL, path, value))
    (packaged / signed.CONFIG).write_text(text)
    for read in (read_known, lambda folder: bundle.describe(bundle.load_bundle(folder))):
      if error := refusal(functools.partial(read, packaged), StemphonicError):
        assert error.exit_code in (65, 66, 78)


@pytest.mark.parametrize(
  ("path", "value", "message"),
  [
    (
      ("sample", "interval"),
      None,
      "sample.interval: got None, expected a list of 2, each entry a",
    ),
    (("dropout", "bpm"), {}, "dropout.bpm: got {}, expected a finite number from 0 on"),
    (("vae", "size"), "x", "vae.size: got 'x', expected a whole number, 1 to 16384"),
    (("vae", "stride"), 0, "vae.stride: got 0, expected a whole number"),
    (("vae", "stacked"), True, "vae.stacked: got True, expected a whole number"),
    (("dit", "heads"), 0, "dit.heads: got 0, expected a whole number"),
    (("dit", "ensemble"), None, "dit.ensemble: got None, expected true or false"),
    (("text", "depth"), -1, "text.depth: got -1, expected a whole number"),
    (("types",), math.inf, "types: got inf, expected a list, each entry a name"),
    (("sample_rate",), math.inf, "sample_rate: got inf, expected a whole number, 100 to 768000"),
    (("seconds",), 10**30, "seconds: got 1000000000000000000000000000000, expected a number of"),
    (("dit", "name"), "x", "dit.name: unknown, expected width, depth, "),
    (("vae", "architecture"), [], "vae.architecture: got [], expected 'oobleck' or 'spectral'"),
    (("vae",), 3, "vae: got 3, expected an object"),
    (("vae", "stride"), 7, "vae.size: got 3584, expected at most 64 strides of 7"),
  ],
)
def test_what_is_wrong_is_named_with_what_it_is_and_what_is_expected(path, value, message):
  with pytest.raises(ValueError, match=re.escape(message)) as error:
    config_json.check(changed(SPECTRAL, path, value))
  assert str(error.value).startswith(message)


@pytest.mark.parametrize(
  ("path", "message"),
  [
    (("text", "depth"), r"text\.depth: got 1000, and the file has \d+ tensors"),
    (("vae", "latent"), r"latents: got 8 channels, expected 1000"),
    (("dit", "depth"), "tensors do not fit"),
  ],
)
def test_what_the_files_do_not_hold_is_seen_before_it_is_traced(tmp_path, path, message):
  folder = shutil.copytree(tiny.model(), tmp_path / "model")
  config = json.loads((folder / "config.json").read_text())
  edit_config(folder, **changed(config, path, 1000))
  with pytest.raises(MismatchError, match=message):
    bundle.load_bundle(folder)


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"size": 10**9}, "codec.size: got 1000000000, expected a whole number"),
    ({"stride": 2}, "codec.size: got 2560, expected at most 64 strides of 2"),
    ({"levels": True}, "codec.levels: got True"),
    ({"sise": 2560}, "codec.sise: unknown, expected"),
  ],
)
def test_a_codec_of_wrong_numbers_is_refused_at_once(tmp_path, change, message):
  content = {"format": "stemphonic_jax codec 1", "sample_rate": 32_000, "codec": CODEC | change}
  (tmp_path / "config.json").write_text(json.dumps(content))
  (tmp_path / "codec.safetensors").touch()
  with pytest.raises(MismatchError, match=re.escape(f"config.json: {message}")):
    codec.open_codec(tmp_path)
