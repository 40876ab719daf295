"""Edits of a song: what is made anew, what stays to the bit, and what is refused."""

import functools
from dataclasses import replace

import numpy as np
import pytest

from stemphonic_jax.errors import MismatchError, UsageError
from stemphonic_jax.generation.filling import path_of
from stemphonic_jax.generation.pipeline import StemPipeline
from stemphonic_jax.generation.progress import Progress
from stemphonic_jax.generation.replaying import differences
from stemphonic_jax.generation.request import check_request
from stemphonic_jax.generation.rows import Row
from stemphonic_jax.generation.saved import load_song
from stemphonic_jax.generation.session import digest
from tests import tiny
from tests.generation.asking import PROMPT, differs, tone
from tests.generation.test_ensemble import pipe as ensemble

HOP = 3584
EDGE = 12 * HOP  # 1 s is in frame 12


@functools.cache
def song():
  return tiny.pipeline().generate(PROMPT, ["drums", "basses"], bpm=120, seed=5)


def changed(before, after):
  """First and last sample at which two stems of one length differ."""
  found = np.flatnonzero((before != after).any(1))
  return found[0], found[-1]


@pytest.mark.parametrize("pipe", [tiny.pipeline, ensemble], ids=["paper", "ensemble"])
def test_a_range_of_a_stem_is_made_again_and_nothing_else(pipe):
  before = pipe().generate(PROMPT, ["drums", "basses"])
  after = pipe().again(before, ["basses"], range=(1, 1.5))
  first, last = changed(before.stems["basses"], after.stems["basses"])
  assert EDGE <= first < EDGE + 100  # it fades in from there
  assert 19 * HOP - 100 < last < 19 * HOP
  assert after.stems["drums"] is before.stems["drums"]
  kept = np.r_[0:12, 19:25]
  np.testing.assert_array_equal(after.latents["basses"][kept], before.latents["basses"][kept])
  assert differs(before, after, "basses")
  step = after.info["steps"][1]
  assert step | {"do": "again", "from": 0, "stems": {"drums": 0, "basses": 1}} == step
  assert step["ask"]["seed"] == 1
  np.testing.assert_allclose(step["ask"]["range"], [(EDGE / 44_100, 19 * HOP / 44_100)])


def shown(known):
  """Latents of a pass that is shown what is `known` of a stem."""
  pipe, clean = tiny.pipeline(), song().latents["drums"]
  request = check_request(
    pipe.bundle.config, HOP, prompt=PROMPT, stems=["drums"], bpm=120, seed=5, seconds=2, passes=1,
    variations=1, steps=None, guidance=None, share_noise=None, activity=None, context=None,
  )  # fmt: skip
  there = {"drums": Row("drums", clean[None], known)}
  context = np.zeros((1, *clean.shape), np.float32)
  (made,) = pipe.run_pass(request, ["drums"], context, {}, [], there, Progress(0))
  return made, clean


def test_frames_that_are_known_come_back_and_are_heard_by_the_others():
  known = np.zeros(25, bool)
  nothing, _ = shown(known)
  as_made = tiny.pipeline().bundle.statistics.standardize(song().latents["drums"])
  np.testing.assert_allclose(nothing, as_made, atol=1e-4)
  known[:10] = True
  some, clean = shown(known)
  np.testing.assert_array_equal(some[:10], clean[:10])
  assert np.abs(some[10:] - nothing[10:]).max() > 1e-3
  np.testing.assert_array_equal(shown(np.ones(25, bool))[0], clean)


def test_an_ensemble_hears_what_is_known_of_all_stems(monkeypatch):
  pipe, seen = ensemble(), []
  sample = pipe._sample

  def spy(params, key, guidance, group, turns, conditions, **options):
    seen.append(conditions)
    return sample(params, key, guidance, group, turns, conditions, **options)

  monkeypatch.setattr(pipe, "_sample", spy)
  before = pipe.generate(PROMPT, ["drums", "basses"])
  after = pipe.again(before, ["basses"], range=[(0, 0.5), (1, 1.5)])
  basses, drums = seen[-1].known
  assert drums.all()
  assert after.info["steps"][1]["ask"]["guidance"] == {"rest": 3.0, "others": 2.5}
  np.testing.assert_array_equal(np.flatnonzero(~basses), np.r_[0:7, 12:19])
  clean = pipe.bundle.statistics.standardize(before.latents["drums"])
  np.testing.assert_allclose(seen[-1].clean[1], clean, atol=1e-5)
  assert not seen[-1].context.any()


