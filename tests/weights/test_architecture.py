"""Modules from configs: known names only, and parameters that do not depend on lengths."""

import jax
import jax.numpy as jnp
import pytest
from flax import traverse_util

from configs import base
from stemphonic_jax.errors import UsageError
from stemphonic_jax.models.oobleck import Oobleck
from stemphonic_jax.models.spectral import Spectral
from stemphonic_jax.weights import architecture
from tests import tiny


def test_an_autoencoder_is_built_by_name():
  assert isinstance(architecture.build_vae(base.get_config().vae), Oobleck)
  assert isinstance(architecture.build_vae({"architecture": "spectral"}), Spectral)
  with pytest.raises(UsageError, match="got 'vq', expected 'oobleck' or 'spectral'"):
    architecture.build_vae({"architecture": "vq"})


def test_a_config_is_not_changed_by_building():
  config = {"architecture": "spectral", "latent": 8}
  architecture.build_vae(config)
  assert config == {"architecture": "spectral", "latent": 8}


def build_dit(dit=(), text=()):
  dit, text = tiny.CONFIG["dit"] | dict(dit), tiny.CONFIG["text"] | dict(text)
  return architecture.build_dit(dit, text, 8, 12.3)


def test_products_run_in_the_type_asked_for_and_parameters_stay_float32():
  dit = build_dit({"dtype": "bfloat16"})
  assert dit.dtype == dit.text_encoder.dtype == jnp.bfloat16
  shapes = architecture.dit_shapes(dit)
  assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {jnp.dtype("float32")}


def test_unknown_types_and_encoders_are_refused():
  with pytest.raises(UsageError, match=r"dit\.dtype: got 'float16', expected one of float32"):
    build_dit({"dtype": "float16"})
  with pytest.raises(UsageError, match=r"text\.encoder: got 'bert', expected 'learned' or 't5'"):
    build_dit(text={"encoder": "bert"})


def test_beats_are_counted_in_frames_by_heads_that_are_wide_enough():
  assert build_dit().frame_rate == build_dit({"beats": False}).frame_rate == 0
  assert build_dit({"beats": True, "width": 64, "heads": 2}).frame_rate == 12.3
  with pytest.raises(UsageError, match=r"dit\.beats: heads are 16 wide, expected 32 at least"):
    build_dit({"beats": True, "width": 64, "heads": 4})


def test_a_frozen_encoder_leaves_no_parameters_of_its_own():
  frozen = build_dit(text={"encoder": "t5"})
  shapes = architecture.dit_shapes(frozen)
  assert frozen.text_encoder is None
  assert not [path for path in traverse_util.flatten_dict(shapes) if "text_encoder" in path]


def test_the_paper_has_a_billion_parameters():
  config = base.get_config()
  dit = architecture.build_dit(config.dit, config.text, config.vae.latent, 12.3)
  shapes = architecture.dit_shapes(dit)
  assert 1.1e9 < architecture.parameter_count(shapes) < 1.2e9
