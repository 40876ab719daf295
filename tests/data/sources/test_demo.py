import pickle
from collections import Counter

import numpy as np
import pytest

from stemphonic_jax.audio.activity import frame_activity
from stemphonic_jax.data.sources import demo
from stemphonic_jax.data.sources.demo import drums, effects, synth, voices
from stemphonic_jax.data.sources.demo.composer import compose
from stemphonic_jax.data.sources.demo.styles import COMMON, STYLES, Effects, Groove
from stemphonic_jax.data.sources.demo.theory import Key, chord
from stemphonic_jax.data.taxonomy import STEM_TYPES
from stemphonic_jax.errors import UsageError

RATE, HOP = 22050, 1792  # half of the rate and the hop of the paper: 12.3 frames a second


@pytest.fixture(scope="module")
def pieces():
  return [demo.piece(7, index, rate=RATE) for index in range(12)]


@pytest.fixture(scope="module")
def scores():
  return [compose(0, index) for index in range(250)]


def same(a, b) -> bool:
  return (a.id, a.caption, a.bpm, list(a.stems)) == (b.id, b.caption, b.bpm, list(b.stems)) and all(
    a.stems[name].type == b.stems[name].type
    and np.array_equal(a.stems[name].audio, b.stems[name].audio)
    for name in a.stems
  )


def test_a_piece_depends_on_seed_and_index_alone():
  short, long = demo.Corpus(5, 4, 4.0, RATE), demo.Corpus(5, 400, 4.0, RATE)
  assert same(long[3], short[3])  # in another order, of another number
  assert same(short[-1], short[3])
  assert same(demo.piece(5, 3, 4.0, RATE), short[3])
  assert not same(short[2], short[3])
  assert not np.array_equal(demo.piece(6, 3, 4.0, RATE).audio(), short[3].audio())
  assert short[3].id == "demo-5-000003"


def test_a_corpus_is_a_small_sequence():
  corpus = demo.Corpus(1, 3, 2.0, 16000, ("drums", "keys"))
  assert len(corpus) == len(list(corpus)) == 3
  assert len(pickle.dumps(corpus)) < 300
  assert pickle.loads(pickle.dumps(corpus)) == corpus
  assert {tuple(mix.stems) for mix in corpus} == {("drums", "keys")}
  assert {(mix.samples, mix.rate) for mix in corpus} == {(32000, 16000)}
  with pytest.raises(IndexError):
    corpus[3]


def test_the_default_is_stereo_at_44100_hz_with_a_width():
  mix = demo.piece(0, 0, 4.0)
  assert (mix.rate, mix.samples) == (44100, 176400)
  audio = mix.audio()
  assert np.abs(audio[:, 0] - audio[:, 1]).max() > 0.01


def test_nothing_clips_and_everything_sounds(pieces):
  for mix in pieces:
    assert np.abs(mix.audio()).max() < 1.0
    for name, stem in mix.stems.items():
      assert 0.01 < np.abs(stem.audio).max() < 1.0, (mix.id, name)
      assert np.isfinite(stem.audio).all()
      assert abs(stem.audio.mean()) < 3e-3, (mix.id, name)  # no offset


def test_most_stems_rest_in_part_and_no_moment_is_silent(pieces):
  lanes = [[frame_activity(stem.audio, HOP, RATE) for stem in mix.stems.values()] for mix in pieces]
  shares = np.array([lane.mean() for piece in lanes for lane in piece])
  assert np.mean(shares < 0.97) > 0.5
  assert 0.55 < shares.mean() < 0.85
  assert shares.min() > 0.0
  assert np.mean([np.max(piece, axis=0).mean() for piece in lanes]) > 0.97


def test_rests_are_exact_zeros(pieces):
  checked = 0
  for mix in pieces:
    score = compose(7, int(mix.id[-6:]))
    for name, part in score.parts.items():
      # Notes end with their release, the echoes in time (9 steps) and the room.
      tail = 2.5 + 9 * 15.0 / score.bpm
      ends = np.maximum.accumulate([note.start + note.length for note in part.notes])
      starts = [note.start for note in part.notes[1:]] + [score.seconds]
      for end, start in zip(ends, starts, strict=True):
        rest = mix.stems[name].audio[int((end + tail) * RATE) : int(start * RATE)]
        checked += len(rest)
        assert not rest.any(), (mix.id, name, end, start)
  assert checked > 60 * RATE


def test_all_types_styles_modes_and_numbers_of_stems_occur(scores):
  kinds = Counter(part.type for score in scores for part in score.parts.values())
  assert set(kinds) == set(STEM_TYPES)
  assert min(kinds.values()) > 20
  assert {score.style for score in scores} == set(STYLES)
  assert len(STYLES) >= 8
  assert {score.key.mode for score in scores} == {"major", "minor"}
  assert {score.key.tonic for score in scores} == set(range(12))
  assert {len(score.parts) for score in scores} == {3, 4, 5, 6, 7, 8}
  assert any("guitars 2" in score.parts for score in scores)
  tempi = [score.bpm for score in scores]
  assert min(tempi) >= 60
  assert max(tempi) <= 180
  assert max(tempi) - min(tempi) > 100


