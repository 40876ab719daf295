import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stemphonic_jax.models import layers, spectral
from stemphonic_jax.models.principal import principal_components, principal_start
from stemphonic_jax.models.spectral import FLOOR, Spectral, band_matrix
from stemphonic_jax.models.stft import follow_peaks, griffin_lim, istft, stft
from stemphonic_jax.models.vae import decode_chunked, encode_chunked
from stemphonic_jax.weights.architecture import init_vae

RATE = 44_100
TINY = Spectral(
  size=64, stride=16, stacked=4, resolution=8, latent=4, width=8, depth=2, refinements=3
)


apply = jax.jit(TINY.apply, static_argnames="method")


def chord(frequencies, samples, gains=(0.5, 0.2)):
  """Decaying stereo tones, panned by `gains`, struck every third of a second."""
  time = np.arange(samples) / RATE
  tones = sum(np.sin(2 * np.pi * f * time) for f in frequencies) / len(frequencies)
  tones = tones * np.exp(-12 * (time % 0.33))
  return (tones[None, :, None] * np.array(gains)).astype(np.float32)


def trained_like(model, audio):
  """A model at its closed-form start, with blocks that do something."""

  def start(audio):
    return principal_start(model, model.init(jax.random.key(0), audio)["params"], audio)

  rng = np.random.default_rng(1)
  moved = jax.tree.map(
    lambda x: jnp.asarray(x + 0.02 * rng.standard_normal(x.shape, np.float32)),
    jax.device_get(jax.jit(start)(audio)),
  )
  return {"params": moved}


@pytest.fixture(scope="module")
def tiny():
  audio = 0.1 * jax.random.normal(jax.random.key(5), (2, 70 * TINY.hop, 2))
  return trained_like(TINY, audio), audio


@pytest.mark.parametrize(("size", "stride"), [(64, 16), (3584, 896), (48, 8)])
def test_istft_inverts_stft(size, stride):
  signal = jax.random.normal(jax.random.key(0), (2, 3, 20 * stride))
  np.testing.assert_allclose(istft(stft(signal, size, stride), size, stride), signal, atol=2e-4)


