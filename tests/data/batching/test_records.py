"""Folders of records: what is written comes back, and what is broken says so in one line."""

from __future__ import annotations

import dataclasses
import functools
import json
import math

import numpy as np
import pytest

from stemphonic_jax.data.batching import records
from stemphonic_jax.data.preparing.shards import write_records, write_shards
from stemphonic_jax.errors import DataError, MissingError, OutputError

T, C = 5, 3
CODES = np.random.default_rng(0).integers(0, 65536, (3, T, C)).astype(np.uint16)


def segment(seed=0, stems=3, frames=T, silent=(), **changes):
  rng = np.random.default_rng(seed)
  activity = np.ones((stems, frames), np.int8)
  activity[list(silent)] = 0
  fields = {
    "id": f"song-{seed}",
    "names": tuple(f"stem {k}" for k in range(stems)),
    "types": ("drums", "basses", "SFX", "keys")[:stems],
    "caption": "Café del mar, 静か",
    "bpm": 96.5,
    "latents": rng.normal(2.0, 3.0, (stems, frames, C)).astype(np.float16),
    "activity": activity,
    "submixes": {0b011: rng.normal(size=(frames, C)).astype(np.float16)} if stems > 1 else {},
  }
  return records.Segment(**fields | changes)


def assert_equal(a, b):
  for field in dataclasses.fields(a):
    one, other = getattr(a, field.name), getattr(b, field.name)
    if field.name == "submixes":
      assert list(one) == list(other)
      one, other = list(one.values()), list(other.values())
    if field.name == "waveforms" and one is not None:
      assert one.masks == other.masks
      np.testing.assert_array_equal(one.gains, other.gains, strict=True)
      one, other = one.samples, other.samples
    np.testing.assert_array_equal(one, other, strict=field.name in ("latents", "activity"))


def waveforms(stems=3, samples=7, masks=(0b011, 0b111)):
  audio = np.random.default_rng(1).uniform(-1, 1, (stems, samples, 2)).astype(np.float32)
  return records.Waveforms.of(audio, masks)


@pytest.mark.parametrize(
  "changes",
  [
    {},
    {"bpm": math.nan},
    {"captions": ("静か", ""), "words": ("", "bowed", "")},
    {"stems": 1},
    {"caption": ""},
    {"submixes": {}},
    {"seconds": 12.5},
    {"deviations": np.full((3, T, C), 0.1, np.float16)},
    {"submixes": {}, "waveforms": waveforms()},
    {"submixes": {}, "waveforms": waveforms(masks=())},
    {"latents": CODES, "submixes": {0b011: CODES[0]}},
  ],
)
def test_a_segment_survives_its_bytes(changes):
  original = segment(**changes)
  assert_equal(records.from_bytes(records.to_bytes(original)), original)


def test_a_submix_of_one_stem_is_the_stem_and_others_are_the_stored_ones():
  one = segment()
  np.testing.assert_array_equal(one.submix(0b100), one.latents[2])
  np.testing.assert_array_equal(one.submix(0b011), one.submixes[0b011])
  assert segment(silent=[1]).audible.tolist() == [True, False, True]


def test_waveforms_of_sixteen_bits_are_kept_to_the_bit_and_louder_ones_to_half_a_step():
  rng = np.random.default_rng(0)
  quiet = (rng.integers(-(2**15), 2**15, (50, 2)) / 2**15).astype(np.float32)
  quiet[0] = -1.0  # the one number at full scale
  loud = rng.uniform(-2.5, 2.5, (50, 2)).astype(np.float32)
  kept = records.Waveforms.of([quiet, loud], [0b11])
  np.testing.assert_array_equal(kept.submix(0b01), quiet)
  assert np.abs(kept.submix(0b10) - loud).max() <= 2.5 / 2**15
  np.testing.assert_array_equal(kept.submix(0b11), kept.submix(0b01) + kept.submix(0b10))