def test_stems_enter_and_leave_at_sections_of_four_and_eight_bars(scores):
  for score in scores:
    assert score.sections[0].first == 0
    for section, following in zip(score.sections, score.sections[1:], strict=False):
      assert section.bars in (4, 8)
      assert following.first == section.span[-1] + 1
    assert len(score.sections) > 1
    assert all(part.sections and part.notes for part in score.parts.values())
  assert {section.bars for score in scores for section in score.sections} >= {4, 8}


def test_captions_tell_what_is_there(scores):
  for score in scores:
    assert score.style in score.caption.lower()
    assert score.key.name in score.caption
    assert all(part.plays.name in score.caption for part in score.parts.values())
  assert len({score.caption for score in scores}) > 240


def test_wanted_stems_are_played_under_names_of_their_own():
  score = compose(0, 1, 8.0, ("guitar", "guitars", "Bass", "fx"))
  assert list(score.parts) == ["guitars", "guitars 2", "basses", "SFX"]
  assert score.parts["guitars"].plays != score.parts["guitars 2"].plays
  assert compose(0, 1, 8.0).bpm == score.bpm
  with pytest.raises(UsageError, match="did you mean 'drums'"):
    compose(0, 1, 8.0, ("drumz",))


def test_the_tables_name_only_what_exists():
  for parts in (COMMON, *(style.parts for style in STYLES.values())):
    for kind, choices in parts.items():
      assert kind in STEM_TYPES
      for plays in choices:
        if isinstance(plays, Groove):
          assert set(plays.lines) <= set(drums.DRUMS)
          assert all(len(pattern) in (16, 32) for pattern in plays.lines.values())
        elif isinstance(plays, Effects):
          assert {plays.before, plays.on} <= set(effects.EFFECTS)
        else:
          assert plays.voice in voices.VOICES
          assert plays.pattern is None or len(plays.pattern) in (16, 32)


def test_harmony_by_hand():
  a_minor, c = Key(9, "minor"), Key(0, "major")
  assert a_minor.name == "A minor"
  assert [a_minor.pitch(degree) for degree in range(-1, 4)] == [67, 69, 71, 72, 74]
  assert [c.nearest_degree(pitch) for pitch in (59, 60, 61, 62, 72)] == [-1, 0, 0, 1, 7]
  assert set(chord("VI", a_minor).classes) == {5, 9, 0}  # F A C
  assert set(chord("V7", a_minor).classes) == {4, 8, 11, 2}  # E G# B D
  assert set(chord("iio7", a_minor).classes) == {11, 2, 5, 9}  # B D F A
  assert set(chord("bVII", c).classes) == {10, 2, 5}  # Bb D F
  assert chord("IM7", c).voicing(60) == (55, 59, 60, 64)  # G B C E around middle C


def test_the_synthesiser_plays_in_tune():
  for voice in ("grand piano", "flute", "synth bass"):
    wave = voices.play(voices.VOICES[voice], (69,), 2.0, RATE, np.random.default_rng(0))
    spectrum = np.abs(np.fft.rfft(wave[0] * np.hanning(wave.shape[1]), 1 << 18))
    hertz = np.fft.rfftfreq(1 << 18, 1 / RATE)
    near = (hertz > 415) & (hertz < 466)  # between G# and B flat
    assert hertz[near][np.argmax(spectrum[near])] == pytest.approx(440.0, rel=0.004)
    assert not wave[:, -1].any()


def test_noise_stays_in_its_band_at_unit_power():
  wave = synth.noise(np.random.default_rng(0), RATE, 2000, 4000, RATE)
  power = np.abs(np.fft.rfft(wave)) ** 2
  hertz = np.fft.rfftfreq(RATE, 1 / RATE)
  assert np.mean(wave**2) == pytest.approx(1.0, abs=1e-3)
  assert power[(hertz > 1400) & (hertz < 5600)].sum() / power.sum() > 0.75


def onsets(audio: np.ndarray) -> np.ndarray:
  """Rises of the level in dB, one per 256 samples, without their mean."""
  power = np.square(audio).sum(axis=1)
  level = 10 * np.log10(power[: len(power) // 256 * 256].reshape(-1, 256).sum(axis=1) + 1e-4)
  rises = np.clip(np.diff(level), 0, None)
  return (rises - rises.mean()) / (np.linalg.norm(rises) + 1e-9)


def test_stems_of_a_piece_move_together_and_with_no_other(pieces):
  envelopes = [[onsets(stem.audio) for stem in mix.stems.values()] for mix in pieces]
  own, other = [], []
  for index, stems in enumerate(envelopes):
    strangers = envelopes[(index + 1) % len(envelopes)]
    own += [float(a @ b) for i, a in enumerate(stems) for b in stems[:i]]
    other += [float(a @ b) for a in stems for b in strangers]
  assert np.mean(own) > 3 * abs(np.mean(other))
  area = np.mean(np.array(own)[:, None] > np.array(other))  # of the ROC curve
  assert area > 0.7, (area, np.mean(own), np.mean(other))
