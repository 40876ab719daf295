"""Batches of songs as streams of codes: functions of their position, whoever makes them."""

import contextlib
import itertools

import numpy as np

from stemphonic_jax.data.batching import songs
from stemphonic_jax.data.batching.records import Segment
from tests import tiny

T, LEVELS = 6, (1, 1, 4)


def segment(number):
  codes = np.full((3, T, 4), number, np.uint16)
  codes[2] += 10 * np.arange(4, dtype=np.uint16)
  return Segment(
    id=f"song {number}",
    names=("bass", "drums", "other"),
    types=("bass", "drums", "other"),
    caption=f"caption {number}",
    captions=("in other words",),
    bpm=90.0 + number,
    latents=codes,
    activity=np.ones((3, T), np.int8),
    seconds=2 * 8 / 8000 + 1e-6 if number == 3 else None,
  )


RECORDS = tiny.InMemory(map(segment, range(5)))


def read(texts):
  """What was told, as if these were tokens."""
  return np.array([[hash(text) % 1000] for text in texts], np.int32), np.ones((len(texts), 1), bool)


def batches(count, frames=T, **options):
  walk = songs.batches(RECORDS, read, frames=frames, levels=LEVELS, batch_size=4, seed=1, **options)
  with contextlib.closing(walk) as found:
    return list(itertools.islice(found, count))


def same(a, b):
  return all(np.array_equal(a[name], b[name]) for name in a)


def test_a_row_is_a_song_with_all_levels_of_its_stems():
  _, batch = batches(1)[0]
  numbers = [int(name.split()[1]) for name in batch["id"]]
  assert len(set(numbers)) == 4
  for row, number in enumerate(numbers):
    expected = number + np.array([0, 0, 0, 10, 20, 30])
    np.testing.assert_array_equal(batch["codes"][row], np.repeat(expected[:, None], T, 1))
    assert batch["frames"][row] == (2 if number == 3 else T)


def test_a_batch_follows_from_its_position_and_hosts_have_their_rows_of_it():
  straight = batches(4)
  assert [position for position, _ in straight] == [4, 8, 12, 16]
  (_, again), *_ = batches(1, start=8)
  assert same(again, straight[2][1])
  halves = [batches(3, host=host, hosts=2)[2][1] for host in range(2)]
  joined = {name: np.concatenate([half[name] for half in halves]) for name in again}
  assert same(joined, again)
  seen = [name for _, batch in straight for name in batch["id"]][:10]
  assert sorted(seen[:5]) == sorted(seen[5:]) == [f"song {n}" for n in range(5)]


def test_captions_come_in_all_their_words_and_now_and_then_with_the_tempo():
  drawn = {songs.draw_text(segment(2), np.random.default_rng(n), 0.5) for n in range(40)}
  assert drawn == {
    "caption 2", "caption 2, 92 bpm", "in other words", "in other words, 92 bpm"
  }  # fmt: skip


def test_songs_are_cut_out_of_longer_segments_where_there_is_music():
  for _, batch in batches(4, frames=4):
    assert batch["codes"].shape == (4, 6, 4)
    for name, frames in zip(batch["id"], batch["frames"], strict=True):
      assert frames == (2 if name == "song 3" else 4)
