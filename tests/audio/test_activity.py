import numpy as np
import pytest

from stemphonic_jax.audio.activity import (
  active_ranges,
  frame_activity,
  lanes_from_ranges,
  parse_ranges,
)
from stemphonic_jax.errors import UsageError


def steps(levels: list[float], hop: int) -> np.ndarray:
  """One constant level (dBFS) per frame."""
  return np.repeat(10 ** (np.array(levels) / 20), hop)[:, None].repeat(2, 1).astype(np.float32)


def test_activity_by_hand():
  audio = steps([-70, -70, -20, -59.9, -60.1, -120, -40, -70], hop=100)
  lane = frame_activity(audio, 100, 100, min_gap=1)
  assert lane.dtype == np.int8
  assert lane.tolist() == [0, 0, 1, 1, 0, 0, 1, 0]
  assert frame_activity(audio, 100, 100, -65.0, 1).tolist() == [0, 0, 1, 1, 1, 0, 1, 0]


def test_only_gaps_between_sounds_that_are_too_short_are_closed():
  lane = [0, 1, 0, 1, 0, 0, 1, 0, 0, 0, 1, 0, 0]
  audio = steps([-20 if on else -100 for on in lane], hop=10)

  def found(min_gap):
    return frame_activity(audio, 10, rate=20, min_gap=min_gap).tolist()

  assert found(0.5) == lane
  assert found(1.5) == [0, 1, 1, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0]
  assert found(2.0) == [0] + [1] * 10 + [0, 0]


@pytest.mark.parametrize(("hop", "rate"), [(3584, 44_100), (2048, 44_100), (640, 32_000)])
def test_a_rest_of_less_than_half_a_second_is_phrasing_at_any_frame_rate(hop, rate):
  for seconds, rests in ((0.3, False), (0.75, True)):
    audio = np.full((4 * rate, 2), 0.1, np.float32)
    audio[2 * rate : round((2 + seconds) * rate)] = 0.0
    assert (frame_activity(audio, hop, rate).min() == 0) == rests


@pytest.mark.parametrize(("samples", "frames"), [(1, 1), (99, 1), (100, 1), (101, 2), (250, 3)])
def test_frames_are_the_ceiling_and_the_last_counts_as_padded(samples, frames):
  assert frame_activity(np.ones((samples, 2), np.float32), 100, 1_000).tolist() == [1] * frames
  assert frame_activity(np.zeros((samples, 2), np.float32), 100, 1_000).tolist() == [0] * frames


def test_a_segment_of_the_paper_has_394_frames():
  assert len(frame_activity(np.zeros((32 * 44100, 2), np.float32), 3584, 44_100)) == 394


def test_one_sounding_channel_is_enough():
  audio = np.zeros((200, 2), np.float32)
  audio[:100, 1] = 0.01
  assert frame_activity(audio, 100, 1_000).tolist() == [1, 0]


@pytest.mark.parametrize(("hop", "rate"), [(3584, 44100), (2048, 44100), (320, 16000), (7, 22050)])
def test_lane_to_ranges_and_back_is_the_lane(hop, rate):
  rng = np.random.default_rng(hop)
  for share in (0.0, 0.3, 0.9, 1.0):
    lane = (rng.random(394) < share).astype(np.int8)
    back = lanes_from_ranges(active_ranges(lane, hop, rate), 394, hop, rate)
    assert back.dtype == np.int8
    np.testing.assert_array_equal(back, lane)


def test_a_drawn_range_covers_every_frame_it_touches():
  lane = lanes_from_ranges([(0.0, 8.0), (16.0, 32.0)], 394, 3584, 44100)
  assert lane[:99].all()  # 8 s are 98.4 frames
  assert not lane[99:196].any()  # 16 s are 196.9 frames
  assert lane[196:].all()
  assert lanes_from_ranges([(0.55, 0.56)], 10, 100, 1000).tolist() == [0] * 5 + [1] + [0] * 4
  ranges = active_ranges(np.array([0, 1, 1, 0, 1]), 100, 1000)
  np.testing.assert_allclose(ranges, [(0.1, 0.3), (0.4, 0.5)])


@pytest.mark.parametrize("bad", [(-1.0, 2.0), (3.0, 3.0), (4.0, 2.0), (0.0, 11.0)])
def test_ranges_outside_the_frames_are_usage_errors(bad):
  with pytest.raises(UsageError, match="within 0-10 s"):
    lanes_from_ranges([bad], 100, 100, 1000)


def test_ranges_are_read_from_text():
  assert parse_ranges("0-8,16-32") == [(0.0, 8.0), (16.0, 32.0)]
  assert parse_ranges(" 0.5 - 8.25 , 9-10") == [(0.5, 8.25), (9.0, 10.0)]


@pytest.mark.parametrize(
  "text", ["", "8", "0-", "-8", "8-4", "a-b", "0-8,", "0-8;9-10", "0-nan", "0-inf", "1-2-3", "4-4"]
)
def test_malformed_ranges_are_usage_errors(text):
  with pytest.raises(UsageError, match="START-END"):
    parse_ranges(text)
