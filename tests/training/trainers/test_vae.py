"""Training an autoencoder against a discriminator: resumes to the bit, leaves only the former.

And its decoder or its envelope alone: all else stays to the bit.
"""

import functools
import json

import jax
import numpy as np
import pytest

from configs import base
from stemphonic_jax.errors import UsageError
from stemphonic_jax.systems import stemphonic
from stemphonic_jax.training.run.identity import lasting
from stemphonic_jax.training.trainers import rebuilding, vae
from stemphonic_jax.weights.architecture import build_vae
from stemphonic_jax.weights.autoencoder import open_vae
from stemphonic_jax.weights.tensors import materialize

THEIRS = {"adversarial", "feature", "discriminator"}  # metrics


pytestmark = pytest.mark.usefixtures("one_device", "equal_steps_compile_once")


def tiny(weight=0.1, start=2, steps=4):
  config = base.get_config("tiny")
  config.seconds = 1.0
  shape = {"architecture": "spectral", "size": 64, "stride": 16, "stacked": 4, "resolution": 8}
  config.vae = {**shape, "latent": 4, "width": 8, "depth": 1, "refinements": 2}
  config.train_vae.update(samples=1024, head_weight=1.0, spectral_weight=0.0, log_every=1)
  config.train_vae.update(steps=steps, save_every=2)
  config.train_vae.discriminator.update(sizes=(64,), weight=weight, start=start)
  return config


def metrics(folder):
  lines = (folder / "vae" / "metrics.jsonl").read_text().splitlines()
  return {line["step"]: line for line in map(json.loads, lines) if "loss" in line}


def params(config, folder):
  _, found = open_vae(build_vae(config.vae), folder / "vae.safetensors")
  return materialize(found)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
  """Workdirs of a run with a discriminator from step 2 on, and of one without any."""
  folders = {name: tmp_path_factory.mktemp(name) for name in ("with", "without")}
  vae.train(tiny(), folders["with"])
  vae.train(tiny(weight=0.0), folders["without"])
  return folders


def test_both_sides_resume_to_the_bit_and_only_the_autoencoder_is_left(runs, tmp_path):
  vae.train(tiny(steps=2), tmp_path)
  vae.train(tiny(), tmp_path)
  straight, broken = metrics(runs["with"]), metrics(tmp_path)
  for step in range(1, 5):
    assert straight[step]["loss"] == broken[step]["loss"]
    # Not there before it is on.
    assert THEIRS & straight[step].keys() == (THEIRS if step > 2 else set())
  jax.tree.map(
    np.testing.assert_array_equal, params(tiny(), runs["with"]), params(tiny(), tmp_path)
  )


def test_before_it_is_on_the_autoencoder_learns_as_without_one(runs):
  with_one, without = metrics(runs["with"]), metrics(runs["without"])
  for step in (1, 2):
    assert with_one[step]["loss"] == pytest.approx(without[step]["loss"], rel=1e-5)
    assert with_one[step]["head"] == pytest.approx(without[step]["head"], rel=1e-5)


def test_the_held_out_loss_is_of_the_reconstruction_alone(runs):
  lines = (runs["with"] / "vae" / "metrics.jsonl").read_text().splitlines()
  held_out = [line for line in map(json.loads, lines) if "held_out_loss" in line]
  assert [line["step"] for line in held_out] == [2, 4]
  for line in held_out:
    expected = line["held_out_head"] + 1e-4 * line["held_out_kl"]
    assert line["held_out_loss"] == pytest.approx(expected, rel=1e-4)


def test_without_weight_there_is_no_discriminator(runs):
  saved = (runs["without"] / "vae" / "checkpoints" / "4" / "state" / "_METADATA").read_text()
  assert "encoder" in saved
  assert "discriminator" not in saved
  assert not THEIRS & metrics(runs["without"])[4].keys()


def test_a_run_from_before_there_was_a_discriminator_is_still_this_one():
  off, on = lasting(tiny(weight=0.0)), lasting(tiny())
  assert {name for name in on if name not in off} == {
    f"train_vae.discriminator.{name}" for name in tiny().train_vae.discriminator
  }


def only(part, start, **options):
  """A config that trains a part alone of an autoencoder."""
  config = tiny(**options)
  config.init_from = str(start)
  config.train_vae.only = part
  return config


@pytest.mark.parametrize("weight", [0.0, 0.1])
def test_a_fine_tuned_decoder_leaves_latents_as_they_are_to_the_bit(runs, tmp_path, weight):
  config = only("decoder", runs["without"], weight=weight)
  vae.train(config, tmp_path)
  before, after = params(config, runs["without"]), params(config, tmp_path)
  jax.tree.map(np.testing.assert_array_equal, before["encoder"], after["encoder"])
  moved = jax.tree.map(lambda a, b: not np.array_equal(a, b), before["decoder"], after["decoder"])
  assert all(jax.tree.leaves(moved))
  saved = (tmp_path / "vae" / "checkpoints" / "4" / "state" / "_METADATA").read_text()
  assert ("discriminator" in saved) == bool(weight)


