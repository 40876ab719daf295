"""The benchmarks at sizes that take seconds: that they run, and that what they compare is equal."""

import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stemphonic_jax import bench
from stemphonic_jax.data.taxonomy import STEM_TYPES
from stemphonic_jax.errors import UsageError
from stemphonic_jax.models.dit import DiT
from stemphonic_jax.models.oobleck import Oobleck
from stemphonic_jax.weights.architecture import build_vae, init_vae
from stemphonic_jax.weights.tensors import save_params
from tests import tiny

SMALL = bench.peer.Size(
  channels=4, multiples=(1, 2), strides=(2, 4), seconds=0.01, heads=2, text_width=8, tokens=3,
  frames=5, coded=bench.codec.Size(2, (3, 2), 4, 8, 33.0),
  decoded=bench.musicgen.Size(8, 1, 2, 16, 3, 4),
)  # fmt: skip
TOLERANCE = {"float32": 1e-4, "bfloat16": 5e-2}


def test_the_peer_gives_the_same_numbers(capsys, monkeypatch):
  pytest.importorskip("diffusers")
  for name, value in (bench.peer.ALLOCATOR | {"JAX_PLATFORMS": "cpu"}).items():
    monkeypatch.setenv(name, value)  # so that the process is not restarted
  cases = ("encode", "decode", "forward-2", "gradient-1", "codec-encode", "codec-decode")
  bench.peer.run(rounds=2, cases=(*cases, "musicgen-2"), size=SMALL)
  head, *rows = capsys.readouterr().out.splitlines()
  assert head.split() == ["peer", "s", "ours", "s", "ratio", "p10-p90", "limit", "error"]
  names = [tuple(row.split()[:2]) for row in rows]
  assert names == [
    ("encode", "float32"),
    ("decode", "float32"),
    ("forward-2", "float32"),
    ("forward-2", "bfloat16"),
    ("gradient-1", "float32"),
    ("gradient-1", "bfloat16"),
    ("codec-encode", "float32"),
    ("codec-decode", "float32"),
    ("musicgen-2", "float32"),
  ]
  assert float(rows.pop().split()[-1]) == 0, "codes are equal"
  for row, (_, dtype) in zip(rows, names[:-1], strict=True):
    theirs, ours, ratio, low, high = map(float, re.findall(r"\d+\.\d+", row)[:5])
    assert min(theirs, ours) >= 0
    assert low <= ratio <= high
    assert 0 < float(row.split()[-1]) < TOLERANCE[dtype]


def test_networks_that_hear_give_the_numbers_of_the_peer(capsys, monkeypatch):
  pytest.importorskip("transformers")
  for name, value in (bench.peer.ALLOCATOR | {"JAX_PLATFORMS": "cpu"}).items():
    monkeypatch.setenv(name, value)
  monkeypatch.setattr(bench.evaluate, "PATCHES", 2)
  monkeypatch.setattr(bench.evaluate, "WINDOWS", 1)
  widths = (2, 2, 3, 3, 4, 4, 8, 8, 5)
  bench.evaluate.run(rounds=1, size=bench.evaluate.Size(widths, 4, (1,), (1,), 50, 8, 1, 2))
  _, *rows = capsys.readouterr().out.splitlines()
  assert [row.split()[0] for row in rows] == ["VGGish-33", "CLAP-audio", "CLAP-text"]
  assert [row.split()[-2] for row in rows] == ["1.0", "1.2", "-"]
  assert all(float(row.split()[-1]) < 1e-4 for row in rows)


@pytest.mark.parametrize("case", ["forward", "encode-4", "forward-0", "listen"])
def test_an_unknown_case_is_refused(case):
  with pytest.raises(UsageError, match=case):
    bench.peer.run(cases=(case,))


def test_the_process_is_restarted_with_the_allocator_tuned(monkeypatch):
  pytest.importorskip("diffusers")
  monkeypatch.delenv("MALLOC_ARENA_MAX", raising=False)
  started = {}

  def execve(path, arguments, environment):
    started.update(environment)
    raise SystemExit

  monkeypatch.setattr("os.execve", execve)
  with pytest.raises(SystemExit):
    bench.peer.run(rounds=1)
  assert started.items() >= bench.peer.ALLOCATOR.items()


def test_autoencoders_are_measured(capsys):
  model = Oobleck(channels=4, multiples=(1, 1), strides=(2, 4), latent=2)
  bench.vae.run(seconds=0.01, repeats=1, models={"tiny": model})
  head, _, encode, decode = capsys.readouterr().out.splitlines()
  assert "x real time" in head
  for name, row in (("encode", encode), ("decode", decode)):
    found, *numbers = row.split()
    assert found == name
    assert all(float(number) > 0 for number in numbers)


SPECTRAL = {"architecture": "spectral", "size": 64, "stride": 16, "stacked": 4, "resolution": 8}


