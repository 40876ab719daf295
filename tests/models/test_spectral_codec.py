import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stemphonic_jax.models import quantiser
from stemphonic_jax.models.spectral_codec import SpectralCodec, fit

TINY = SpectralCodec(
  size=64, stride=16, resolution=8, components=6, levels=3, entries=16, refinements=4
)


def tones(rows=4, frames=60):
  """Tones of a few pitches with silence after each, and noise so that no two frames are equal."""
  rng, time = np.random.default_rng(0), np.arange(frames * TINY.hop)
  pitch = rng.choice([0.04, 0.06, 0.09, 0.13], (rows, frames // 6)).repeat(6 * TINY.hop, 1)
  envelope = np.exp(-(time % (6 * TINY.hop)) / 20)
  audio = 0.5 * np.sin(2 * np.pi * np.cumsum(pitch, 1)) * envelope
  return (audio + 1e-4 * rng.standard_normal(audio.shape)).astype(np.float32)


@pytest.fixture(scope="module")
def fitted():
  audio = jnp.asarray(tones())
  variables = {"params": fit(TINY, jax.random.key(0), audio)}
  return (
    audio,
    variables,
    jax.jit(functools.partial(TINY.apply, variables), static_argnames="method"),
  )


def test_a_fitted_codec_gives_back_what_it_was_fitted_to(fitted):
  audio, variables, apply = fitted
  codes = apply(audio, method="encode")
  assert codes.shape == (4, 3, 60)
  assert len(np.unique(codes[:, 0])) > 8, "most entries are in use"
  spectra, back = apply(audio, method="spectra"), apply(codes, method="decode")
  assert back.shape == audio.shape
  far = jnp.mean(jnp.abs(spectra - spectra.mean((0, 1))))
  assert jnp.mean(jnp.abs(apply(back, method="spectra") - spectra)) < 0.5 * far
  np.testing.assert_allclose(jnp.std(back), jnp.std(audio), rtol=0.3)
  made = jax.eval_shape(TINY.init, jax.random.key(0), audio[:1])
  assert jax.tree.map(jnp.shape, variables) == jax.tree.map(jnp.shape, made)


def test_every_level_brings_the_spectra_nearer(fitted):
  audio, variables, apply = fitted
  p = variables["params"]
  places = (apply(audio, method="spectra") - p["mean"]) @ p["directions"]
  codes = apply(audio, method="encode")
  errors = [
    float(jnp.mean(jnp.square(quantiser.decode(p["codebooks"][:k], codes[:, :k]) - places)))
    for k in (1, 2, 3)
  ]
  assert errors[0] > errors[1] > errors[2]


def test_windows_have_the_codes_of_the_whole_and_any_length_is_whole_frames(fitted):
  audio, _, apply = fitted
  audio = audio[:, : 40 * TINY.hop + 5]
  codes = apply(audio, method="encode")
  assert codes.shape == (4, 3, 41)
  np.testing.assert_array_equal(TINY.encode_chunked(apply, audio, 12), codes)
  whole = apply(codes, method="decode")
  np.testing.assert_array_equal(TINY.decode_chunked(apply, codes, 12), whole)
