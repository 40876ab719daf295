"""The research door: wrong command lines, workdirs of another config, the table of parameters."""

import importlib
import json
import math
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from configs import c_ii, musicgen_stem, stemgen
from stemphonic_jax import main
from stemphonic_jax.errors import (
  DivergedError,
  MismatchError,
  MissingError,
  OutputError,
  UsageError,
)
from stemphonic_jax.systems import numbers, stemphonic
from stemphonic_jax.systems.catalogue import system_of

ROOT = Path(__file__).resolve().parents[1]


def process(*arguments):
  """The command as a person runs it, from the checkout."""
  return subprocess.run(
    [sys.executable, "-m", "stemphonic_jax.main", *arguments],
    cwd=ROOT,
    capture_output=True,
    text=True,
  )


TINY = "--config=configs/c_ii.py:tiny"


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    ((), "--config is missing"),
    (("--config=configs/c_iii.py", "--mode=describe"), "configs/c_iii.py"),
    (("--config=configs/c_ii.py:huge", "--mode=describe"), "config size: got 'huge'"),
    ((TINY, "--mode=sing"), "train_vae|prepare|train|generate|describe"),
    (
      (TINY, "--mode=describe", "--config.train.stepz=3"),
      "no entry 'stepz', did you mean 'steps'?",
    ),
    ((TINY, "--mode=describe", "--config.nope=3"), "no entry 'nope'; what it has is in"),
    (
      ("--config=configs/stemgen.py:tiny", "--mode=describe", "--config.train.lora.rank=4"),
      "no entry 'lora'; what it has is in configs/stemgen.py",
    ),
    (("--config=configs", "--mode=describe"), "--config=configs: no such file"),
    ((TINY, "--mode=describe", "--config.train.steps=many"), "--config.train.steps=many"),
    ((TINY, "--mode=describe", "--workdri=x"), "workdri"),
    ((TINY, "--mode=describe", "again"), "unexpected argument 'again'"),
    ((TINY, "--mode=describe", "--config.dit.dtype=float16"), "dit.dtype: got 'float16'"),
  ],
  ids=str,
)
def test_a_wrong_command_line_is_one_line(arguments, message):
  done = process(*arguments)
  assert (done.returncode, done.stdout) == (2, "")
  assert done.stderr.startswith("stemphonic: error: ")
  assert message in done.stderr
  assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("number", [math.nan, math.inf, -1.0])
def test_a_number_that_no_config_has_is_named(number):
  config = c_ii.get_config("tiny")
  main._check_numbers(config)
  config.seconds = number
  with pytest.raises(UsageError, match=f"seconds: got {number}, expected a finite number"):
    main._check_numbers(config)


@pytest.mark.parametrize(
  ("size", "encoder", "message"),
  [
    ("tiny", "t5", "got 't5', for which there is no text.path; take the config without :small"),
    ("", "learned", "no text.vocabulary; take the config with :small"),
    ("", "bert", "got 'bert', expected t5 or learned"),
  ],
)
def test_a_text_encoder_of_another_size_is_named_at_once(size, encoder, message):
  config = c_ii.get_config(size)
  numbers.check(config)
  config.text.encoder = encoder
  with pytest.raises(UsageError, match=message):
    numbers.check(config)


def test_times_around_any_mean_are_a_config():
  config = c_ii.get_config("tiny")
  config.timestep.mean = -0.5
  main._check_numbers(config)
  config.timestep.mean = float("inf")
  with pytest.raises(UsageError, match=r"timestep\.mean: got inf, expected a finite number$"):
    main._check_numbers(config)


def test_a_workdir_that_cannot_be_is_one_line(tmp_path):
  (tmp_path / "file").touch()
  done = process(TINY, "--mode=prepare", f"--workdir={tmp_path}/file/run")
  assert (done.returncode, done.stdout) == (73, "")
  assert re.fullmatch(r"stemphonic: error: .*/file/run: cannot be written \(.*\)\n", done.stderr)


def test_the_paper_is_described_from_shapes_alone():
  done = process("--config=configs/c_ii.py", "--mode=describe")
  assert (done.returncode, done.stderr) == (0, "")
  lines = done.stdout.partition("\n\n")[0].splitlines()
  assert lines[0] == "32 s of 44100 Hz: 394 frames of 3584 samples, 64 channels"
  counts = {name: int(count.replace(",", "")) for name, count in map(str.split, lines[1:])}
  assert 1.1e9 < counts["dit"] < 1.2e9
  assert 140e6 < counts["vae"] < 160e6
  assert counts["vae"] == counts["encoder"] + counts["decoder"]
  assert sum(counts.values()) == 2 * (counts["vae"] + counts["dit"])  # each whole and in parts