def test_a_stem_that_is_added_is_as_one_that_was_asked_for_with_the_song_as_context():
  added = tiny.pipeline().add(song(), ["keys"], seed=8, activity={"keys": [(0, 1)]})
  lanes = {"keys": [(0, 1)]}
  asked = tiny.pipeline().generate(
    PROMPT, ["keys"], bpm=120, seed=8, context=song().stems, activity=lanes
  )
  np.testing.assert_array_equal(added.stems["keys"], asked.stems["keys"])
  assert list(added.stems) == ["drums", "basses", "keys"]
  assert added.info["request"]["activity"] == {"keys": ((0.0, 1.0),)}
  assert tiny.pipeline().add(added, ["keys"]).stems.keys() - added.stems.keys() == {"keys 2"}


def test_a_weak_variation_stays_near_and_a_strong_one_is_made_anew():
  def distance(strength):
    other = tiny.pipeline().vary(song(), strength, ["drums"], seed=9)
    assert other.stems["basses"] is song().stems["basses"]
    return np.abs(other.latents["drums"] - song().latents["drums"]).mean()

  near, far = distance(0.25), distance(1)
  assert near < 0.7 * far
  whole = tiny.pipeline().again(song(), ["drums"], seed=9)
  assert np.abs(whole.latents["drums"] - song().latents["drums"]).mean() == far


@pytest.mark.parametrize("steps", [1, 4, 8, 32])
def test_a_variation_begins_at_its_strength_however_few_the_steps(steps):
  for strength in np.linspace(0.01, 1, 100):
    whole, start = path_of(steps, strength)
    assert steps <= whole
    assert abs((whole - start) / whole - strength) < 1 / steps
    assert (start > 0) == (strength < 1)
  assert path_of(8, 0.1) == (10, 9)


def test_words_for_a_stem_are_its_own_from_then_on():
  pipe, span = tiny.pipeline(), (1, 1.5)
  said = pipe.again(song(), ["drums: with brushes"], span)
  assert said.info["request"]["words"] == {"drums": "with brushes"}
  assert differs(said, pipe.again(song(), ["drums"], span), "drums")
  again = pipe.again(said, ["drums", "basses"], span, seed=1)
  assert again.info["request"]["words"] == {"drums": "with brushes"}
  assert pipe.again(again, {"drums": ""}, span).info["request"]["words"] == {}


def test_a_song_goes_on_beyond_the_window_of_the_model():
  longer = tiny.pipeline().extend(song(), 5)
  for name, audio in song().stems.items():
    assert longer.stems[name].shape == (220_500, 2)
    np.testing.assert_array_equal(longer.stems[name][: tiny.SAMPLES], audio)
    assert np.abs(longer.stems[name][tiny.SAMPLES :]).reshape(-1, 44_100).max(1).all()
    np.testing.assert_array_equal(longer.latents[name][:24], song().latents[name][:24])
  assert longer.info["request"]["duration"] == 5
  repaired = tiny.pipeline().again(longer, ["drums"], range=(3, 4))
  first, last = changed(longer.stems["drums"], repaired.stems["drums"])
  assert 36 * HOP <= first < last < 50 * HOP


def test_to_the_left_a_song_grows_by_whole_bars():
  longer = tiny.pipeline().extend(song(), 3, left=True)  # a bar of 120 bpm is 2 s
  for name, audio in song().stems.items():
    assert len(longer.stems[name]) == 2 * tiny.SAMPLES
    np.testing.assert_array_equal(longer.stems[name][tiny.SAMPLES :], audio)
    assert np.abs(longer.stems[name][:1000]).max() > 0


def test_a_loop_is_whole_bars_and_leads_from_its_end_to_its_beginning():
  longer = tiny.pipeline().extend(song(), 5)
  loop = tiny.pipeline().loop(longer, (1.1, 3.1))
  for name, audio in longer.stems.items():
    assert len(loop.stems[name]) == tiny.SAMPLES  # 2 to 4 s
    part = audio[tiny.SAMPLES : 2 * tiny.SAMPLES]
    seam = tiny.SAMPLES // 4
    np.testing.assert_array_equal(loop.stems[name][:-seam], part[:-seam])
    assert (loop.stems[name][-seam:] != part[-seam:]).any()
    before = audio[tiny.SAMPLES - 1]  # what led to the beginning leads to it again
    np.testing.assert_allclose(loop.stems[name][-1], before, atol=1e-4)


