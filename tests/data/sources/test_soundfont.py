"""SoundFonts: what is wrong with one is said in a line before anything is composed."""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from configs import demo as demo_config
from stemphonic_jax.data.sources import demo
from stemphonic_jax.data.sources.demo import arranger, composer, drums, sampled, soundfont, voices
from stemphonic_jax.data.sources.demo.facts import table
from stemphonic_jax.data.sources.demo.styles import COMMON, Groove
from stemphonic_jax.data.sources.demo.styles_of_version_2 import STYLES_TWO
from stemphonic_jax.data.sources.demo.triple import COMMONS
from stemphonic_jax.errors import DataError, MissingError, UsageError
from stemphonic_jax.training.inputs import corpora
from tests.data.sources.fonts import asked_for, font

RATE = 22050


@pytest.fixture(scope="module")
def path(tmp_path_factory):
  path = tmp_path_factory.mktemp("fonts") / "tiny.sf2"
  path.write_bytes(font())
  return str(path)


@pytest.fixture
def fluidsynth():
  """What these tests play with, where it is installed."""
  try:
    sampled._library()
  except MissingError as error:
    pytest.skip(str(error))


def test_the_programs_of_a_font_are_read(path):
  assert soundfont.programs(Path(path)) == set(asked_for())


@pytest.mark.parametrize(
  ("content", "message"),
  [
    (None, "no such file"),
    (b"", "not a SoundFont"),
    (b"RIFF\x10\0\0\0WAVEfmt hello", "not a SoundFont"),
    (font()[:-1000], "is cut off"),
    (font().replace(b"phdr", b"phdx"), "damaged"),
    (font().replace(b"smpl", b"smpx"), "damaged"),
    (font(presets=[]), "damaged"),
    (font(presets=[(128, 0)]), r"has no program \d+ \("),
    (font(presets=[p for p in asked_for() if p[0] == 0]), "has no drum kit"),
    (font(presets=[p for p in asked_for() if p != (0, 73)]), r"no program 73 \(flute\)"),
  ],
)
def test_a_font_that_cannot_play_is_told_of_before_anything_is_composed(
  tmp_path, monkeypatch, content, message
):
  monkeypatch.setattr(demo, "compose", None)  # whatever composes ends in a TypeError
  file, config = tmp_path / "font.sf2", demo_config.get_config("tiny")
  if content is not None:
    file.write_bytes(content)
  config.data.soundfont = str(file)
  error = MissingError if content is None else DataError
  for begin in (corpora.open_corpora, corpora.waveforms):
    with pytest.raises(error, match=message) as raised:
      begin(config, tmp_path, 3584)
    assert str(file) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_font_that_is_damaged_anywhere_is_read_or_refused(tmp_path):
  whole, rng, refused = font(), np.random.default_rng(0), 0
  tables = whole.index(b"pdta")
  for _ in range(300):
    bad = bytearray(whole)
    places = rng.choice(np.r_[:120, tables : len(whole)], 3)
    for place in places:
      bad[place] = int(rng.integers(256))
    (tmp_path / "bad.sf2").write_bytes(bad)
    try:
      soundfont.programs(tmp_path / "bad.sf2")
    except DataError:
      refused += 1
  assert refused > 3


def test_a_player_that_is_not_installed_is_named(path, monkeypatch):
  sampled._library.cache_clear()
  monkeypatch.setitem(sys.modules, "fluidsynth", None)
  with pytest.raises(MissingError, match=r"pip install 'stemphonic-jax\[soundfont\]'"):
    demo.Edition(2, path).check(RATE)
  sampled._library.cache_clear()


def test_what_no_font_is_for_is_refused(path, tmp_path):
  with pytest.raises(UsageError, match="sample_rate 4000"):
    demo.Edition(2, path).check(4000)
  with pytest.raises(UsageError, match=r"data\.soundfont_share: got 1\.5"):
    demo.Edition(2, path, 1.5)
  config = demo_config.get_config("tiny")
  config.data.update(source="folder", soundfont=path)
  with pytest.raises(UsageError, match="plays the demo corpus"):
    corpora.open_corpora(config, tmp_path, 3584)


def test_the_table_names_only_what_the_styles_have():
  rows = table("instruments")
  grooves = {
    plays.name
    for parts in (*COMMONS.values(), *(style.parts for style in STYLES_TWO.values()))
    for row in parts.values()
    for plays in row
    if isinstance(plays, Groove)
  }
  assert rows["voices"].keys() <= voices.VOICES.keys()
  assert not any("synth" in name or "voc" in name[:3] for name in rows["voices"])
  assert rows["keys"].keys() | rows["pitched"].keys() == drums.DRUMS.keys()
  assert rows["kits"].keys() <= grooves


def test_sampled_pieces_follow_from_their_numbers_and_synths_stay_synths(path, fluidsynth):
  edition = demo.Edition(2, path, 1.0)
  numbers = range(6)

  def make(index):
    return demo.piece(0, index, 3.0, RATE, edition=edition)

  mixes = [make(index) for index in numbers]
  with ThreadPoolExecutor(3) as pool:
    again = list(pool.map(make, reversed(numbers)))[::-1]
  sampled_stems = 0
  for index, mix, other in zip(numbers, mixes, again, strict=True):
    score = arranger.compose(0, index, 3.0)
    for name, stem in mix.stems.items():
      np.testing.assert_array_equal(stem.audio, other.stems[name].audio)
      assert 0.005 < np.abs(stem.audio).max() < 1.0
      part = score.parts[name]
      sampled_stems += sampled.plays(part)
      if part.type in ("synths", "SFX", "synth-vocals"):
        assert not sampled.plays(part)
      if sampled.plays(part) and part.notes[0].start > 0.1:
        assert not stem.audio[: int(part.notes[0].start * RATE) - 64].any()
  assert sampled_stems > 12


def test_a_share_of_the_pieces_is_sampled(path, fluidsynth):
  plain = [demo.piece(0, index, 0.5, RATE) for index in range(8)]
  for share, few, many in ((0.0, 0, 0), (0.5, 1, 7)):
    edition = demo.Edition(1, path, share)
    mixes = [demo.piece(0, index, 0.5, RATE, edition=edition) for index in range(8)]
    pairs = zip(plain, mixes, strict=True)
    different = sum(not np.array_equal(a.audio(), b.audio()) for a, b in pairs)
    assert few <= different <= many


def test_notes_are_in_tune_and_a_key_may_be_struck_again(path, fluidsynth):
  note = composer.parts.Note
  notes = (
    note(0.5, 1.0, (69,), 0.8, "flute"),
    note(1.0, 1.0, (69, 73), 0.8, "flute"),  # before it is let go
  )
  plays = next(line for line in COMMON["winds"] if line.name == "flute")
  part = composer.Part("winds", plays, notes, ())
  audio = sampled.play(part, path, 3 * RATE, RATE, np.random.default_rng(0)).mean(axis=0)
  assert not audio[: RATE // 2 - 64].any()
  assert np.abs(audio[int(1.7 * RATE) : int(1.9 * RATE)]).max() > 0.01
  spectrum = np.abs(
    np.fft.rfft(audio[int(0.6 * RATE) : RATE] * np.hanning(RATE - int(0.6 * RATE)), 1 << 17)
  )
  peak = np.argmax(spectrum) * RATE / (1 << 17)
  assert peak == pytest.approx(441.0, rel=0.01)