def test_the_table_of_a_learned_encoder_names_its_parts():
  table = main.describe(c_ii.get_config("tiny"))
  assert "4 s of 44100 Hz: 50 frames of 3584 samples, 8 channels" in table
  assert re.search(r"^  text_encoder +[\d,]+$", table, re.MULTILINE)


@pytest.mark.parametrize(
  ("name", "change", "message"),
  [
    ("c_ii", {"sample.steps": 0}, r"sample\.steps: got 0"),
    ("c_ii", {"sample.interval": (3, 2)}, r"sample\.interval: got 3 to 2, .* within 1 to 4"),
    ("c_ii", {"text.length": 0}, r"text\.length: got 0"),
    ("c_ii", {"data.corpus": 7, "data.records": "somewhere"}, r"data\.corpus: got 7"),
    ("ensemble", {"sample.guidance": 50.0}, "guidance: got 50"),
    ("ensemble", {"data.share_noise": 2.0}, r"data\.share_noise: got 2"),
    ("ensemble", {"sample.noise_share": 3.0}, r"sample\.noise_share: got 3"),
    ("distilled", {}, "there is no teacher"),
    ("distilled", {"init_from": "demo", "distil.to": 3}, "distil: got 3 steps"),
    ("distilled", {"init_from": "demo", "distil.interval": (3, 2)}, "interval: got 3..2"),
    ("musicgen_stem", {"sample.guidance": 50.0}, "guidance: got 50"),
    ("stemgen", {"network.width": 0}, r"network\.width: got 0"),
    ("stemgen", {"network.heads": 3}, "width 64 does not divide into 3 heads of even width"),
    ("stemgen", {"network.dtype": "int8"}, r"network\.dtype: got 'int8', expected 'float32' or"),
    ("stemgen", {"network.remat": "foo"}, r"network\.remat: got 'foo', expected 'none' or"),
    ("stemgen", {"data.segment": 1.0}, r"data\.segment: got 1 s, expected as long as a crop"),
    ("stemgen", {"codec.stems.levels": 200}, r"codec\.stems\.levels: got 200, expected a whole"),
    ("stemgen", {"sample.top_k": 100_000}, r"sample\.top_k: got 100000, expected .* 0 to 65536"),
    ("stemgen", {"train.optimizer": "sgd"}, r"train\.optimizer: got 'sgd', expected 'adamw'"),
    ("musicgen_stem", {"network.heads": 5}, "width 48 does not divide into 5 heads of even width"),
    ("musicgen_stem", {"text.heads": 7}, "text: width 64 does not divide into 7 heads"),
    ("musicgen_stem", {"codec.bass.entries": 16}, "entries bass 16, drums 32, other 32, expected"),
    ("musicgen_stem", {"data.segment": 1.0}, r"data\.segment: got 1 s, expected as long as"),
    ("musicgen_stem", {"sample.top_k": 100_000}, r"sample\.top_k: got 100000, expected .* 65536"),
    ("c_ii", {"dit.heads": 3}, "dit: width 64 does not divide into 3 heads of even width"),
    ("c_ii", {"dit.dtype": "int8"}, r"dit\.dtype: got 'int8', expected 'float32' or 'bfloat16'"),
    ("c_ii", {"dit.remat": "foo"}, r"dit\.remat: got 'foo', expected 'none' or"),
    ("c_ii", {"train_vae.optimizer": "sgd"}, r"train_vae\.optimizer: got 'sgd'"),
    ("stemgen", {"seconds": 0.05}, r"seconds: got 0\.05, expected 0\.1 at least"),
  ],
)
def test_what_no_stage_can_use_is_said_before_the_first(name, change, message):
  config = importlib.import_module(f"configs.{name}").get_config("tiny")
  with config.ignore_type():
    config.update_from_flattened_dict(change)
  with pytest.raises(UsageError, match=message):
    system_of(config).check(config)


SHARES = {
  "c_ii": (
    *("dropout.text", "dropout.bpm", "dropout.context", "dropout.activity", "data.max_bad"),
    *("data.context_clause_dropout", "data.words_dropout", "data.known.given", "data.known.repair"),
    *("data.known.extend", "data.soundfont_share", "sample.noise_share", "train.ema_decay"),
  ),
  "stemgen": ("dropout.conditions", "dropout.neither", "train.smoothing", "train.decay_to"),
  "musicgen_stem": ("dropout.text", "dropout.bpm", "editing.share", "train.ema_decay"),
}