def test_bars_are_those_of_the_songs_metre_whatever_is_asked_of_it_later(tmp_path):
  pipe = tiny.pipeline()
  waltz = pipe.generate("A waltz", ["drums"], bpm=90)  # one bar of 3/4 is 2 s
  longer = pipe.extend(waltz, 3, left=True, prompt="A march in 2/4")
  assert longer.samples == 2 * tiny.SAMPLES
  longer.save(tmp_path / "song")
  read = load_song(tmp_path / "song")
  assert pipe.loop(read, (0.3, 2.1)).samples == tiny.SAMPLES
  assert not differences(read, pipe.replay(read))
  assert pipe.generate("Rock", ["drums"], bpm=90, metre="3/4").info["request"]["metre"] == "3/4"


def test_when_a_stem_plays_is_kept_in_a_longer_song_and_in_a_loop():
  pipe, asked = tiny.pipeline(), {"drums": [(0, 1)]}
  drawn = pipe.generate(PROMPT, ["drums", "basses"], bpm=120, seed=5, activity=asked)
  longer = pipe.extend(drawn, 4, left=True)  # by two seconds
  (drums,) = longer.info["request"]["activity"].values()
  assert drums[-1][1] == 3
  assert drums[0][0] < 2  # what is made goes on from what is there
  loop = pipe.loop(longer, (2, 4))
  assert loop.info["request"]["activity"] == {"drums": ((0, 1),)}
  again = pipe.again(loop, ["drums"], seed=1)
  assert again.info["steps"][-1]["ask"]["activity"] == {"drums": ((0, 1),)}


def test_what_a_song_avoids_has_no_effect_where_words_do_not_guide(told):
  given = {"drums": tone(330)}
  pipe = tiny.pipeline()
  followed = pipe.follow(given, PROMPT, ["basses"], negative="vocals")
  plain = pipe.again(followed, ["basses"], guidance=1)
  assert any("what the song avoids has no effect here" in line for line in told)
  assert plain.info["steps"][-1]["ask"]["negative"] == ""
  assert pipe.again(plain, ["basses"]).info["steps"][-1]["ask"]["negative"] == "vocals"
  with pytest.raises(UsageError, match="negative: has no effect with a guidance of 1"):
    pipe.again(followed, ["basses"], guidance=1, negative="vocals")


def test_stems_follow_audio_of_any_length():
  mix = tone(seconds=4.5)
  lasting = dict(steps=5, guidance={"tempo": 2}, negative="rain")
  followed = tiny.pipeline().follow(mix, PROMPT, ["drums", "drums"], bpm=100, **lasting)
  assert list(followed.stems) == ["context", "drums", "drums 2"]
  assert {len(audio) for audio in followed.stems.values()} == {len(mix)}
  np.testing.assert_array_equal(followed.stems["context"], mix)
  assert (followed.stems["drums"] != followed.stems["drums 2"]).any()
  edited = tiny.pipeline().again(followed, ["drums"], (1, 1.5))
  asked = edited.info["steps"][-1]["ask"]
  assert (asked["steps"], asked["guidance"]["tempo"], asked["negative"]) == (5, 2, "rain")
  again = tiny.pipeline().replay(edited)
  assert again.info["sampler"] == edited.info["sampler"]
  for name, audio in edited.stems.items():
    np.testing.assert_array_equal(again.stems[name], audio)


EDITS = [
  "again",
  "vary",
  "add",
  "longer",
  *["use", "at", "remove"] * 3,
]  # most cost next to nothing


