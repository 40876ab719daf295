"""`stemphonic bundle …`: models are passed on whole or not at all."""

import functools
import json
import shutil

import numpy as np
import pytest

from stemphonic_jax.weights.architecture import parameter_count
from stemphonic_jax.weights.bundle import load_bundle
from stemphonic_jax.weights.tensors import load_params
from tests import tiny
from tests.weights.torch_files import mapping, stream, tensor


@pytest.fixture
def bundle(stemphonic):
  """Runs `stemphonic bundle …` in an empty folder: (exit code, stdout, stderr)."""
  return functools.partial(stemphonic, "bundle")


def failure(result, code, message):
  assert result[:2] == (code, "")
  assert result[2].startswith("stemphonic: error: ")
  assert result[2].count("\n") == 1
  assert message in result[2]


def test_a_workdir_is_exported_as_a_model_with_its_notes(bundle, tmp_path):
  (tmp_path / "run").mkdir()
  shutil.copytree(tiny.model(), tmp_path / "run" / "model")
  (tmp_path / "run" / "model" / "stray.txt").touch()
  notes = ("--licence", "CC-BY-4.0", "--source", "my own stems")
  assert bundle("export", "run", "out", *notes) == (0, "out\n", "")
  assert not (tmp_path / "out" / "stray.txt").exists()
  exported, original = load_bundle(tmp_path / "out"), load_bundle(tiny.model())
  told = {"licence": "CC-BY-4.0", "source": "my own stems"}
  assert exported.config == original.config | told
  for name in ("dit.safetensors", "vae.safetensors", "tokenizer.model"):
    assert (tmp_path / "out" / name).read_bytes() == (tiny.model() / name).read_bytes()


def test_a_model_is_exported_with_another_decoder(bundle, tmp_path):
  assert bundle("export", tiny.model(), "same", "--decoder", tiny.model())[0] == 0
  written = (tmp_path / "same" / "vae.safetensors").read_bytes()
  assert written == (tiny.model() / "vae.safetensors").read_bytes()
  missing = bundle("export", tiny.model(), "out", "--decoder", "nowhere")
  failure(missing, 66, "nowhere/vae.safetensors: no such file")


def test_the_demo_model_can_be_exported(bundle, tmp_path):
  assert bundle("export", "demo", "out") == (0, "out\n", "")
  assert load_bundle(tmp_path / "out").config["licence"] == "CC0-1.0"


def test_an_export_replaces_nothing(bundle, tmp_path):
  (tmp_path / "out").mkdir()
  failure(bundle("export", tiny.model(), "out"), 73, "out: already exists")
  assert list((tmp_path / "out").iterdir()) == []


def test_a_damaged_model_is_not_exported(bundle, tmp_path):
  shutil.copytree(tiny.model(), tmp_path / "model")
  data = bytearray((tmp_path / "model" / "dit.safetensors").read_bytes())
  data[-1] ^= 1
  (tmp_path / "model" / "dit.safetensors").write_bytes(data)
  failure(bundle("export", "model", "out"), 65, "dit.safetensors: is not what manifest.json says")
  failure(bundle("verify", "model"), 65, "dit.safetensors: is not what manifest.json says")
  assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]


def test_verify_says_that_a_model_is_whole(bundle):
  fingerprint = load_bundle(tiny.model()).fingerprint
  code, out, err = bundle("verify", tiny.model())
  assert (code, err) == (0, "")
  assert out == f"{tiny.model()}: whole, fingerprint {fingerprint}\n"


def test_show_says_what_a_model_is(bundle):
  code, out, _ = bundle("show", tiny.model())
  assert code == 0
  shown = dict(line.split(maxsplit=1) for line in out.splitlines() if " " in line)
  assert shown["makes"] == "stems of up to 2 s at 44100 Hz, stereo"
  assert shown["listens"] == "to   text, bpm, context, activity"
  assert shown["sampler"] == "4 steps, guidance 3 in steps 2 to 3"
  assert shown["licence"] == "CC0-1.0"
  assert shown["source"] == "random numbers"


def test_show_counts_a_frozen_text_encoder(bundle, tmp_path):
  tiny.save_model(tmp_path / "model", **tiny.IMPORTED)
  _, out, _ = bundle("show", "model")
  count = parameter_count(tiny.text_encoder().params)
  assert f"text encoder {count:,}" in out


@pytest.mark.parametrize("command", ["verify", "show"])
def test_where_there_is_no_model_the_error_says_so(bundle, command):
  failure(bundle(command, "nowhere"), 66, "nowhere: no such model folder")


def test_a_newer_format_asks_for_an_update(bundle, tmp_path):
  shutil.copytree(tiny.model(), tmp_path / "model")
  path = tmp_path / "model" / "config.json"
  path.write_text(json.dumps(json.loads(path.read_text()) | {"format": "stemphonic_jax model 7"}))
  failure(bundle("verify", "model"), 78, "newer than this program")


def test_what_is_imported_must_be_there(bundle, tmp_path):
  failure(bundle("import", "stable-audio", "nowhere", "out"), 66, "nowhere")
  failure(bundle("import", "musicgen", "nowhere", "out"), 2, "stable-audio")
  assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_is_converted_or_refused_in_a_line(bundle, tmp_path):
  (tmp_path / "model.ckpt").write_bytes(b"anything")
  failure(bundle("convert", "model.ckpt", "out.safetensors"), 65, "damaged, or not a")
  assert not (tmp_path / "out.safetensors").exists()
  view = tensor("0", "FloatStorage", 2, 0, (2,), (1,))
  content = stream(mapping({"module.a": view}), {"0": np.float32([1, 2])})
  (tmp_path / "model.ckpt").write_bytes(content)
  code, out, _ = bundle("convert", "model.ckpt", "out.safetensors")
  assert (code, out) == (0, "out.safetensors\n")
  found = load_params(tmp_path / "out.safetensors", {"a": np.zeros(2, np.float32)})
  np.testing.assert_array_equal(found["a"], np.float32([1, 2]))