@pytest.mark.parametrize(
  ("name", "share"), [(name, share) for name, shares in SHARES.items() for share in shares]
)
def test_a_share_of_any_system_is_within_0_and_1(name, share):
  config = importlib.import_module(f"configs.{name}").get_config("tiny")
  for value in (0.0, 1.0):
    config.update_from_flattened_dict({share: value})
    system_of(config).check(config)
  for value in (-0.1, 1.5, math.nan):
    config.update_from_flattened_dict({share: value})
    with pytest.raises(UsageError, match=f"{share}: got {value}, expected a share from 0 to 1"):
      system_of(config).check(config)


@pytest.mark.parametrize("size", ["", "tiny"])
@pytest.mark.parametrize("name", [p.stem for p in Path("configs").glob("*.py") if p.stem != "base"])
def test_what_configs_say_can_be_used(name, size):
  config = importlib.import_module(f"configs.{name}").get_config(size)
  config.init_from = config.init_from or "demo"
  system_of(config).check(config)


def test_a_workdir_is_claimed_once(tmp_path):
  config = c_ii.get_config("tiny")
  main.claim(config, tmp_path / "deep" / "run")
  main.claim(config, tmp_path / "deep" / "run")
  assert [path.name for path in (tmp_path / "deep" / "run").iterdir()] == ["config.json"]


@pytest.mark.parametrize(
  ("change", "message"),
  [
    (lambda config: config.update(seed=1), "seed = 0, now it is 1"),
    (lambda config: config.dit.update(width=128), "dit.width = 64, now it is 128"),
    (lambda config: config.vae.update(strides=(2, 4)), r"vae.strides = \[64, 56\], now it"),
    (lambda config: config.data.update(share_noise=False), "data.share_noise = True, now it is"),
    (lambda config: config.update(extra=3), "extra = None, now it is 3"),
  ],
)
def test_a_workdir_of_another_config_is_refused_by_the_key_that_differs(tmp_path, change, message):
  main.claim(c_ii.get_config("tiny"), tmp_path)
  other = c_ii.get_config("tiny")
  other.unlock()
  change(other)
  with pytest.raises(MismatchError, match=f"was made with {message}.*take another --workdir"):
    main.claim(other, tmp_path)


def test_a_workdir_of_another_system_is_refused_by_its_name(tmp_path):
  main.claim(stemgen.get_config("tiny"), tmp_path)
  message = r"was made with system = 'stemgen', now it is 'musicgen-stem'; .*another --workdir"
  with pytest.raises(MismatchError, match=message):
    main.claim(musicgen_stem.get_config("tiny"), tmp_path)


def test_a_workdir_in_which_nothing_was_made_says_how_to_have_it(tmp_path):
  main.claim(c_ii.get_config("tiny"), tmp_path)
  other = c_ii.get_config("tiny")
  other.seed = 1
  with pytest.raises(MismatchError, match=r"nothing was made in it: .*remove .*config\.json"):
    main.claim(other, tmp_path)
  (tmp_path / "vae").mkdir()
  with pytest.raises(MismatchError, match=r"now it is 1; take another --workdir$"):
    main.claim(other, tmp_path)


def test_a_run_goes_on_where_options_that_it_lacks_are_off(tmp_path):
  config = c_ii.get_config("tiny")
  main.claim(config, tmp_path)
  older = json.loads((tmp_path / "config.json").read_text())
  del older["dit"]["ensemble"], older["data"]["known"], older["data"]["words_dropout"]
  (tmp_path / "config.json").write_text(json.dumps(older))
  main.claim(config, tmp_path)
  config.dit.ensemble = True
  with pytest.raises(MismatchError, match=r"dit\.ensemble = None, now it is True"):
    main.claim(config, tmp_path)


def test_a_run_may_be_made_longer_and_sampled_otherwise(tmp_path):
  main.claim(c_ii.get_config("tiny"), tmp_path)
  longer = c_ii.get_config("tiny")
  longer.train.steps = 100
  longer.train_vae.save_every = 50
  longer.sample.guidance = 5.0
  longer.generate.songs = 8
  main.claim(longer, tmp_path)


@pytest.mark.parametrize(
  ("given", "code"),
  [("init_from=nope", 66), ("data.records=typo", 2), ("data.root=typo", 66)],
)
def test_a_run_that_was_refused_leaves_its_workdir_to_any_other(tmp_path, given, code):
  (tmp_path / "run").mkdir()
  source = ("--config.data.source=folder", "--config.train_vae.batch_size=8")
  done = process(TINY, *source, f"--config.{given}", f"--workdir={tmp_path}/run")
  assert done.returncode == code, done.stderr
  assert list((tmp_path / "run").iterdir()) == []