def test_a_hundred_edits_in_a_row_leave_a_sound_song(tmp_path):
  """Lengths, what is not edited, the steps and what is saved, after edits of all kinds."""
  pipe, random = StemPipeline(tiny.pipeline().bundle), np.random.default_rng(0)
  decoder = pipe._vae_params["decoder"]
  last = {"conv2": {**decoder["conv2"], "kernel": decoder["conv2"]["kernel"] * 1e-3}}
  pipe._vae_params = {**pipe._vae_params, "decoder": {**decoder, **last}}  # it hears itself
  now = pipe.generate(PROMPT, ["drums", "basses"], bpm=120, context={"keys": tone()})
  for number in range(1, 101):
    before, names = now, [*now.stems]
    chosen = [str(name) for name in random.choice(names, random.integers(1, len(names)), False)]
    start = float(random.uniform(0, before.samples / tiny.RATE - 0.3))
    span = (start, start + 0.3)
    match random.choice(EDITS):
      case "again":
        now = pipe.again(now, chosen, span)
      case "vary":
        now = pipe.vary(now, 0.5, chosen, [(0, 0.1), span] if start > 0.2 else span)
      case "use":
        name, step = chosen[0], int(random.integers(len(now.info["steps"])))
        made = now.info["steps"][step]["made"]
        if name in made and len(now.take(name, step).audio) == now.samples:
          now, chosen = now.use(name, step), [name]
      case "at":
        now = now.at(int(random.integers(len(now.info["steps"]))))
        chosen = [*before.stems, *now.stems]
      case "add" if len(names) < 4:
        now = pipe.add(now, ["winds"])
      case "remove" if len(names) > 2:
        now = now.remove(chosen[:1])
      case "longer" if now.samples == tiny.SAMPLES:
        now = pipe.extend(now, 4, left=bool(random.integers(2)))
      case "longer":
        now, chosen = pipe.loop(now, (0, 2)), names
    assert {audio.shape for audio in now.stems.values()} == {(now.samples, 2)}
    for name in now.stems.keys() & before.stems.keys() - {*chosen}:
      if now.samples == before.samples:
        assert now.stems[name] is before.stems[name]
    if number % 25 == 0:
      now.save(tmp_path / "song", overwrite=True)
      now = load_song(tmp_path / "song")
  steps = now.info["steps"]
  assert len(steps) > 40
  takes = {(number, name) for number, step in enumerate(steps) for name in step["made"]}
  heard = {(step, name) for name, step in steps[now.info["now"]]["stems"].items()}
  assert takes == {*now.takes} | heard
  for number, step in enumerate(steps):
    assert step["from"] is None or step["from"] < number
    for name, made in step["made"].items():
      audio = now.take(name, number).audio
      assert digest(audio) == made["sha256"]
      assert len(audio) == round(step["seconds"] * tiny.RATE)


def test_progress_is_told_and_may_end_an_edit():
  told, span = [], (1, 1.5)
  told_of = tiny.pipeline().again(
    song(), ["basses"], span, progress=lambda done, of: told.append((done, of))
  )
  assert (told[0], told[-1]) == ((0, 16), (16, 16))
  assert told == sorted(set(told))
  untold = tiny.pipeline().again(song(), ["basses"], span)
  np.testing.assert_array_equal(told_of.stems["basses"], untold.stems["basses"])

  def stop(done, of):
    if done:
      raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    tiny.pipeline().again(song(), ["drums", "basses"], span, progress=stop)


REFUSED = {
  "range 1-3: expected start < end within 0-2 s, the length of this song": {"range": (1, 3)},
  "range 1-1: expected start < end": {"range": (1, 1)},
  "range: got nan or infinity": {"range": (0, np.nan)},
  "range: got '8', expected": {"range": "8"},
  "ranges overlap, or share a latent frame, at 0.98 s": {"range": [(1, 1.5), (0.5, 1.2)]},
  "no stem 'drum' in this song; did you mean 'drums'? it has drums, basses": {"stems": ["drum"]},
  "stems: got the text 'drums'": {"stems": "drums"},
  "strength: got 0.0": {"strength": 0},
  "guidance: got 99": {"guidance": 99},
  "seed: got -1": {"seed": -1},
  "activity basses=1-9: expected": {"activity": {"basses": [(1, 9)]}},
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_cannot_be_edited_is_refused_in_one_line(message):
  with pytest.raises(UsageError, match="^" + message.replace("?", r"\?")):
    tiny.pipeline().again(song(), **{"stems": ["basses"]} | REFUSED[message])


def test_other_edits_are_refused_in_one_line():
  pipe = tiny.pipeline()
  for message, refused in {
    "seconds: got 2, expected more than the 2 s of the song": lambda: pipe.extend(song(), 2),
    "seconds: got 1800, which by whole bars is more": lambda: pipe.extend(
      replace(song(), info={**song().info, "request": {**song().info["request"], "bpm": 100}}),
      1800,
      left=True,
    ),
    "stem 'drums': is named twice": lambda: pipe.again(song(), ["drums: soft", "drums"]),
    "guidance of activity: the request has no activity": lambda: pipe.again(
      song(), ["drums"], guidance={"activity": 2}
    ),
    "loop: the range lasts 0.90 s, and a bar 2.00 s": lambda: pipe.loop(song(), (0, 0.9)),
    "remove drums, basses: no stem would be left": lambda: song().remove(["drums", "basses"]),
    "no edit is called 'undo'": lambda: pipe.edit(song(), "undo"),
    "step: got 3, expected 0 to 0": lambda: song().at(3),
    "step 1 made no take of 'drums'; step 0 did": lambda: song().use("drums", 1),
  }.items():
    with pytest.raises(UsageError, match=message):
      refused()
  with pytest.raises(MismatchError, match="another model made this song"):
    ensemble().again(song())