def test_stft_is_the_definition():
  size, stride = 16, 4
  signal = np.random.default_rng(0).standard_normal(10 * stride).astype(np.float32)
  padded = np.pad(signal, (size - stride) // 2)
  window = np.sin(np.pi * np.arange(size) / size) ** 2
  expected = [np.fft.rfft(padded[f * stride :][:size] * window) for f in range(10)]
  np.testing.assert_allclose(stft(jnp.asarray(signal), size, stride), expected, atol=1e-5)


def test_griffin_lim_approaches_a_consistent_spectrum():
  size, stride = 64, 16
  target = jnp.abs(stft(jax.random.normal(jax.random.key(0), (40 * stride,)), size, stride))
  start = jnp.exp(2j * jnp.pi * jax.random.uniform(jax.random.key(1), target.shape))

  def error(iterations):
    factor = griffin_lim(target, start, iterations, size, stride)
    reached = jnp.abs(stft(istft(target * factor, size, stride), size, stride))
    return jnp.linalg.norm(reached - target) / jnp.linalg.norm(target)

  assert error(16) < 0.7 * error(4) < 0.7 * error(0)


def test_phases_that_follow_peaks_are_those_of_the_tones():
  """Of tones between bins: they turn from frame to frame as those of the true spectrum do."""
  size, stride = 64, 16
  time = np.arange(60 * stride)
  tones = np.cos(2 * np.pi * 8.3 / size * time) + 0.5 * np.cos(2 * np.pi * 20.6 / size * time + 1)
  true = stft(jnp.asarray(tones, jnp.float32), size, stride)[5:-5]  # whole windows
  followed = follow_peaks(jnp.abs(true), jnp.zeros(true.shape[-1]), size, stride)
  for bins in (slice(7, 11), slice(19, 23)):  # all that the tone fills
    apart = (followed * true.conj() / jnp.abs(true))[:, bins]
    step = jnp.angle(apart[1:] * apart[:-1].conj())
    assert jnp.abs(step).max() < 0.05
    assert jnp.abs(jnp.angle(apart * apart[:, :1].conj())).max() < 0.05


def test_held_tones_flutter_less_and_noise_stays_noise(monkeypatch):
  """In what is decoded, beside what Griffin-Lim makes of the pattern alone.

  Griffin-Lim enlarges the last bit of rounding, so that one chord flutters by a quarter more or
  less with another release of XLA; the mean of three does not.
  """
  model = Spectral(latent=32, width=40, depth=1)
  rng, time = np.random.default_rng(0), np.arange(32 * model.hop) / RATE
  tones = 2 * np.pi * np.multiply.outer([1047, 1319.2, 1567.7, 2093.5], time)
  chords = [np.sin(tones + rng.uniform(0, 2 * np.pi, (4, 1))).sum(0) / 8 for _ in range(3)]
  noise = [0.1 * rng.standard_normal(len(time))]
  inside = slice(8 * model.hop, -8 * model.hop)
  start = jax.jit(functools.partial(principal_start, model))
  encode = jax.jit(functools.partial(model.apply, method="encode"))

  def decoder(sounds):
    """Decodes these sounds by an autoencoder that is computed from them."""
    audio = jnp.asarray(np.stack(sounds)[..., None].repeat(2, -1), jnp.float32)
    params = start(init_vae(model, jax.random.key(0)), audio)
    latents = encode({"params": params}, audio).mean

    def decode(latents):
      return model.apply({"params": params}, latents, method="decode")[:, inside, 0]

    return lambda: jax.jit(lambda latents: decode(latents))(latents)  # anew, as TONAL has changed

  def flutter(sound):
    """Deviation of the level where tones are, in dB."""
    level = jnp.abs(stft(sound, model.size, model.stride))[8:-8]
    level = 20 * jnp.log10(level[:, level.mean(0) > 0.5 * level.mean(0).max()])
    return level.std(0).mean()

  chords, noise = decoder(chords), decoder(noise)
  (hiss,) = noise()
  assert jnp.mean((hiss / hiss.std()) ** 4) < 4  # kurtosis
  followed = np.mean([flutter(chord) for chord in chords()])
  monkeypatch.setattr(spectral, "TONAL", 1)  # nothing above 890 Hz is followed
  assert followed < 0.6 * np.mean([flutter(chord) for chord in chords()])  # 0.41 was measured


def test_bands_share_every_bin_and_start_as_single_bins():
  bands = band_matrix(1793, 72)
  np.testing.assert_allclose(bands.sum(1), 1, rtol=1e-6)
  assert (bands[:72].argmax(1) == np.arange(72)).all()
  assert bands[:72].max(1).min() > 0.8
  assert (bands > 0).sum(0).max() < 1793 / 72 * 2


@pytest.mark.parametrize("samples", [1, 63, 64, 65, 640])
def test_any_length_gives_whole_frames(tiny, samples):
  variables, _ = tiny

  def coded(audio):
    posterior = TINY.apply(variables, audio, method="encode")
    return posterior, TINY.apply(variables, posterior.mean, method="decode")

  posterior, audio = jax.eval_shape(coded, jnp.zeros((2, samples, 2)))
  frames = -(-samples // 64)
  assert posterior.mean.shape == posterior.scale.shape == (2, frames, 4)
  assert audio.shape == (2, frames * 64, 2)


def test_defaults_have_the_paper_s_hop():
  assert Spectral().hop == 3584


def test_levels_that_do_not_tile_a_frame_are_refused():
  with pytest.raises(ValueError, match="stacked 6"):
    Spectral(stacked=6).init(jax.random.key(0), jnp.zeros((1, 3584, 2)))


def test_silence_has_level_zero_and_a_full_scale_sine_that_of_magnitude_one(tiny):
  variables, _ = tiny
  time = np.arange(64 * 8) / 64
  sine = np.stack([np.sin(2 * np.pi * 4 * time), np.zeros_like(time)], -1)[None]
  levels = apply(variables, jnp.asarray(sine, jnp.float32), method="levels")
  levels = levels.reshape(8, 4, 2, -1)
  np.testing.assert_allclose(levels[4, :, 0].max(-1), np.log1p(1 / FLOOR), rtol=1e-3)
  np.testing.assert_allclose(levels[:, :, 1], 0, atol=1e-7)


def test_no_gradient_reaches_further_than_the_halo(tiny):
  variables, audio = tiny
  frame = TINY.halo + 1
  audio = audio[:1, : (2 * TINY.halo + 3) * TINY.hop]
  window = slice(frame * TINY.hop, (frame + 1) * TINY.hop)

  def encoded(audio):
    return jnp.sum(TINY.apply(variables, audio, method="encode").mean[:, frame])

  def decoded(latents):
    return jnp.sum(TINY.apply(variables, latents, method="decode")[:, window] ** 2)

  samples = jnp.abs(jax.jit(jax.grad(encoded))(audio)).reshape(2 * TINY.halo + 3, -1).max(-1)
  latents = apply(variables, audio, method="encode").mean
  frames = jnp.abs(jax.jit(jax.grad(decoded))(latents))[0].max(-1)
  assert samples[frame] > 0
  assert frames[frame] > 0
  assert samples[0] == samples[-1] == frames[0] == frames[-1] == 0


def test_a_latent_frame_is_heard_in_all_that_follow_it_and_no_further_ahead_than_the_halo(tiny):
  variables, audio = tiny
  frame = TINY.halo + 1
  audio = audio[:1, : (2 * TINY.halo + 3) * TINY.hop]
  decode = jax.jit(lambda z: TINY.apply(variables, z, method="decode")[0].reshape(len(z[0]), -1))
  latents = apply(variables, audio, method="encode").mean
  moved = jnp.abs(decode(latents.at[:, frame].add(1.0)) - decode(latents)).max(-1)
  assert moved[0] == 0
  assert moved[frame] > 0
  assert moved[-1] > 0  # tones go on from where it has turned them to


def test_chunked_is_whole(tiny, monkeypatch):
  """In float64, products too: in float32, windows round otherwise than the whole."""
  monkeypatch.setattr(layers, "product", lambda x, kernel, dtype: x @ kernel)
  with jax.enable_x64(True):
    check_chunked(*jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), tiny))


