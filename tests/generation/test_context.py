"""Given audio: a file, a folder of stems, a saved song or arrays, all as stereo at one rate."""

import json

import numpy as np
import pytest
import soundfile

from stemphonic_jax.data.sources import folder
from stemphonic_jax.errors import DataError, MissingError, UsageError
from stemphonic_jax.generation.context import WHOLE, fit, given_context, read_context, timed

RATE, LONGEST, HOP = 44_100, 2.0, 3584


def noise(seconds=1.0, rate=RATE, channels=2, seed=0):
  rng = np.random.default_rng(seed)
  return 0.1 * rng.standard_normal((round(seconds * rate), channels)).astype(np.float32)


def write(path, audio, rate=RATE):
  path.parent.mkdir(parents=True, exist_ok=True)
  soundfile.write(path, audio, rate, subtype="FLOAT" if path.suffix == ".wav" else None)
  return path


def read(path):
  return read_context(path, RATE, LONGEST)


def test_a_file_is_a_mix_of_which_the_types_are_not_known(tmp_path):
  audio = noise()
  context = read(write(tmp_path / "song.wav", audio))
  assert context.types == {}
  assert list(context.audio) == [WHOLE]
  np.testing.assert_array_equal(context.audio[WHOLE], audio)


def test_a_file_that_is_named_as_a_stem_is_one(tmp_path):
  assert read(write(tmp_path / "Bass 2.wav", noise())).types == {"Bass 2": "basses"}
  for name in ("no vocals", "song with guitar", "mix"):
    assert read(write(tmp_path / f"{name}.wav", noise())).types == {}


def test_a_saved_song_gives_its_tempo_and_metre_where_no_other_is_asked_for(tmp_path):
  write(tmp_path / "drums.wav", noise())
  about = {"stems": {"drums": {}}, "request": {"bpm": 90.0, "metre": "3/4"}}
  (tmp_path / "song.json").write_text(json.dumps(about))
  assert timed(read(tmp_path), None, None) == (90, "3/4")
  assert timed(read(tmp_path), 100, "4/4") == (100, "4/4")
  assert timed(read(tmp_path), None, None, tempo=False) == (None, "3/4")
  (tmp_path / "song.json").write_text(
    json.dumps({"stems": {"drums": {}}, "request": {"bpm": None}})
  )
  assert timed(read(tmp_path), None, None) == (None, None)
  for wrong in ({"bpm": "90"}, {"bpm": 1e9}, {"metre": "3/5"}, {"metre": 3}, []):
    (tmp_path / "song.json").write_text(json.dumps({"stems": {"drums": {}}, "request": wrong}))
    with pytest.raises(DataError, match=r"song\.json: not a song's \("):
      read(tmp_path)


def test_a_folder_holds_stems_named_after_their_types(tmp_path):
  stems = {"Drum Kit": noise(seed=1), "bass": noise(seed=2), "guitars 2": noise(seed=3)}
  for name, audio in stems.items():
    write(tmp_path / f"{name}.wav", audio)
  (tmp_path / "notes.txt").write_text("not audio")
  (tmp_path / "takes.wav").mkdir()
  context = read(str(tmp_path))
  assert context.types == {
    "Drum Kit": "drums",
    "bass": "basses",
    "guitars 2": "guitars",
  }
  for name, audio in stems.items():
    np.testing.assert_array_equal(context.audio[name], audio)


def test_of_a_saved_song_the_stems_are_read_and_the_mix_is_not(tmp_path):
  for name in ("drums", "context", "mix"):
    write(tmp_path / f"{name}.wav", noise())
  (tmp_path / "song.json").write_text(json.dumps({"stems": {"context": {}, "drums": {}}}))
  context = read(tmp_path)
  assert list(context.audio) == ["context", "drums"]
  assert context.types == {"drums": "drums"}


@pytest.mark.parametrize(
  "content", ["", "[]", "{}", '{"stems": 3}', '{"stems": {}}', "\x00", "[" * 100_000]
)
def test_a_foreign_song_json_is_said_to_be_one(tmp_path, content):
  (tmp_path / "song.json").write_text(content)
  with pytest.raises(DataError, match=r"song\.json: not a song's"):
    read(tmp_path)


