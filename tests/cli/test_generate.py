"""`stemphonic generate`: what it makes, and one line with a fitting code for what it cannot."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from stemphonic_jax.generation.pipeline import StemPipeline
from tests import tiny

PROMPT = "Relaxing country rock"
THREE = ("--stems", "drums,basses,keys")


@pytest.fixture
def one_pipeline(monkeypatch):
  """The tiny model is loaded once for all tests, others as ever."""
  load, pipe = StemPipeline.load, tiny.pipeline()

  def load_once(directory):
    return pipe if Path(directory) == tiny.model() else load(directory)

  monkeypatch.setattr(StemPipeline, "load", load_once)


@pytest.fixture
def generate(stemphonic, one_pipeline):
  def run(*options, prompt=PROMPT, stems=THREE, out="song", model=None):
    return stemphonic(
      "generate", prompt, *stems, "--out", out, "--model", model or tiny.model(), *options
    )

  return run


def info(folder="song"):
  with open(f"{folder}/song.json") as file:
    return json.load(file)


def test_a_song_is_made_where_it_is_asked_for(generate, tmp_path):
  assert generate("--bpm", 96, "--seed", 3, "--duration", 2, out="deep/song") == (
    0,
    "deep/song\n",
    "",
  )
  names = {"drums.wav", "basses.wav", "keys.wav", "mix.wav"}
  found = {path.name for path in (tmp_path / "deep" / "song").iterdir()}
  assert found == names | {"song.json", "stems.png", "latents.safetensors"}
  request = info("deep/song")["request"]
  assert (request["bpm"], request["seed"], request["duration"]) == (96, 3, 2)
  assert request["prompt"] == PROMPT


def test_a_song_is_the_context_of_another(generate):
  generate(out="first")
  assert generate("--context", "first", stems=("--stems", "vocals"))[0] == 0
  assert info()["request"]["context"] == ["drums", "basses", "keys"]


def test_every_option_reaches_the_song(generate):
  code, _, _ = generate(
    *("--passes", "k", "--guidance", 2, "--steps", 4, "--own-noise"),
    *("--activity", "drums=0-0.5,1-1.5", "basses=0-1", "--activity", "drums=1.6-2"),
    stems=("--stems", " Drum , bass,,guitars"),
  )
  assert code == 0
  made = info()
  sampler = {"steps": 4, "guidance": 2.0, "passes": 3, "share_noise": False}
  assert made["sampler"] | sampler == made["sampler"]
  assert made["request"]["stems"] == ["drums", "basses", "guitars"]
  assert made["request"]["activity"] == {
    "drums": [[0.0, 0.5], [1.0, 1.5], [1.6, 2.0]],
    "basses": [[0.0, 1.0]],
  }


@pytest.mark.parametrize(
  ("stems", "words"),
  [("keys: soft,drums", {"keys": "soft"}), ("keys: soft, dry; drums;", {"keys": "soft, dry"})],
)
def test_semicolons_are_between_stems_whose_words_hold_commas(generate, stems, words):
  assert generate(stems=("--stems", stems))[0] == 0
  made = info()["request"]
  assert (made["stems"], made["words"]) == (["keys", "drums"], words)


def test_guidance_is_a_number_or_weights_and_a_number_among_them_is_of_the_rest(generate):
  ask = ("--bpm", 90, "--guidance", "2,words=2, tempo=2", "--negative", "harsh noise")
  assert generate(*ask, stems=("--stems", "keys"))[0] == 0
  made = info()
  assert made["sampler"]["guidance"] == {"rest": 2, "words": 2, "tempo": 2}
  assert made["request"]["negative"] == "harsh noise"


def test_a_song_is_made_in_a_new_folder_named_by_its_prompt(stemphonic, one_pipeline):
  ask = ("generate", "Soul, and a bit of jazz!", "--stems", "drums", "--model", tiny.model())
  assert stemphonic(*ask) == (0, "runs/soul-and-a-bit-of-jazz\n", "")
  assert stemphonic(*ask, "--seed", 1) == (0, "runs/soul-and-a-bit-of-jazz-2\n", "")
  assert info("runs/soul-and-a-bit-of-jazz")["request"]["seed"] == 0
  assert stemphonic(*ask, "--seed", 2, "--overwrite")[1] == "runs/soul-and-a-bit-of-jazz\n"
  assert info("runs/soul-and-a-bit-of-jazz")["request"]["seed"] == 2
  assert stemphonic("generate", "…", *ask[2:])[1] == "runs/song\n"


def test_variations_are_numbered(generate, tmp_path):
  code, out, _ = generate("--variations", 3)
  assert (code, out) == (0, "song/1\nsong/2\nsong/3\n")
  assert [info(f"song/{n}")["request"]["variation"] for n in (1, 2, 3)] == [0, 1, 2]
  code, _, err = generate("--variations", 4)
  assert code == 73
  assert "song/1: already exists" in err


def test_an_existing_song_is_left_unless_it_may_be_overwritten(generate):
  generate()
  code, out, err = generate("--seed", 1)
  assert (code, out) == (73, "")
  assert err == "stemphonic: error: song: already exists; choose another --out or add --overwrite\n"
  assert info()["request"]["seed"] == 0
  assert generate("--seed", 1, "--overwrite")[0] == 0
  Path("song/vocals.wav").write_text("a take")
  code, out, err = generate("--overwrite", stems=("--stems", "drums,Vocal"))
  assert (code, out) == (73, "")
  assert "song/vocals.wav: is not of what was saved here before" in err
  assert info()["request"]["seed"] == 1


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"prompt": " "}, "the prompt is empty"),
    ({"prompt": "rock " * 2000}, "the prompt has 10000 characters"),
    ({"stems": ("--stems", "")}, "no stems asked for"),
    (
      {"stems": ("--stems", "drumz")},
      "unknown stem type 'drumz'; did you mean 'drums'? types: dru",
    ),
    ({"stems": ("--stems", ",".join(["keys"] * 17))}, "17 stems asked for, expected at most 16"),
    ({"stems": ("--stems", "keys,piano")}, "stems: 'keys' twice in one pass with shared noise"),
    ({"stems": ()}, "the following arguments are required: --stems; see `stemphonic generate"),
    (("--bpm", "nan"), "bpm: got nan, expected 20.0 to 400.0"),
    (("--bpm", "500"), "bpm: got 500.0"),
    (("--bpm", "fast"), "argument --bpm: got 'fast', expected a number; see `stemphonic generate"),
    (("--duration", "3"), "duration: got 3.0, expected 0.1 to 2 s, the longest this model makes"),
    (("--duration", "0"), "duration: got 0.0"),
    (("--duration", "-1"), "duration: got -1.0"),
    (("--seed", "-1"), "seed: got -1, expected 0 to"),
    (("--seed", "9" * 400), "seed: got 999"),
    (("--seed", "0.5"), "argument --seed: got '0.5', expected a whole number"),
    (("--passes", "0"), "passes: got 0, expected 1 to 3 for 3 stems"),
    (("--passes", "5"), "passes: got 5, expected 1 to 3 for 3 stems"),
    (("--passes", "x"), "passes: got 'x', expected a number, or K"),
    (("--steps", "0"), "steps: got 0"),
    (("--guidance", "nan"), "guidance: got nan"),
    (("--guidance", "-1"), "guidance: got -1.0"),
    (("--guidance", "99"), "guidance: got 99.0"),
    (
      ("--guidance", "strong"),
      "guidance 'strong': expected a number, or weights, as in words=3,con",
    ),
    (("--guidance", "2,context=x"), "guidance '2,context=x': expected a number, or weights"),
    (("--guidance", "words=2,words=3"), "guidance 'words=2,words=3': says words twice"),
    (("--guidance", "mood=2"), "guidance: unknown condition 'mood'; conditions: words, stem_words"),
    (("--guidance", "tempo=2"), "guidance of tempo: the request has no tempo; leave it out"),
    (("--negative", ""), "negative: is empty; say what is to be avoided, or leave it out"),
    (("--variations", "0"), "variations: got 0, expected 1 to 64"),
    (("--variations", "9" * 12), "variations: got 999999999999"),
    (("--activity", "drums"), "activity 'drums': expected STEM=START-END"),
    (("--activity", "drums=2-1"), "activity '2-1': expected START-END"),
    (("--activity", "drums=0-x"), "activity '0-x': expected START-END"),
    (("--activity", "drums=0-3"), "activity drums=0-3: expected start < end within 0-2 s"),
    (("--activity", "vocals=0-1"), "activity for 'vocals', which is not asked for; stems: drums"),
    (("--activity", "drumz=0-1"), "unknown stem type 'drumz'"),
    (("--context", ""), "argument --context: got '', expected a path; name the folder here as ."),
    (("--out", " "), "argument --out: got ' ', expected a path"),
    (("--model", ""), "argument --model: got '', expected a path"),
    (("--volume", "11"), "unrecognized arguments: --volume 11; see `stemphonic generate --help`"),
    (("--dur", "1"), "unknown option --dur; did you mean --duration? see `stemphonic generate"),
    ({"stems": ("--stem", "keys")}, "unknown option --stem; did you mean --stems? see"),
    (("basses",), "unrecognized arguments: basses; put text that holds spaces in quotes, and com"),
    (("--context", "C:\\a.wav"), "argument --context: got 'C:\\\\a.wav', a path of Windows;"),
  ],
  ids=lambda value: str(value)[:40],
)
def test_a_wrong_request_is_one_line_and_makes_nothing(generate, tmp_path, options, message):
  named, words = (options, ()) if isinstance(options, dict) else ({}, options)
  code, out, err = generate(*words, **named)
  assert (code, out) == (2, "")
  assert err.startswith(f"stemphonic: error: {message}")
  assert err.count("\n") == 1
  assert list(tmp_path.iterdir()) == []


def write(path, audio, rate=tiny.RATE):
  soundfile.write(path, audio, rate, subtype="FLOAT")
  return path


def test_given_audio_of_any_rate_is_resampled_and_padded(generate, tmp_path):
  tone = 0.1 * np.sin(np.arange(24_000) / 10)
  mono = write(tmp_path / "mono.wav", tone, 48_000)
  assert generate("--context", mono, "--duration", 2)[0] == 0
  audio, rate = soundfile.read("song/context.wav")
  assert (audio.shape, rate) == ((tiny.SAMPLES, 2), tiny.RATE)
  assert not audio[22_050:].any()


def test_wrong_context_is_one_line_and_makes_nothing(generate, tmp_path):
  (tmp_path / "text.wav").write_text("no audio")
  (tmp_path / "empty").mkdir()
  (tmp_path / "stems").mkdir()
  write(tmp_path / "long.wav", np.zeros((tiny.SAMPLES + 3584, 2)))
  write(tmp_path / "nan.wav", np.full((100, 2), np.nan))
  write(tmp_path / "stems" / "no_vocals.wav", np.zeros((100, 2)))
  for path, code, message in [
    ("none.wav", 66, "no such audio file"),
    ("text.wav", 65, "cannot be read as audio"),
    (
      "long.wav",
      65,
      "lasts 2.09 s, at most 2.0812 s fit; cut it, or follow it from end to end: `stemphonic",
    ),
    ("nan.wav", 65, "sample 0"),
    ("empty", 66, "no stems, expected audio files"),
    ("stems", 66, "no stems, no_vocals.wav: a mix, left out; to play along with a mix, name its"),
  ]:
    found, out, err = generate("--context", path)
    assert (found, out) == (code, "")
    assert err.startswith(f"stemphonic: error: {path}")
    assert message in err
    assert err.count("\n") == 1
    assert not (tmp_path / "song").exists()


def test_wrong_models_and_places_are_one_line_and_make_nothing(generate, tmp_path):
  (tmp_path / "foreign").mkdir()
  (tmp_path / "file").touch()
  for options, code, message in [
    ({"model": "none"}, 66, "none: no such model folder"),
    ({"model": "foreign"}, 66, "foreign: holds no model"),
    ({"out": "file"}, 73, "file: already exists"),
    ({"out": "file/song"}, 73, "file/song: file cannot be written to"),
    ({"out": "foreign"}, 73, "foreign: already exists"),
  ]:
    found, out, err = generate(**options)
    assert (found, out) == (code, "")
    assert err.startswith(f"stemphonic: error: {message}")
    assert err.count("\n") == 1
  assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "foreign"]


def process(*arguments, cwd):
  """The command as a person runs it, in a process of its own."""
  program = "from stemphonic_jax import cli; cli.main()"
  return subprocess.run(
    [sys.executable, "-c", program, *arguments], cwd=cwd, capture_output=True, text=True
  )


def test_a_process_answers_with_the_folder_or_one_line(tmp_path):
  words = ("generate", PROMPT, "--stems", "drums", "--out", "song", "--model", str(tiny.model()))
  made = process(*words, cwd=tmp_path)
  assert (made.returncode, made.stdout) == (0, "song\n")
  assert "Traceback" not in made.stderr
  refused = process(*words, cwd=tmp_path)
  assert (refused.returncode, refused.stdout) == (73, "")
  assert refused.stderr.startswith("stemphonic: error: song: already exists")
  assert refused.stderr.count("\n") == 1