def test_what_can_be_drawn_is_stored_latents_or_waveforms():
  assert segment().masks == (0b011,)
  assert segment(submixes={}, waveforms=waveforms()).masks == (0b011, 0b111)
  assert segment(submixes={}).masks == ()


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"deviations": np.zeros((3, T, C), np.float32)}, "deviations"),
    ({"waveforms": waveforms(stems=2)}, r"waveforms \[2, 2\], expected \[3, 2\]"),
    ({"submixes": {}, "waveforms": waveforms(masks=(0b1001,))}, "sub-mix 1001"),
    ({"names": ()}, "0 stems, expected 1 to"),
    ({"types": ("drums",)}, r"types \[1\], expected \[3\]"),
    ({"latents": np.zeros((3, T, C), np.float32)}, "float32"),
    ({"latents": np.zeros((2, T, C), np.float16)}, r"latents \[2, 5, 3"),
    ({"activity": np.zeros((3, T + 1), np.int8)}, r"activity \[3, 6"),
    ({"submixes": {0b1001: np.zeros((T, C), np.float16)}}, "sub-mix 1001"),
    ({"submixes": {0b100: np.zeros((T, C), np.float16)}}, "sub-mix 100"),
    ({"submixes": {0b11: np.zeros((T, C + 1), np.float16)}}, "sub-mix 11"),
  ],
)
def test_a_segment_whose_parts_do_not_fit_is_refused(changes, message):
  with pytest.raises(DataError, match=message):
    segment(**changes)


@pytest.mark.parametrize("shards", [1, 3, 8])
def test_what_is_written_is_read(tmp_path, shards):
  written = [segment(seed, stems=1 + seed % 4) for seed in range(7)]
  parts = [functools.partial(iter, written[number::shards]) for number in range(shards)]
  folder = write_shards(tmp_path / "train", parts, hop=3584, rate=44100)
  read = list(records.open_records(tmp_path / "train"))
  assert len(read) == len(folder) == 7
  for one, other in zip(sorted(read, key=lambda s: s.id), written, strict=True):
    assert_equal(one, other)
  index = folder.index
  assert (index.frames, index.channels, index.hop, index.rate) == (T, C, 3584, 44100)
  assert sorted(path.name for path in tmp_path.iterdir()) == ["train"]


def test_one_file_keeps_the_order_and_the_same_segments_give_the_same_bytes(tmp_path):
  for name in ("a", "b"):
    write_records(tmp_path / name, map(segment, range(4)), hop=8, rate=8000)
  assert [s.id for s in records.open_records(tmp_path / "a")] == [f"song-{i}" for i in range(4)]
  for path in (tmp_path / "a").iterdir():
    assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_statistics_are_those_of_every_frame_of_the_audible_stems(tmp_path):
  written = [segment(seed, silent=[seed]) for seed in range(3)]
  statistics = write_records(tmp_path / "r", written, hop=8, rate=8000).index.statistics
  frames = np.concatenate([s.latents[s.audible].reshape(-1, C) for s in written]).astype(np.float32)
  np.testing.assert_allclose(statistics.mean, frames.mean(0), rtol=1e-5)
  np.testing.assert_allclose(statistics.std, frames.std(0), rtol=1e-5)
  standard = statistics.standardize(frames)
  np.testing.assert_allclose(standard.mean(0), 0, atol=1e-6)
  np.testing.assert_allclose(standard.std(0), 1, rtol=1e-5)
  np.testing.assert_allclose(statistics.restore(standard), frames, rtol=1e-5)
  assert standard.dtype == np.float32


def test_statistics_are_of_what_is_drawn_where_deviations_are_kept(tmp_path):
  deviations = np.full((3, T, C), 2.0, np.float16)
  plain, wide = (
    write_records(tmp_path / name, [segment(deviations=d)], hop=8, rate=8000).index.statistics
    for name, d in (("plain", None), ("wide", deviations))
  )
  np.testing.assert_array_equal(plain.mean, wide.mean)
  np.testing.assert_allclose(wide.std**2, plain.std**2 + 4, rtol=1e-5)


def test_the_index_says_which_stems_sound(tmp_path):
  written = [segment(0), segment(1, silent=[0, 1, 2]), segment(2, silent=[1])]
  parts = [functools.partial(iter, [one]) for one in written]
  assert write_shards(tmp_path / "r", parts, hop=8, rate=8000).index.audible == [0b111, 0b101]


def test_a_constant_channel_is_standardised_without_dividing_by_zero(tmp_path):
  latents = np.full((1, T, C), 0.5, np.float16)
  written = [segment(stems=1, latents=latents)]
  statistics = write_records(tmp_path / "r", written, hop=8, rate=8000).index.statistics
  np.testing.assert_array_equal(statistics.standardize(latents), 0)


def test_segments_without_an_audible_stem_are_left_out(tmp_path):
  written = [segment(0), segment(1, silent=[0, 1, 2]), segment(2)]
  folder = write_records(tmp_path / "r", written, hop=8, rate=8000)
  assert [s.id for s in folder] == ["song-0", "song-2"]
  with pytest.raises(DataError, match="1 segments came, and none has an audible stem"):
    write_records(tmp_path / "s", written[1:2], hop=8, rate=8000)
  with pytest.raises(DataError, match="nothing to write: no stem sounds in enough of a segment"):
    write_records(tmp_path / "s", [], hop=8, rate=8000)
  assert not (tmp_path / "s").exists()