def test_a_stem_that_a_song_lacks_is_missing(tmp_path):
  (tmp_path / "song.json").write_text(json.dumps({"stems": {"drums": {}}}))
  with pytest.raises(MissingError, match=r"drums\.wav: no such audio file"):
    read(tmp_path)


def test_other_rates_are_resampled_and_mono_is_duplicated(tmp_path):
  mono = write(tmp_path / "mono.wav", noise(rate=22_050, channels=1), 22_050)
  audio = read(mono).audio[WHOLE]
  assert audio.shape == (RATE, 2)
  np.testing.assert_array_equal(audio[:, 0], audio[:, 1])


def test_what_a_folder_cannot_be_is_said(tmp_path):
  with pytest.raises(MissingError, match="no stems, expected audio files such as"):
    read(tmp_path)
  write(tmp_path / "song" / "drums.wav", noise())
  with pytest.raises(MissingError, match=r"there are folders in it: .* for one of them .*song"):
    read(tmp_path)
  write(tmp_path / "Mix.wav", noise())
  with pytest.raises(MissingError, match=r"no stems, there .*; to play along with a mix, name its"):
    read(tmp_path)
  (tmp_path / "song" / "mix.json").write_text("{")
  with pytest.raises(DataError, match=r"song: .*mix\.json: malformed JSON"):
    read(tmp_path / "song")


@pytest.mark.parametrize(
  ("names", "types"),
  [
    (("drums", "bass", "other", "vocals"), ("drums", "basses", None, "vocals")),  # of demucs
    (("drums", "bass", "mixture"), ("drums", "basses")),  # of MUSDB
    (("01 Drums", "02 gtr", "._drums", "mix", "no_vocals"), ("drums", "guitars")),
    (("zither", "Lead Vox (no FX)"), (None, "vocals")),
  ],
)
def test_context_is_read_as_prepare_reads_a_mix(tmp_path, names, types):
  for name in names:
    write(tmp_path / "root" / "song" / f"{name}.wav", noise())
  (entry,) = folder.scan(tmp_path / "root").entries
  context = read(tmp_path / "root" / "song")
  assert list(context.audio) == [part.label for part in entry.parts]
  expected = dict(zip(names, types, strict=False))
  assert context.types == {name: kind for name, kind in expected.items() if kind}
  assert {name for name in expected} == set(context.audio)


def test_a_stem_in_two_formats_is_one(tmp_path):
  write(tmp_path / "drums.wav", noise(seed=1))
  write(tmp_path / "drums.flac", noise(seed=2))
  context = read(tmp_path)
  np.testing.assert_array_equal(context.audio["drums"], noise(seed=1))


def test_types_of_a_mix_json_and_free_types_of_a_model_count(tmp_path):
  write(tmp_path / "A.wav", noise())
  write(tmp_path / "zither.wav", noise())
  (tmp_path / "mix.json").write_text('{"types": {"A": "bass"}}')
  assert read(tmp_path).types == {"A": "basses"}
  assert read_context(tmp_path, RATE, LONGEST, ["zither"]).types["zither"] == "zither"


def test_faults_of_a_file_are_named(tmp_path):
  with pytest.raises(MissingError, match=r"none\.wav: no such audio file"):
    read(tmp_path / "none.wav")
  (tmp_path / "text.wav").write_text("this is not audio")
  with pytest.raises(DataError, match=r"text\.wav: cannot be read as audio"):
    read(tmp_path / "text.wav")
  with pytest.raises(DataError, match=r"long\.wav: lasts 2.50 s, at most 2 s fit"):
    read(write(tmp_path / "long.wav", noise(2.5)))
  broken = noise()
  broken[100, 1] = np.nan
  with pytest.raises(DataError, match=r"nan\.wav: sample 100"):
    read(write(tmp_path / "nan.wav", broken))


def test_arrays_are_a_mix_or_stems():
  audio = noise()
  np.testing.assert_array_equal(given_context(audio, RATE, LONGEST).audio[WHOLE], audio)
  context = given_context({"bass": audio, "drums 2": audio[:, 0]}, RATE, LONGEST)
  assert context.types == {"bass": "basses", "drums 2": "drums"}
  np.testing.assert_array_equal(context.audio["drums 2"], audio[:, [0, 0]])