def check_chunked(variables, audio):
  window = {"hop": TINY.hop, "window": 2 * TINY.halo + 5}
  encode = jax.jit(lambda audio: TINY.apply(variables, audio, method="encode"))
  whole, parts = encode(audio), encode_chunked(encode, audio, halo=TINY.halo, **window)
  np.testing.assert_allclose(parts.mean, whole.mean, atol=1e-5)
  np.testing.assert_allclose(parts.scale, whole.scale, atol=1e-5)

  decode = jax.jit(lambda z: TINY.apply(variables, z, method="decode"))
  z = whole.mean
  whole, parts = decode(z), decode_chunked(decode, z, reach=TINY.reach, **window)
  np.testing.assert_allclose(parts, whole, atol=1e-5)


@pytest.fixture(scope="module")
def shaped(tiny):
  """The tiny model with an envelope, as it begins."""
  model = TINY.clone(has_envelope=True)
  return model, {**init_vae(model, jax.random.key(0)), **tiny[0]["params"]}


def louder(params, gain):
  """Parameters with an envelope that is the same everywhere."""
  out = params["envelope"]["out"]
  moved = {**out, "bias": out["bias"] + gain}
  return {"params": {**params, "envelope": {**params["envelope"], "out": moved}}}


def test_an_envelope_begins_as_nothing_and_then_makes_both_channels_louder_or_softer(tiny, shaped):
  variables, audio = tiny
  model, params = shaped
  latents = apply(variables, audio[:, : 10 * TINY.hop], method="encode").mean
  decode = jax.jit(lambda variables: model.apply(variables, latents, method="decode"))
  plain = apply(variables, latents, method="decode")
  check = functools.partial(np.testing.assert_allclose, atol=1e-5 * jnp.abs(plain).max())
  check(decode(louder(params, 0.0)), plain)
  check(decode(louder(params, -1.0)), plain * np.exp(-1))
  check(decode(louder(params, -100.0)), plain * np.exp(-spectral.SOFTER))
  check(decode(louder(params, 100.0)), plain * np.exp(spectral.LOUDER), rtol=1e-4)