def test_nothing_is_left_of_an_interrupted_writing(tmp_path):
  def interrupted():
    yield segment(0)
    raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    write_records(tmp_path / "r", interrupted(), hop=8, rate=8000)
  assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
  ("bad", "message"),
  [
    (segment(1, frames=T + 1), r"frames and channels \[6, 3\], expected \[5, 3\]"),
    (segment(1, latents=np.full((3, T, C), np.inf, np.float16)), "latents are not finite"),
    (segment(1, submixes={3: np.full((T, C), np.nan, np.float16)}), "sub-mix 11 are not finite"),
  ],
)
def test_segments_that_cannot_be_trained_on_are_refused(tmp_path, bad, message):
  with pytest.raises(DataError, match=message):
    write_records(tmp_path / "r", [segment(0), bad], hop=8, rate=8000)
  assert list(tmp_path.iterdir()) == []


def test_a_folder_that_holds_something_is_not_written_to(tmp_path):
  (tmp_path / "note.txt").write_text("mine")
  with pytest.raises(OutputError, match="not empty"):
    write_records(tmp_path, [segment()], hop=8, rate=8000)
  with pytest.raises(OutputError, match="not empty"):
    write_records(tmp_path / "note.txt", [segment()], hop=8, rate=8000)
  with pytest.raises(OutputError, match="cannot be written"):
    write_records(tmp_path / "note.txt" / "r", [segment()], hop=8, rate=8000)
  assert [path.name for path in tmp_path.iterdir()] == ["note.txt"]


def test_what_a_killed_run_left_is_replaced(tmp_path):
  (tmp_path / ".r.partial").mkdir()
  (tmp_path / ".r.partial" / "00007-of-00008.array_record").write_text("half")
  write_records(tmp_path / "r", [segment()], hop=8, rate=8000)
  assert len(list((tmp_path / "r").iterdir())) == 2
  assert [path.name for path in tmp_path.iterdir()] == ["r"]


def test_an_empty_folder_may_be_written_to(tmp_path):
  assert len(write_records(tmp_path, [segment()], hop=8, rate=8000)) == 1


def test_a_missing_or_foreign_folder_is_named(tmp_path):
  with pytest.raises(MissingError, match="no such folder of records"):
    records.open_records(tmp_path / "nowhere")
  with pytest.raises(MissingError, match=r"no index\.json"):
    records.open_records(tmp_path)
  half = json.dumps({"format": records.FORMAT, "files": {}, "mean": ["loud"], "std": [1]})
  for content in ("{", "[]", "{}", '{"format": "other"}', half, "\x00"):
    (tmp_path / "index.json").write_text(content)
    with pytest.raises(DataError, match="not an index of records"):
      records.open_records(tmp_path)


def test_lost_cut_and_damaged_files_are_named(tmp_path):
  written = [segment(0, stems=4)]
  write_records(tmp_path / "r", written, hop=8, rate=8000)
  file = tmp_path / "r" / "00000-of-00001.array_record"
  content = file.read_bytes()
  file.write_bytes(content[:-100])
  with pytest.raises(DataError, match=f"{len(content) - 100} bytes, expected {len(content)}"):
    records.open_records(tmp_path / "r")
  place = content.index(written[0].latents.tobytes()[:16])
  file.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
  with pytest.raises(DataError, match="record 0 is damaged"):
    records.open_records(tmp_path / "r")[0]
  file.write_bytes(bytes(len(content)))
  with pytest.raises(DataError, match="damaged"):
    records.open_records(tmp_path / "r")
  file.unlink()
  with pytest.raises(MissingError, match="00000-of-00001"):
    records.open_records(tmp_path / "r")


def test_the_index_is_readable_by_people(tmp_path):
  write_records(tmp_path / "r", [segment()], hop=3584, rate=44100)
  content = json.loads((tmp_path / "r" / "index.json").read_text())
  assert content["format"] == "stemphonic_jax records 2"
  assert (content["count"], content["hop"], content["rate"]) == (1, 3584, 44100)


def test_an_index_nested_too_deeply_is_damaged(tmp_path):
  (tmp_path / "index.json").write_text("[" * 100_000)
  with pytest.raises(DataError, match=r"index\.json"):
    records.open_records(tmp_path)