@pytest.mark.parametrize(
  ("context", "message"),
  [
    (noise(2.5), "'context': lasts 2.50 s, at most 2 s"),
    (noise(channels=3), r"'context': got shape \[44100, 3\], expected \[samples, 2\]"),
    (np.zeros((0, 2)), r"got shape \[0, 2\]"),
    (np.float32(1), r"got shape \[\]"),
    (np.full((10, 2), np.inf), "'context': sample 0 .* expected finite numbers"),
    (np.full((10, 2), 1e300), "'context': sample 0 .* expected finite numbers"),
    ({"drums": np.full((10, 2), np.nan)}, "'drums': sample 0 .* expected finite numbers"),
    (np.full((10, 2), 30_000, np.int16), "sample 0 .* expected within ±1, as audio is"),
    ({"drums": ["no", "audio"]}, "'drums': is not an array of numbers"),
  ],
)
def test_faults_of_arrays_are_named(context, message):
  with pytest.raises(DataError, match=message):
    given_context(context, RATE, LONGEST)


@pytest.mark.parametrize(
  "name", ["../drums", "a/b", "C:\\drums", "", ".drums", "a\nb", "\udcff", "é" * 200]
)
def test_a_name_that_no_file_can_have_is_refused(name):
  with pytest.raises(UsageError, match="context: "):
    given_context({name: noise()}, RATE, LONGEST)


def test_no_stem_is_called_as_the_mix_of_a_song_is(tmp_path):
  with pytest.raises(UsageError, match="called 'Mix', the name of a song's own mix"):
    given_context({"Mix": noise()}, RATE, LONGEST)
  write(tmp_path / "mix.wav", noise())
  (tmp_path / "mix.json").write_text('{"types": {"mix": "keys"}}')
  with pytest.raises(UsageError, match="called 'mix', the name of a song's own mix"):
    read(tmp_path)


@pytest.mark.parametrize("name", ["../drums", "a/b", "", ".drums", "a\0b", "\udcff", "é" * 121])
def test_a_song_json_has_no_other_names(tmp_path, name):
  write(tmp_path / "drums.wav", noise())
  (tmp_path / "song").mkdir()
  (tmp_path / "song" / "song.json").write_text(json.dumps({"stems": {name: {}}}))
  with pytest.raises(UsageError, match="context: "):
    read(tmp_path / "song")


@pytest.mark.parametrize(
  ("audio", "message"),
  [
    (np.full((10, 2), 300, np.int16), r"holds integers \(int16\) up to 300, .* divide"),
    (np.full((10, 2), 1j), "is not an array of numbers"),
  ],
)
def test_numbers_of_another_kind_are_no_samples(audio, message):
  with pytest.raises(DataError, match=message):
    given_context(audio, RATE, LONGEST)


def test_arrays_of_no_known_type_are_heard_without_a_name():
  context = given_context({"zither": noise(), "Bass": noise()}, RATE, LONGEST)
  assert list(context.audio) == ["zither", "Bass"]
  assert context.types == {"Bass": "basses"}
  with pytest.raises(UsageError, match="context holds no stems"):
    given_context({}, RATE, LONGEST)


def test_short_stems_are_padded_each_by_itself_and_long_ones_refused():
  stems = {"drums": noise(0.5), "bass": noise(1.0)}
  context = fit(given_context(stems, RATE, LONGEST), RATE, RATE, HOP)
  for name, audio in stems.items():
    assert context.audio[name].shape == (RATE, 2)
    np.testing.assert_array_equal(context.audio[name][: len(audio)], audio)
    assert not context.audio[name][len(audio) :].any()
  with pytest.raises(DataError, match=r"context lasts 1\.00 s and the song 0\.5 s"):
    fit(context, RATE // 2, RATE, HOP)


def test_less_than_a_latent_frame_is_cut_and_more_refused():
  stems = {"drums": noise(1.0), "bass": noise(0.5)}
  for beyond in (1, HOP - 1):
    context = fit(given_context(stems, RATE, LONGEST), RATE - beyond, RATE, HOP)
    np.testing.assert_array_equal(context.audio["drums"], stems["drums"][:-beyond])
    assert context.audio["bass"].shape == (RATE - beyond, 2)
  with pytest.raises(DataError, match=r"lasts 1\.00 s and the song 0\.9187 s"):
    fit(given_context(stems, RATE, LONGEST), RATE - HOP, RATE, HOP)