def test_a_workdir_in_which_something_was_made_is_not_given_back(tmp_path):
  config = c_ii.get_config("tiny")
  assert main.claim(config, tmp_path)
  assert not main.claim(config, tmp_path)  # it is this config's already
  (tmp_path / "vae").mkdir()
  main.give_back(tmp_path)
  assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "vae"]


def test_of_configs_that_claim_a_workdir_at_once_one_has_it(tmp_path, monkeypatch):
  first, second = c_ii.get_config("tiny"), c_ii.get_config("tiny")
  second.seed = 1
  link = main.os.link

  def late(*paths):
    monkeypatch.setattr(main.os, "link", link)
    main.claim(first, tmp_path)
    link(*paths)

  monkeypatch.setattr(main.os, "link", late)
  with pytest.raises(MismatchError, match="was made with seed = 0, now it is 1"):
    main.claim(second, tmp_path)
  assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_a_file_system_without_links_has_workdirs(tmp_path, monkeypatch):
  def refuse(*_):
    raise PermissionError(1, "Operation not permitted")

  monkeypatch.setattr(main.os, "link", refuse)
  assert main.claim(c_ii.get_config("tiny"), tmp_path)
  assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


@pytest.mark.parametrize(
  "text", ["[]", "{", "3", '{"places": [1]}', '{"data": {"root": 5}}', "\xff"]
)
def test_a_config_that_is_of_no_run_is_one_plain_line(tmp_path, text):
  (tmp_path / "config.json").write_bytes(text.encode("latin-1"))
  with pytest.raises(MismatchError) as error:
    main.claim(c_ii.get_config("tiny"), tmp_path)
  assert "object has no" not in str(error.value)
  assert str(error.value).endswith("take another --workdir")


def test_a_song_is_no_workdir(tmp_path):
  (tmp_path / "song.json").write_text("{}")
  with pytest.raises(OutputError, match="is the folder of a song; take another --workdir"):
    main.claim(c_ii.get_config("tiny"), tmp_path)
  assert [path.name for path in tmp_path.iterdir()] == ["song.json"]


def test_a_workdir_below_a_file_cannot_be_claimed(tmp_path):
  (tmp_path / "file").touch()
  with pytest.raises(OutputError, match="cannot be written"):
    main.claim(c_ii.get_config("tiny"), tmp_path / "file" / "run")


def test_a_model_that_lost_a_file_is_said_in_one_line(tmp_path, monkeypatch):
  monkeypatch.setattr(stemphonic, "train", lambda *_: None)  # it is done
  monkeypatch.setattr(main.logging, "info", lambda *_: pytest.fail("there is no whole model"))
  (tmp_path / "model").mkdir()
  (tmp_path / "model" / "manifest.json").write_text('{"config.json": {}, "dit.safetensors": {}}')
  (tmp_path / "model" / "config.json").touch()
  message = r"model: dit\.safetensors missing; put a copy there, or remove the newest folder of .*"
  with pytest.raises(MissingError, match=message + "/dit/checkpoints and start again"):
    main.train(c_ii.get_config("tiny"), tmp_path)
  (tmp_path / "model" / "manifest.json").unlink()
  with pytest.raises(MissingError, match=r"model: manifest\.json missing"):
    main.train(c_ii.get_config("tiny"), tmp_path)


def test_songs_of_a_run_are_made_though_one_is_no_sound(monkeypatch, tmp_path):
  """The others are saved, and the run says in the end which is missing."""
  pieces = [
    SimpleNamespace(caption=f"song {k}", types=("drums",), audible=[True], bpm=math.nan)
    for k in range(3)
  ]
  saved = []

  class Pipe:
    def __init__(self, bundle, encode_text):
      assert encode_text is None

    def generate(self, prompt, **options):
      if prompt == "song 1":
        raise DivergedError("the model made NaN")
      return SimpleNamespace(save=lambda out, overwrite: saved.append(out.name))

  monkeypatch.setattr("stemphonic_jax.systems.stemphonic.open_unseen", lambda folder: pieces)
  monkeypatch.setattr("stemphonic_jax.generation.pipeline.StemPipeline", Pipe)
  monkeypatch.setattr("stemphonic_jax.weights.bundle.load_bundle", lambda model: None)
  with pytest.raises(DivergedError, match="1 of 3 songs are not there; the model made NaN"):
    stemphonic.songs(c_ii.get_config("tiny"), tmp_path, tmp_path, tmp_path / "songs", 3)
  assert saved == ["0", "2"]
