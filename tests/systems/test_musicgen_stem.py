"""MusicGen-Stem, shrunk, goes the whole way: codecs, records, training, songs and edits of them."""

import functools
import itertools
import json
import math
import shutil
import time
from dataclasses import replace

import jax
import numpy as np
import pytest

from configs import c_ii, musicgen_stem
from stemphonic_jax import cli, main
from stemphonic_jax.data.preparing.parts import InParts, in_parts
from stemphonic_jax.errors import MismatchError, UsageError
from stemphonic_jax.evaluation.shown import figures, sheet
from stemphonic_jax.evaluation.songs.trained import open_model
from stemphonic_jax.evaluation.tables import accompanying, compared, continuing, prompts, repairing
from stemphonic_jax.evaluation.tables.basis import Options
from stemphonic_jax.generation.pipeline import StemPipeline
from stemphonic_jax.generation.saved import load_song
from stemphonic_jax.systems import musicgen_stem as system
from stemphonic_jax.training.distributed.mesh import make_mesh
from stemphonic_jax.training.inputs.codes import load_codecs, open_coded
from stemphonic_jax.training.inputs.start import start_codes
from stemphonic_jax.training.run import state
from stemphonic_jax.training.run.optimizer import build_optimizer
from stemphonic_jax.training.trainers import coded
from stemphonic_jax.weights.files import digest
from stemphonic_jax.weights.models import describe
from stemphonic_jax.weights.models import open_model as open_any
from stemphonic_jax.weights.networks import init_musicgen
from stemphonic_jax.weights.signed import sign
from stemphonic_jax.weights.tensors import materialize
from tests import tiny

pytestmark = pytest.mark.usefixtures("one_device")
STEMS = ["basses", "drums", "other"]


@pytest.fixture(scope="module")
def config():
  config = musicgen_stem.get_config("tiny")
  config.network.update(width=32, depth=1)
  config.train.update(decay=0, save_every=10)
  return config


@pytest.fixture(scope="module")
def prepared(config, tmp_path_factory):
  """A workdir with codecs, records and a tokenizer."""
  folder = tmp_path_factory.mktemp("musicgen_stem")
  main.claim(config, folder)
  main.train_vae(config, folder)
  main.prepare(config, folder)
  return folder


@pytest.fixture(scope="module")
def step():
  """Has trainings, which are all of one config here, share a compiled step."""
  with pytest.MonkeyPatch.context() as patch:
    make, made = state.train_step, []

    def once(*arguments, **options):
      made.append(made[0] if made else make(*arguments, **options))
      return made[0]

    patch.setattr(state, "train_step", once)
    yield


