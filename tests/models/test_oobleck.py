import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stemphonic_jax.models.oobleck import ConvTranspose, Oobleck, sin_squared
from stemphonic_jax.models.vae import decode_chunked, encode_chunked

TINY = {"channels": 4, "multiples": (1, 2, 2), "strides": (2, 3, 7), "latent": 4}


def random_like(variables, scale=0.2):
  """Weights that let everything through, unlike the initial ones (residual branches are zero)."""
  rng = np.random.default_rng(1)  # numpy's, for which nothing compiles
  return jax.tree.map(
    lambda leaf: jnp.asarray(leaf + scale * rng.standard_normal(leaf.shape, np.float32)),
    jax.device_get(variables),
  )


@pytest.fixture(scope="module")
def tiny():
  model = Oobleck(**TINY)
  return model, random_like(jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 42, 2))))


@pytest.mark.parametrize("size", [1.0, 100.0, 1e4])
def test_sin_squared_and_its_gradients(size):
  x = jax.random.uniform(jax.random.key(0), (20_000,), minval=-size, maxval=size)
  exact = np.asarray(x, np.float64)
  np.testing.assert_allclose(sin_squared(x), np.sin(exact) ** 2, atol=5e-7)
  first = jax.vmap(jax.grad(sin_squared))
  np.testing.assert_allclose(first(x), np.sin(2 * exact), atol=2e-6 + 1e-7 * size)
  second = jax.vmap(jax.grad(jax.grad(sin_squared)))
  np.testing.assert_allclose(second(x), 2 * np.cos(2 * exact), atol=4e-6 + 4e-7 * size)


@pytest.mark.parametrize("samples", [1, 41, 42, 43, 420])
def test_any_length_gives_whole_frames(tiny, samples):
  model, variables = tiny
  shapes = jax.eval_shape(
    lambda audio: model.apply(variables, audio, method="encode"), jnp.zeros((2, samples, 2))
  )
  frames = -(-samples // 42)
  assert shapes.mean.shape == shapes.scale.shape == (2, frames, 4)
  audio = jax.eval_shape(lambda z: model.apply(variables, z, method="decode"), shapes.mean)
  assert audio.shape == (2, frames * 42, 2)


def test_the_default_is_length_exact_at_3584():
  model = Oobleck(channels=2)
  assert model.hop == 3584
  shape = jax.eval_shape(
    lambda audio: model.init_with_output(jax.random.key(0), audio)[0], jnp.zeros((1, 7169, 2))
  )
  assert shape.shape == (1, 3 * 3584, 2)


@pytest.mark.parametrize("stride", [2, 3, 4, 7])
def test_polyphase_is_the_transposed_convolution(stride):
  """Against the definition: x[q] adds x[q]·kernel at q·stride − padding."""
  x = jax.random.normal(jax.random.key(1), (1, 5, 3))
  layer = ConvTranspose(2, stride)
  variables = layer.init(jax.random.key(0), x)
  kernel, padding = np.asarray(variables["params"]["kernel"]), -(-stride // 2)
  expected = np.zeros((6 * stride, 2))
  for q in range(5):
    expected[q * stride : (q + 2) * stride] += x[0, q] @ kernel
  np.testing.assert_allclose(
    layer.apply(variables, x)[0], expected[padding : padding + 5 * stride], rtol=1e-5, atol=1e-6
  )


@pytest.mark.parametrize("strides", [(2, 3, 7), (4, 2, 2)])
def test_nothing_reaches_further_than_the_halo(strides):
  """And the halo is tight: at its edge something does reach."""
  model = Oobleck(**TINY | {"strides": strides})
  frames = 2 * model.halo + 3
  audio = jnp.zeros((1, frames * model.hop, 2))
  variables = random_like(jax.jit(model.init)(jax.random.key(0), audio))
  middle = slice((model.halo + 1) * model.hop, (model.halo + 2) * model.hop)

  def encoded(audio):
    return jnp.sum(model.apply(variables, audio, method="encode").mean[:, model.halo + 1])

  def decoded(latents):
    return jnp.sum(model.apply(variables, latents, method="decode")[:, middle] ** 2)

  noise = jax.random.normal(jax.random.key(2), audio.shape)
  to_samples = jnp.abs(jax.jit(jax.grad(encoded))(noise)).reshape(frames, -1).max(-1) > 0
  latents = jax.jit(lambda audio: model.apply(variables, audio, method="encode").mean)(noise)
  to_latents = jnp.abs(jax.jit(jax.grad(decoded))(latents))[0].max(-1) > 0
  assert not to_samples[0]
  assert not to_samples[-1]
  assert not to_latents[0]
  assert not to_latents[-1]
  assert to_samples[1] or to_samples[-2] or to_latents[1] or to_latents[-2]


def test_chunked_is_whole(tiny):
  model, variables = tiny
  window = {"hop": model.hop, "window": 2 * model.halo + 5}
  audio = jax.random.normal(jax.random.key(3), (2, 70 * model.hop - 5, 2))

  encode = jax.jit(lambda audio: model.apply(variables, audio, method="encode"))
  whole, parts = encode(audio), encode_chunked(encode, audio, halo=model.halo, **window)
  np.testing.assert_allclose(parts.mean, whole.mean, atol=1e-5 * jnp.abs(whole.mean).max())
  np.testing.assert_allclose(parts.scale, whole.scale, atol=1e-5 * jnp.abs(whole.scale).max())

  decode = jax.jit(lambda z: model.apply(variables, z, method="decode"))
  z = parts.mean
  whole, parts = decode(z), decode_chunked(decode, z, reach=model.reach, **window)
  np.testing.assert_allclose(parts, whole, atol=1e-5 * jnp.abs(whole).max())


def test_signals_keep_their_size_at_the_start(tiny):
  """Fresh weights neither blow up nor swallow the signal on its way through five stages."""
  model = Oobleck(channels=16, multiples=(1, 2, 4, 4, 4), strides=(2, 4, 4, 4, 7))
  audio = 0.1 * jax.random.normal(jax.random.key(0), (1, 8 * model.hop, 2))
  variables = jax.jit(model.init)(jax.random.key(1), audio)
  apply = jax.jit(model.apply, static_argnames="method")
  posterior = apply(variables, audio, method="encode")
  decoded = apply(variables, posterior.sample(jax.random.key(2)), method="decode")
  assert 0.01 < jnp.std(posterior.mean) < 10
  assert 0.01 < jnp.std(decoded) < 10