def test_what_an_envelope_learns_is_how_much_louder_a_stem_is_than_it_comes_out(tiny, shaped):
  variables, audio = tiny
  model, params = shaped
  latents = apply(variables, audio, method="encode").mean
  real = np.exp(0.5) * apply(variables, latents, method="decode")
  loss = jax.jit(lambda variables: model.apply(variables, latents, real, method="envelope_loss"))
  found = [loss(louder(params, gain)) for gain in (0.0, 0.25, 0.5, 0.75)]
  np.testing.assert_allclose(found, [0.5, 0.25, 0.0, 0.25], atol=0.01)


def test_an_envelope_hears_no_further_ahead_than_the_halo():
  """Even where the levels hear less far: of one block, without iterations."""
  model = TINY.clone(has_envelope=True, depth=1, refinements=0)
  audio = 0.1 * jax.random.normal(jax.random.key(5), (1, 20 * model.hop, 2))
  params = init_vae(model, jax.random.key(0))
  rng = np.random.default_rng(2)
  moved = jax.tree.map(lambda x: x + 0.1 * rng.standard_normal(x.shape, np.float32), params)
  frame = model.halo + 1
  audio = audio[:1, : (2 * model.halo + 3) * model.hop]
  latents = model.apply({"params": moved}, audio, method="encode").mean
  decode = jax.jit(lambda z: model.apply({"params": moved}, z, method="decode")[0])
  changed = jnp.abs(decode(latents.at[:, frame].add(1.0)) - decode(latents))
  changed = changed.reshape(latents.shape[1], -1).max(-1)
  assert changed[0] == 0
  assert changed[1] > 0  # so far ahead it hears


def test_principal_components_are_those_of_an_svd():
  rng = np.random.default_rng(0)
  x = (rng.standard_normal((400, 30)) * 0.7 ** np.arange(30)).astype(np.float32)
  x = x @ np.linalg.qr(rng.standard_normal((30, 30)))[0].astype(np.float32) + 3
  mean, components, deviation = principal_components(jnp.asarray(x), 5)
  _, singular, directions = np.linalg.svd(x - x.mean(0))
  np.testing.assert_allclose(mean, x.mean(0), rtol=1e-4)
  np.testing.assert_allclose(deviation, singular[:5] / 20, rtol=1e-3)
  np.testing.assert_allclose(np.abs(np.sum(components.T * directions[:5], -1)), 1, atol=1e-3)


def test_the_closed_form_start_already_reconstructs():
  """Latents have variance one, and levels come back far better than their mean."""
  model = Spectral(latent=16, width=24, depth=1, refinements=4)
  audio = jnp.concatenate(
    [chord([110 * 2 ** (n / 12), 440 * 2 ** (n / 5)], 30 * model.hop) for n in range(6)]
  )
  start = jax.jit(functools.partial(principal_start, model))
  params = start(init_vae(model, jax.random.key(0)), audio)
  assert not any(leaf.weak_type for leaf in jax.tree.leaves(params))  # else a step compiles twice
  variables, apply = {"params": params}, jax.jit(model.apply, static_argnames="method")
  posterior = apply(variables, audio, method="encode")
  np.testing.assert_allclose(jnp.std(posterior.mean, (0, 1)), 1, rtol=0.05)
  levels = apply(variables, audio, method="levels")
  error = apply(variables, posterior.mean, audio, method="head_loss")
  assert error < 0.25 * jnp.mean(jnp.abs(levels - levels.mean((0, 1))))

  decoded = apply(variables, posterior.mean, method="decode")
  rms = jnp.sqrt(jnp.mean(jnp.square(decoded), (0, 1)))
  np.testing.assert_allclose(rms[0] / rms[1], 0.5 / 0.2, rtol=0.15)  # the panning
  np.testing.assert_allclose(rms, jnp.sqrt(jnp.mean(jnp.square(audio), (0, 1))), rtol=0.3)