@pytest.fixture(scope="module")
def trained(config, prepared, step):
  """The same workdir after three steps, with a stop after the first, without a preview."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(system, "songs", lambda *_: None)
    for steps in (1, 3):
      config.train.steps = steps
      main.train(config, prepared)
  return prepared


@pytest.fixture(scope="module")
def pipe(trained):
  return StemPipeline.load(trained)


@pytest.fixture(scope="module")
def song(pipe):
  return pipe.generate("a slow blues", STEMS, bpm=96, seed=3)


def codes(song):
  return {name: np.asarray(z) for name, z in song.latents.items()}


def test_a_run_that_stopped_goes_on_as_if_it_had_not(config, trained, tmp_path, monkeypatch):
  monkeypatch.setattr(system, "songs", lambda *_: None)
  for name in ("codecs", "records"):
    shutil.copytree(trained / name, tmp_path / name)
  shutil.copy(trained / "tokenizer.model", tmp_path)
  main.train(config, tmp_path)
  networks = [digest(folder / "model" / "network.safetensors") for folder in (trained, tmp_path)]
  assert networks[0] == networks[1]
  lines = (trained / "musicgen" / "metrics.jsonl").read_text().splitlines()
  logged = [json.loads(line) for line in lines]
  assert [line["step"] for line in logged if "held_out_loss" in line] == [1, 3]
  assert "held_out_loss_bass" in logged[-2] | logged[-1]


def test_songs_of_held_out_pieces_are_made_and_what_is_done_stays(config, trained):
  files = [path for path in trained.rglob("*") if path.is_file()]
  before = {path: path.stat().st_mtime_ns for path in files}
  main.train_vae(config, trained)
  main.prepare(config, trained)
  main.generate(config, trained)
  assert before == {path: path.stat().st_mtime_ns for path in before}
  info = json.loads((trained / "songs" / "0" / "song.json").read_text())
  assert {stem["type"] for stem in info["stems"].values()} <= set(STEMS)
  assert "musicgen-stem" in describe(StemPipeline.load(trained).bundle)


def test_what_stays_comes_back_bit_equal_and_equal_requests_are_equal_songs(pipe, song, tmp_path):
  same = pipe.generate("a slow blues", STEMS, bpm=96, seed=3)
  assert all(np.array_equal(song.stems[name], same.stems[name]) for name in STEMS)
  song.save(tmp_path / "song")
  saved = load_song(tmp_path / "song")
  anew = pipe.again(saved, ["drums"])
  for name in ("basses", "other"):
    np.testing.assert_array_equal(anew.stems[name], saved.stems[name])
    np.testing.assert_array_equal(codes(anew)[name], codes(song)[name])
  assert (codes(anew)["drums"] != codes(song)["drums"]).any()
  part = pipe.again(anew, ["other"], range=(0.5, 1.0))
  made = (codes(part)["other"] != codes(anew)["other"]).any(1)
  assert made[25:50].any()
  assert not made[:25].any()
  assert not made[50:].any()
  beside = pipe.add(song.remove(["basses"]), ["basses"])
  np.testing.assert_array_equal(codes(beside)["drums"], codes(song)["drums"])
  redone = pipe.replay(part)
  assert all(np.array_equal(redone.stems[name], part.stems[name]) for name in STEMS)


def test_a_song_goes_on_after_what_is_there(pipe, song):
  longer = pipe.extend(song, 3.0)
  assert longer.samples == 3 * pipe.rate
  for name in STEMS:
    np.testing.assert_array_equal(codes(longer)[name][:100], codes(song)[name])
    assert len(codes(longer)[name]) == 150


def test_given_stems_are_heard_as_the_part_they_belong_to(pipe, song):
  given = {"guitars": song.stems["other"], "keys": song.stems["other"]}
  made = pipe.generate("a slow blues", ["drums"], context=given)
  assert list(made.stems) == ["guitars", "keys", "drums"]
  np.testing.assert_array_equal(made.stems["keys"], song.stems["other"])


REFUSED = {
  r"stem 'guitars': musicgen-stem makes basses, drums, other": dict(stems=["guitars"]),
  "words for one stem: musicgen-stem does not": dict(stems=["drums: loud"]),
  "activity: this model was trained without it": dict(activity={"drums": [(0, 1)]}),
  "passes: musicgen-stem does not": dict(passes="K"),
  "steps: musicgen-stem does not": dict(steps=8),
  "passes: musicgen-stem does not do that; it makes all stems in one; leave": dict(passes=True),
  "share_noise: .* leave --own-noise out": dict(share_noise=False),
  "guidance_in_turn: .* leave --guidance-in-turn out": dict(guidance_in_turn=True),
  "stems: 'drums' twice; musicgen-stem makes one of each; name it": dict(stems=["drums", "drums"]),
  "negative: musicgen-stem does not": dict(negative="noise"),
  "guidance by condition: musicgen-stem does not": dict(guidance={"words": 2}),
  "hears bass, drums and other, each by itself": dict(context=np.zeros((32_000, 2))),
  r"stem 'drums': is there already \(percussion\)": dict(
    context={"percussion": np.zeros((32_000, 2))}
  ),
}


@pytest.mark.parametrize("message", REFUSED, ids=lambda text: text[:20])
def test_what_it_cannot_do_is_one_line(message, pipe, monkeypatch):
  monkeypatch.setattr(pipe, "_decode", None)
  with pytest.raises(UsageError, match=message):
    pipe.generate("a slow blues", **{"stems": ["drums"], **REFUSED[message]})


def test_edits_it_cannot_do_are_one_line(pipe, song, monkeypatch):
  monkeypatch.setattr(pipe, "_decode", None)
  for edit, options in {
    "extend": {"seconds": 3.0, "left": True},
    "again": {"range": (0.5, 1.0)},
    "vary": {"strength": 0.5},
  }.items():
    with pytest.raises(UsageError, match=r"musicgen-stem (does not do that|writes from left)"):
      getattr(pipe, edit)(song, **options)
  for options in ({"steps": 8}, {"guidance": {"foo": 2}}):
    with pytest.raises(UsageError, match="musicgen-stem does not do that"):
      pipe.again(song, **options)
  with pytest.raises(UsageError, match=r"'basses' and 'basses 2': musicgen-stem makes one of each"):
    pipe.add(song.remove(["basses"]), ["basses", "basses"])


def test_codes_beyond_the_entries_of_their_own_codec_are_none(pipe, song):
  frames = len(song.latents["drums"])
  assert pipe.fits(song.latents["drums"], "drums", frames)
  for wrong in (999, -1, 0.5, math.nan):
    assert not pipe.fits(np.full((frames, 1), wrong), "drums", frames)


@pytest.mark.parametrize(
  ("part", "fields", "message"),
  [
    ("codec", {"bass": {"stride": 320}}, "codec: samples in a frame bass 320, drums 640"),
    ("text", {"vocabulary": 20}, r"the tokenizer has \d+ ids, the text encoder 20"),
  ],
)
def test_a_folder_whose_parts_do_not_fit_is_not_opened(trained, tmp_path, part, fields, message):
  folder = shutil.copytree(trained / "model", tmp_path / "model")
  path = folder / "config.json"
  config = json.loads(path.read_text())
  for name, value in fields.items():
    config[part][name] = config[part][name] | value if isinstance(value, dict) else value
  path.write_text(json.dumps(config))
  sign(folder, [])
  with pytest.raises(MismatchError, match=message):
    open_any(folder)


def test_given_stems_that_cannot_go_on_are_named_with_what_to_do(pipe, song):
  given = {"keys": song.stems["other"], "vocals": song.stems["other"]}
  followed = pipe.follow(given, "to it", ["drums"])
  with pytest.raises(UsageError, match=r"keys, vocals: .* --stems keys,vocals`"):
    pipe.extend(followed, 3.0)
  assert pipe.extend(followed.remove(["keys", "vocals"]), 3.0).samples == 96_000


def test_a_run_may_start_from_a_model(config, trained, tmp_path, monkeypatch):
  further = config.copy_and_resolve_references()
  further.init_from = str(trained)
  main.train_vae(further, tmp_path)
  for path in (trained / "codecs").glob("*/*.safetensors"):
    assert digest(path) == digest(tmp_path / path.relative_to(trained))
  start = start_codes(further)
  fresh = functools.partial(init_musicgen, start.network)
  create = coded.initial(start, fresh, build_optimizer(further.train), jax.random.key(0))
  begun = state.initial(create, make_mesh()).model
  jax.tree.map(np.testing.assert_array_equal, begun, materialize(start.params))
  further.data.records = str(trained / "records")
  open_run = functools.partial(coded.open_run, further, tmp_path, "musicgen", config.data.segment)
  assert open_run().start.directory == start.directory
  (tmp_path / "tokenizer.model").write_bytes(tiny.tokenizer().model)
  with pytest.raises(MismatchError, match=r"is not that of .* whose texts"):
    main.train(further, tmp_path)
  other = {**start.codecs, "drums": replace(start.codecs["drums"], sha256="another")}
  monkeypatch.setattr(coded, "start_codes", lambda _: replace(start, codecs=other))
  with pytest.raises(MismatchError, match="was trained with another codec 'drums'"):
    open_run()
  (tmp_path / "vae.safetensors").touch()
  further.init_from = str(tmp_path)
  with pytest.raises(MismatchError, match="has an autoencoder and no model"):
    start_codes(further)
  further.init_from = "demo"
  with pytest.raises(
    MismatchError, match="is a model of stemphonic, expected one of musicgen-stem"
  ):
    main.train_vae(further, tmp_path / "other")


def test_records_of_other_codecs_or_of_latents_are_refused(config, prepared, tmp_path):
  codecs = load_codecs(config, prepared)
  records = prepared / "records" / "train"
  assert open_coded(records, codecs, 125).index.statistics is None
  codecs["drums"].fingerprint = "another"
  with pytest.raises(MismatchError, match="coded by another codec of 'drums'"):
    open_coded(records, codecs, 125)
  latents = c_ii.get_config("tiny")
  latents.data.records, latents.init_from = str(prepared / "records"), str(prepared)
  with pytest.raises(MismatchError, match="was prepared with frames = 125"):
    main.train_vae(latents, tmp_path)


def test_the_network_of_the_paper_is_medium():
  said = main.describe(musicgen_stem.get_config())
  assert "network                            1,851,323,904" in said
  assert "128 rows of 1501 columns" in said
  assert "9,000 tokens a song" in said


def test_a_variation_made_alone_is_that_of_several(pipe):
  both = pipe.variations("a", STEMS, count=2, seed=7)
  (alone,) = pipe.variations("a", STEMS, count=1, first=1, seed=7)
  for name, audio in both[1].stems.items():
    np.testing.assert_array_equal(alone.stems[name], audio)
  assert any((alone.stems[name] != audio).any() for name, audio in both[0].stems.items())


def test_what_is_of_latents_refuses_it_at_once(trained, tmp_path):
  others = {
    ("bench", "generation"): "--peer torch",
    ("bench", "vae"): "--peer torch",
    ("prepare", "folder", "nowhere", str(tmp_path)): "--mode=prepare",
  }
  for command, instead in others.items():
    with pytest.raises(UsageError, match=f"is a model of musicgen-stem, .*{instead}"):
      cli.run([*command, "--model", str(trained)])


def test_models_of_all_systems_are_asked_for_the_same_songs(pipe, trained, tmp_path, monkeypatch):
  monkeypatch.setattr(figures, "scores_figure", lambda *_: None)
  clock = itertools.count()  # which hearing takes a long time by
  monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
  slow = lambda mix: (in_parts(mix), [next(clock) for _ in range(1000)])[0]  # noqa: E731
  monkeypatch.setattr(compared, "in_parts", slow)
  model = tmp_path / "model_0"
  shutil.copytree(tiny.model(), model)
  options = Options(songs=1, reference=1, seconds=2.0)
  measured = compared.measure([model, trained], tmp_path / "out", options)
  rows = {line.label: line for line in measured.sheets[0].lines}
  assert list(rows) == ["model", trained.name, "real", "shuffled", "noise"]
  assert int(rows[trained.name].columns[1].replace(",", "")) == sum(
    math.prod(leaf.shape) for leaf in jax.tree.leaves(pipe.bundle.params)
  )
  for name in ("model", trained.name):
    assert 0 < rows[name].seconds.value < 1000
    assert rows[name].scores["identity"].n == 1
  monkeypatch.setattr(compared, "asked_of", lambda *_: pytest.fail("made again"))
  again = compared.measure([model, trained], tmp_path / "out", options)
  assert sheet.markdown(again.sheets[0]) == sheet.markdown(measured.sheets[0])
  with pytest.raises(UsageError, match="makes 2 at most"):
    compared.measure([model, trained], tmp_path / "out", Options(songs=1, seconds=3.0))
  for refuse in (open_model, functools.partial(prompts.measure, out=tmp_path, options=options)):
    with pytest.raises(UsageError, match=r"is a model of musicgen-stem.*--systems"):
      refuse(trained)
  for table in (repairing, continuing, accompanying):
    with pytest.raises(UsageError, match=r"makes basses, drums, other, and this .*--systems"):
      table.measure(trained, tmp_path / table.__name__, options)
    assert not (tmp_path / table.__name__).exists()
  mix = InParts(measured.real)[0]
  assert list(mix.stems) == ["bass", "drums", "other"]
  assert pipe.stems_for(["drums", "percussion", "keys"]) == ["drums", "other"]
