"""Tempo of what has a beat, and none of what has not."""

import numpy as np
import pytest

from stemphonic_jax.data.preparing import tempo

RATE = 22_050


@pytest.mark.parametrize("bpm", [90.0, 120.0])
def test_clicks_have_the_tempo_they_are_played_at(bpm):
  audio = np.zeros((20 * RATE, 2), np.float32)
  decay = np.exp(-np.arange(400) / 60.0)
  for beat in np.arange(0, 19.5, 60 / bpm):
    start = round(beat * RATE)
    audio[start : start + 400] += (decay * np.sin(np.arange(400)))[:, None]
  assert tempo.estimate(audio, RATE) == pytest.approx(bpm, rel=0.03)


def test_silence_has_none():
  assert tempo.estimate(np.zeros((4 * RATE, 2), np.float32), RATE) is None