@pytest.mark.parametrize(
  "shape", [SPECTRAL | {"latent": 4, "width": 8, "depth": 1}, tiny.CONFIG["vae"]]
)
def test_reconstructions_of_a_trained_autoencoder_are_measured(
  shape, tmp_path, capsys, monkeypatch
):
  monkeypatch.setattr(bench.reconstruction, "REFINEMENTS", (1,))
  config = {"vae": shape, "sample_rate": 8_000}
  (tmp_path / "config.json").write_text(json.dumps(config))
  save_params(tmp_path / "vae.safetensors", init_vae(build_vae(shape), jax.random.key(0)))
  bench.reconstruction.run(tmp_path, pieces=1, seconds=0.5, repeats=1)
  rows = [line.split() for line in capsys.readouterr().out.splitlines()]
  counts = {" ".join(row[:-4]): int(row[-4]) for row in rows if row[-1].count(".") and len(row) > 4}
  assert counts["mixes"] == 1
  kinds = sum(count for name, count in counts.items() if name in STEM_TYPES)
  assert counts["all stems"] == kinds > 0
  names = {row[0] for row in rows}
  assert {"encode", "decode"} <= names
  assert ("refinements" in names) == (shape["architecture"] == "spectral")


def test_measures_of_reconstruction_know_an_error_when_they_see_one():
  rate, rng = 44_100, np.random.default_rng(0)
  real = jnp.asarray(rng.standard_normal((1, 8192, 2), np.float32))
  noise = jnp.asarray(rng.standard_normal((1, 8192, 2), np.float32))
  noise -= real * jnp.sum(real * noise) / jnp.sum(real**2)
  noise *= jnp.linalg.norm(real) / jnp.linalg.norm(noise)
  measure = bench.reconstruction
  # A tenth of the amplitude is 20 dB below, whatever the gain.
  np.testing.assert_allclose(measure.si_sdr(real, 3 * (real + 0.1 * noise)), 20, atol=1e-3)
  np.testing.assert_allclose(measure.log_mel(real, 2 * real, rate), 20 * np.log10(2), atol=1e-4)
  assert measure.log_mel(real, -real, rate) == 0  # it has no ear for phase


def test_generations_are_measured(capsys):
  bench.generation.run(tiny.model(), repeats=1)
  forward, *requests = capsys.readouterr().out.splitlines()
  assert "M parameters, 25 frames" in forward
  assert [row.split()[0] for row in requests] == ["1", "2", "4"]


def test_the_data_path_is_measured(capsys, monkeypatch):
  monkeypatch.setattr(bench.data, "consuming", lambda: 40.0)
  bench.data.run(mixes=1, seconds=2.0, segments=8, batches=2)
  rows = capsys.readouterr().out.splitlines()
  assert [row[:24].strip() for row in rows] == [
    "check, per core",
    "read records",
    "batches",
    "the demo model takes",
    "batches to demo model",
    "peak memory",
  ]
  assert all(float(row[24:34].replace(",", "")) > 0 for row in rows)


@pytest.fixture
def ceiling(monkeypatch):
  """Products small enough for a test."""
  monkeypatch.setattr(bench.ceiling, "SIDE", {"cpu": 64})


def test_a_training_step_is_measured_part_by_part(capsys, ceiling):
  dit = DiT(channels=8, width=32, depth=1, heads=2, text_width=16)
  bench.train.run(repeats=1, size=bench.train.Size("tiny", dit, 2, 9, 5))
  device, bfloat16, float32, model, head, *rows = capsys.readouterr().out.splitlines()
  assert device.startswith("cpu")
  assert (bfloat16.split()[0], float32.split()[0]) == ("bfloat16", "float32")
  assert "2 rows of 9 frames, float32, rematerialisation none" in model
  assert head.split() == ["s", "of", "step", "TFLOP/s", "of", "ceiling", "of", "sheet"]
  *parts, speed, memory = rows
  assert [row[2:22].strip() for row in parts] == [
    "batch to device",
    "conditions",
    "forward",
    "forward, backward",
    "optimiser, average",
    "whole step",
  ]
  assert "100%" in parts[-1]
  assert all(row.endswith(" -") for row in (parts[1], parts[-1]))  # a CPU has no data sheet
  assert "stems/s" in speed
  assert "predicted" in memory


def test_passes_are_measured_by_their_number_of_stems(capsys, ceiling):
  sample = {"steps": 2, "guidance": 3.0, "interval": (2, 2), "share_noise": True}
  dit = DiT(channels=4, width=32, depth=1, heads=2, text_width=16, dtype=jnp.bfloat16)
  vae = Oobleck(channels=4, multiples=(1, 1), strides=(64, 56), latent=4)
  size = bench.sampler.Size("tiny", dit, vae, 1.0, 5, sample)
  bench.sampler.run(repeats=1, size=size, counts=(1, 3))
  *_, model, _, one, three = capsys.readouterr().out.splitlines()
  assert "1 s a stem, 3 network rows" in model
  assert one.split()[0] == "1"
  assert one.split()[4] == "1.00"
  assert three.split()[0] == "3"
