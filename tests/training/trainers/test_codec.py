"""Training a codec: codebooks follow what is encoded, and resume to the bit like the networks."""

import numpy as np
import pytest

from configs import base
from stemphonic_jax.training.trainers import codecs
from stemphonic_jax.weights.tensors import open_tensors

pytestmark = pytest.mark.usefixtures("one_device", "equal_steps_compile_once")

CODEC = dict(filters=2, ratios=(8,), latent=4, levels=2, entries=8, layers=1)


def tiny(steps):
  config = base.get_config("tiny")
  config.sample_rate, config.seconds = 8_000, 1.0
  config.train_vae.update(samples=256, steps=steps, save_every=2, log_every=1, spectral_weight=0.0)
  config.train_vae.update(commitment_weight=1.0, waveform_weight=0.1)
  config.train_vae.discriminator.update(filters=2, sizes=(64,), weight=1.0)
  config.codec = {"all": {"architecture": "encodec", "path": "", **CODEC}}
  return config


def train(config, workdir):
  codecs.train(config, workdir, lambda name, mix: [stem.audio for stem in mix.stems.values()])


def codec_tensors(workdir):
  tensors = open_tensors(workdir / "codecs" / "all" / "codec.safetensors")
  return {path: np.asarray(tensor.read()) for path, tensor in tensors.items()}


def test_networks_and_codebooks_resume_to_the_bit(tmp_path):
  found = {}
  for name, steps in {"broken": 1, "straight": 2}.items():
    train(tiny(steps), tmp_path / name)
    found[name] = codec_tensors(tmp_path / name)
  assert found["broken"].keys() == found["straight"].keys()  # no discriminator among them
  for path, tensor in found["straight"].items():
    assert not np.array_equal(tensor, found["broken"][path]), path  # each has learned
  train(tiny(2), tmp_path / "broken")
  for file in ("config.json", "codec.safetensors"):
    written = [(tmp_path / name / "codecs" / "all" / file).read_bytes() for name in found]
    assert written[0] == written[1]
