"""StemGen, shrunk, goes the whole way: trains, stops, resumes, makes songs and edits them."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from absl import logging

from configs import stemgen as configs
from stemphonic_jax import main
from stemphonic_jax.errors import DivergedError, MismatchError, UsageError
from stemphonic_jax.generation.pipeline import StemPipeline
from stemphonic_jax.generation.saved import load_song
from stemphonic_jax.systems import stemgen
from stemphonic_jax.weights.code_bundle import export_code_bundle
from stemphonic_jax.weights.codec import Codec

pytestmark = pytest.mark.usefixtures("one_device", "equal_steps_compile_once")


def tiny(steps=2):
  config = configs.get_config("tiny")
  config.seconds = 1.0
  config.data.update(segment=1.5, pieces=2, held_out=1)
  config.codec.stems.update(levels=2, entries=16, refinements=2)
  config.network.update(width=32, depth=1)
  config.train.update(steps=steps, save_every=1, log_every=1)
  config.sample.steps = 2
  return config


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
  """A run that was stopped after one step, and went on."""
  folder = tmp_path_factory.mktemp("stemgen")
  main.claim(tiny(), folder)
  main.train_vae(tiny(), folder)
  main.prepare(tiny(), folder)
  for steps in (1, 2):
    stemgen.train(tiny(steps), folder, lambda step, model: None)
  return folder


@pytest.fixture(scope="module")
def pipe(workdir):
  return StemPipeline.load(workdir)


@pytest.fixture
def told(monkeypatch):
  """What the log says."""
  lines = []
  for level in ("info", "warning"):
    monkeypatch.setattr(logging, level, lambda text, *values: lines.append(text % values))
  return lines


@pytest.fixture(scope="module")
def song(pipe):
  return pipe.generate("two stems", ["drums", "basses"], seed=3)


def test_a_run_that_was_stopped_leaves_the_same_model_to_the_bit(workdir, tmp_path):
  for name in ("codecs", "records"):
    shutil.copytree(workdir / name, tmp_path / name)
  stemgen.train(tiny(), tmp_path, lambda step, model: None)
  files = [folder / "model" / "network.safetensors" for folder in (workdir, tmp_path)]
  assert files[0].read_bytes() == files[1].read_bytes()
  lines = (workdir / "stemgen" / "metrics.jsonl").read_text().splitlines()
  held_out = [line for line in map(json.loads, lines) if "held_out_loss" in line]
  assert [line["step"] for line in held_out] == [1, 2]
  assert {"held_out_accuracy", "held_out_loss_level_0"} <= held_out[0].keys()


def test_songs_of_held_out_pieces_have_their_types(workdir):
  main.generate(tiny(), workdir)
  found = json.loads((workdir / "songs" / "0" / "song.json").read_text())
  assert found["sampler"]["passes"] == len(found["stems"]) > 1
  assert found["model"] == StemPipeline.load(workdir).fingerprint


def test_codes_of_another_codec_are_refused(workdir, tmp_path):
  shutil.copytree(workdir / "records", tmp_path / "records")
  other = tiny()
  other.seed = 1
  main.train_vae(other, tmp_path)
  with pytest.raises(MismatchError, match="coded by another codec of 'stems'"):
    stemgen.train(other, tmp_path, lambda step, model: None)


def test_types_that_are_others_than_those_of_the_start_are_refused(workdir, tmp_path):
  for name in ("codecs", "records"):
    shutil.copytree(workdir / name, tmp_path / name)
  index = tmp_path / "records" / "train" / "index.json"
  content = json.loads(index.read_text())
  content["notes"]["types"] = ["theremin"]
  index.write_text(json.dumps(content))
  further = tiny()
  further.init_from = str(workdir)
  with pytest.raises(MismatchError, match=r"has the types none beside .* these records theremin"):
    stemgen.train(further, tmp_path, lambda step, model: None)


def test_a_stem_hears_those_before_it_and_the_same_request_gives_the_same(pipe, song):
  given = {"drums": song.stems["drums"]}
  after = pipe.generate("the other", ["basses"], seed=3, context=given)
  np.testing.assert_array_equal(after.stems["basses"], song.stems["basses"])
  np.testing.assert_array_equal(after.stems["drums"], song.stems["drums"])
  alone = pipe.generate("alone", ["basses"], seed=3)
  assert not np.array_equal(alone.stems["basses"], song.stems["basses"])


def test_an_edit_forces_the_codes_that_stay(pipe, song):
  hop, more = pipe.hop, pipe.add(song, ["keys"])
  for name in song.stems:
    np.testing.assert_array_equal(more.stems[name], song.stems[name])
  edited = pipe.again(more, ["drums"], range=(0.2, 0.6))
  same = (edited.latents["drums"] == more.latents["drums"]).all(1)
  assert same[: 6400 // hop].all()
  assert same[19200 // hop :].all()
  assert not same.all()
  outside = np.r_[0:6400, 19200 : song.samples]
  np.testing.assert_array_equal(edited.stems["drums"][outside], more.stems["drums"][outside])
  longer = pipe.extend(edited, 1.5)
  assert longer.samples == 48_000
  again = pipe.replay(longer)
  for name, audio in longer.stems.items():
    np.testing.assert_array_equal(again.stems[name], audio)


def test_the_tempo_of_a_song_is_that_of_its_bars_and_not_heard(pipe, song, tmp_path):
  song = replace(song, info=song.info | {"request": song.info["request"] | {"bpm": 240}})
  song.save(tmp_path / "song")
  made = pipe.generate("to it", ["keys"], context=tmp_path / "song")
  assert made.info["request"]["bpm"] is None
  followed = pipe.follow(tmp_path / "song", "to it", ["keys"])
  assert followed.info["request"]["bpm"] == 240
  assert pipe.extend(followed, 1.5, left=True).samples == 64_000  # by a whole bar
  pipe.again(load_song(tmp_path / "song"), ["drums"])
  with pytest.raises(UsageError, match=r"bpm: .* without it; leave it out"):
    pipe.follow(tmp_path / "song", "to it", ["keys"], bpm=100)


DAMAGED = {
  "beyond": lambda codes: np.where(codes == codes[0, 0], 999, codes),
  "negative": lambda codes: np.full_like(codes, -1, np.int32),
  "NaN": lambda codes: np.full(codes.shape, np.nan, np.float32),
  "halves": lambda codes: codes + 0.5,
  "levels": lambda codes: codes[:, :1],
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_codes_that_are_none_of_the_models_are_told_so_and_made_anew(pipe, song, told, damage):
  codes = DAMAGED[damage](song.latents["drums"])
  other = replace(song, latents={**song.latents, "drums": codes}, folder=Path("a song"))
  plain = replace(song, latents={"basses": song.latents["basses"]})
  assert pipe.again.check(pipe, plain, ["drums"]).draft.latents.keys() == {"basses"}
  assert not told
  edited = pipe.again(other, ["drums"], range=(0.2, 0.6))
  (said,) = [line for line in told if "encoded anew" in line]
  assert said.startswith("a song/latents.safetensors: what it has of drums is not of this model")
  same = pipe.again(plain, ["drums"], range=(0.2, 0.6))
  np.testing.assert_array_equal(edited.stems["drums"], same.stems["drums"])


def test_a_song_of_another_rate_is_told_so(pipe, song):
  other = replace(song, rate=44_100)
  with pytest.raises(MismatchError, match=r"sample_rate is 44100, and the model .* makes 32000 Hz"):
    pipe.again(other)


@pytest.mark.parametrize(
  ("options", "said"),
  [
    ({"bpm": 100}, "bpm: StemGen hears none"),
    ({"activity": {"drums": [(0, 1)]}}, "activity: StemGen hears none"),
    ({"negative": "noise"}, "negative: StemGen hears none"),
    ({"guidance_in_turn": True}, "guidance_in_turn: StemGen looks at all at once"),
    ({"guidance": {"words": 2}}, "guidance of words"),
    ({"guidance": {"words": 2}}, "say context=2,rest=3"),
    ({"guidance": {"type": 2}}, "guidance of type: StemGen weighs .* say context=2,rest=3"),
    ({"bpm": 0}, "bpm: StemGen hears none"),
    ({"negative": ""}, "negative: StemGen hears none, for it reads no text; leave it out"),
    ({"share_noise": False}, "share_noise: .* leave --own-noise out"),
    ({"share_noise": "no"}, "share_noise: .* leave --own-noise out"),
    ({"stems": ["drums", "keys"], "passes": 1}, "passes: got 1, .* leave it out"),
    ({"passes": 5}, "passes: got 5"),
    ({"passes": 0}, "passes: got 0"),
    ({"passes": True}, "passes: got True, expected a whole number"),
    ({"stems": ["drums: loud"]}, "words for 'drums': StemGen reads no text"),
    ({"stems": ["zither"]}, "unknown stem type 'zither'"),
  ],
)
def test_what_it_cannot_do_is_refused_in_one_line(pipe, options, said):
  with pytest.raises(UsageError, match=said) as error:
    pipe.generate("a title", **{"stems": ["drums"], **options})
  assert "\n" not in str(error.value)


def test_what_it_does_anyway_may_be_said(pipe):
  for passes in (1, "K", None):
    assert pipe.generate("one", ["drums"], passes=passes).info["sampler"]["passes"] == 1


def test_weights_that_it_has_not_are_refused_in_edits_with_those_it_has(pipe, song):
  for weights in ({"type": 2}, {"words": 2}):
    for edit in (
      lambda weights=weights: pipe.again(song, guidance=weights),
      lambda weights=weights: pipe.follow(song.stems, "a title", ["keys"], guidance=weights),
    ):
      with pytest.raises(UsageError, match=r"guidance of .* say context=2,rest=3"):
        edit()


def test_a_prompt_that_nobody_reads_is_told_so_once(pipe, song, told):
  read = "this model reads no text: a prompt is a title, and changes no sound"
  pipe.again(song, ["drums"])
  assert read not in told
  pipe.again(song, ["drums"], prompt="louder")
  pipe.follow({"drums": song.stems["drums"]}, "a title", ["keys"])
  assert told.count(read) == 2


def test_a_variation_made_alone_is_that_of_several(pipe):
  both = pipe.variations("a", ["drums"], count=2, seed=7)
  (alone,) = pipe.variations("a", ["drums"], count=1, first=1, seed=7)
  np.testing.assert_array_equal(alone.stems["drums"], both[1].stems["drums"])
  assert (alone.stems["drums"] != both[0].stems["drums"]).any()


def test_a_song_that_is_no_sound_is_named_by_the_number_of_its_variation(pipe, monkeypatch):
  decode = Codec.decode
  monkeypatch.setattr(Codec, "decode", lambda *asked: decode(*asked) + np.float32(np.nan))
  with pytest.raises(DivergedError, match="seed 7, variation 3;"):
    pipe.variations("a", ["drums"], count=1, first=2, seed=7)


def test_a_variation_of_codes_is_refused(pipe, song):
  with pytest.raises(UsageError, match="vary: StemGen keeps a code or makes it anew"):
    pipe.edit(song, "vary", strength=0.5)


def test_codes_are_passed_on_with_their_notice_and_averaged_with_nothing(workdir, tmp_path):
  (workdir / "model" / "NOTICE.txt").write_text("By somebody.")
  made = export_code_bundle(workdir, tmp_path / "out", half=True, licence="CC0-1.0")
  assert made.config["licence"] == "CC0-1.0"
  assert (made.directory / "NOTICE.txt").read_text() == "By somebody.\n"
  with pytest.raises(UsageError, match="is averaged with no other"):
    export_code_bundle(workdir, tmp_path / "other", average=made.directory)


def test_the_full_network_has_the_papers_size():
  said = main.describe(configs.get_config())
  assert "20 s of 32000 Hz: 1000 frames of 640 samples" in said
  assert "4,000 tokens a song" in said
  blocks = next(line for line in said.splitlines() if line.strip().startswith("blocks"))
  assert int(blocks.split()[-1].replace(",", "")) == pytest.approx(12 * 1024**2 * 20, rel=1e-3)