def test_fine_tuning_a_decoder_resumes_to_the_bit_and_ends(runs, tmp_path):
  vae.train(only("decoder", runs["without"], weight=0.0), tmp_path / "straight")
  for steps in (2, 4, 4):
    vae.train(only("decoder", runs["without"], weight=0.0, steps=steps), tmp_path / "broken")
  assert metrics(tmp_path / "broken").keys() == {1, 2, 3, 4}
  files = [tmp_path / name / "vae.safetensors" for name in ("straight", "broken")]
  assert files[0].read_bytes() == files[1].read_bytes()


def test_fine_tuning_a_decoder_begins_with_it(runs, tmp_path):
  config = only("decoder", runs["without"], weight=0.0, steps=1)
  config.train_vae.learning_rate = 0.0
  vae.train(config, tmp_path)
  both = params(config, runs["without"]), params(config, tmp_path)
  jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-6), *both)


@pytest.mark.parametrize(("whole_mixes", "kinds"), [(False, ("stem",)), (True, ("mix",))])
def test_a_decoder_is_fine_tuned_on_what_it_decodes_in_use(
  runs, tmp_path, monkeypatch, whole_mixes, kinds
):
  met = set()

  def crops(*args, **options):
    met.add(options["kinds"])
    return real(*args, **options)

  real = rebuilding.crops
  monkeypatch.setattr(rebuilding, "crops", crops)
  config = only("decoder", runs["without"], weight=0.0, steps=1)
  config.data.whole_mixes = whole_mixes
  vae.train(config, tmp_path)
  assert met == {kinds}


def test_an_envelope_is_made_and_trained_alone_and_resumes_to_the_bit(runs, tmp_path, caplog):
  start = runs["without"]
  vae.train(only("envelope", start, weight=0.0), tmp_path / "straight")
  for steps in (2, 4):
    vae.train(only("envelope", start, weight=0.0, steps=steps), tmp_path / "broken")
  files = [tmp_path / name / "vae.safetensors" for name in ("straight", "broken")]
  assert files[0].read_bytes() == files[1].read_bytes()
  before, after = params(tiny(), start), params(tiny(), tmp_path / "straight")
  envelope = after.pop("envelope")
  jax.tree.map(np.testing.assert_array_equal, before, after)
  assert np.abs(envelope["out"]["kernel"]).max() > 0
  assert "envelope" in metrics(tmp_path / "straight")[4]

  config = only("decoder", tmp_path / "straight", weight=0.0, steps=1)
  with caplog.at_level("WARNING", "absl"):
    vae.train(config, tmp_path / "then")
  assert "has an envelope, of the decoder as it was" in caplog.text
  assert params(config, tmp_path / "then").keys() == before.keys()


def test_an_autoencoder_is_taken_with_its_envelope(runs, tmp_path):
  vae.train(only("envelope", runs["without"], weight=0.0, steps=1), tmp_path / "with")
  config = tiny()
  config.init_from = str(tmp_path / "with")
  (tmp_path / "next").mkdir()  # as main does
  vae.train(config, tmp_path / "next")
  files = [tmp_path / name / "vae.safetensors" for name in ("with", "next")]
  assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize("part", ["decoder", "envelope"])
def test_without_an_autoencoder_no_part_of_it_is_trained(tmp_path, part):
  config = only(part, "", weight=0.0)
  with pytest.raises(UsageError, match=rf"train_vae.only={part}: name .* --config.init_from=DIR"):
    vae.train(config, tmp_path)


def test_what_no_part_or_has_no_envelope_is_known_before_the_work():
  for part, change, message in (
    ("head", {}, "'head', expected nothing, decoder or envelope"),
    ("envelope", {"train_vae.discriminator.weight": 0.1}, "without an opponent"),
    ("envelope", {"vae.stride": 6, "vae.size": 24}, "vae.stride is 6, expected a multiple of 4"),
    ("envelope", {"vae": base.get_config("").vae}, "of a spectral autoencoder, this one is oobl"),
  ):
    config = only(part, "", weight=0.0)
    config.update_from_flattened_dict(change) if "vae" not in change else config.update(change)
    with pytest.raises(UsageError, match=message):
      stemphonic.check(config)


def test_no_steps_are_said(tmp_path, caplog):
  with caplog.at_level("WARNING", "absl"):
    vae.train(tiny(steps=0), tmp_path)
  assert "no steps are asked for, so nothing is trained" in caplog.text


def test_crops_shorter_than_a_window_are_refused(tmp_path):
  config = tiny()
  config.train_vae.discriminator.sizes = (2048,)
  with pytest.raises(UsageError, match="2048 samples does not fit a crop of 1024"):
    vae.train(config, tmp_path)
