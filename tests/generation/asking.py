"""The tiny model asked for songs, and what is compared of them."""

import numpy as np

from tests import tiny

PROMPT = "Relaxing country rock"
ALL = ("drums", "basses", "keys", "vocals")


def generate(*stems, prompt=PROMPT, **options):
  return tiny.pipeline().generate(prompt, stems, **options)


def assert_same(a, b, names):
  """The stems `names` of two songs are equal to the bit, as latents and as audio."""
  for name in names:
    np.testing.assert_array_equal(a.latents[name], b.latents[name])
    np.testing.assert_array_equal(a.stems[name], b.stems[name])


def differs(a, b, name):
  return not np.allclose(a.latents[name], b.latents[name], atol=1e-3)


def prompts(calls):
  return [tiny.pipeline().bundle.tokenizer.decode(row.text) for _, row in calls]


def encoded(audio):
  """What the network should hear of a sub-mix: the mean of its posterior, standardised."""
  pipe = tiny.pipeline()
  padded = np.pad(audio, ((0, -len(audio) % 3584), (0, 0)))
  mean = np.asarray(pipe._encode(pipe._vae_params, padded[None]).mean[0])
  return pipe.bundle.statistics.standardize(mean)


def tone(hertz=220.0, seconds=2.0):
  wave = 0.3 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * tiny.RATE)) / tiny.RATE)
  return np.stack([wave, 0.5 * wave], 1).astype(np.float32)
