"""Generation: what a stem depends on, and what it does not, to the bit."""

import dataclasses
import threading
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from configs import base
from stemphonic_jax.audio import levels
from stemphonic_jax.data.taxonomy import STEM_TYPES
from stemphonic_jax.errors import UsageError
from stemphonic_jax.generation import pipeline, rows
from stemphonic_jax.generation.limits import MAX_STEMS, MAX_VARIATIONS
from stemphonic_jax.generation.pipeline import StemPipeline
from stemphonic_jax.models.conditioning import CONDITIONS, NOT_GIVEN
from stemphonic_jax.sampler import network_rows, rescale_interval
from tests import tiny
from tests.generation.asking import (
  ALL,
  PROMPT,
  assert_same,
  differs,
  encoded,
  generate,
  prompts,
  tone,
)


@pytest.mark.parametrize("share_noise", [True, False])
def test_a_stem_is_the_same_however_many_others_there_are_and_in_any_order(share_noise):
  whole = generate(*ALL, share_noise=share_noise)
  assert list(whole.stems) == list(ALL)
  for stems in [ALL[:1], ALL[2:], ALL[:3], ALL[::-1], ("keys", "drums")]:
    assert_same(generate(*stems, share_noise=share_noise), whole, stems)


def test_rows_at_once_are_rows_one_by_one(monkeypatch):
  monkeypatch.setattr(rows, "THREADS", 1)
  alone = generate(*ALL)
  monkeypatch.setattr(rows, "THREADS", 4)
  assert_same(generate(*ALL), alone, ALL)


def test_rows_run_at_once_on_a_cpu(monkeypatch):
  monkeypatch.setattr(rows, "THREADS", 2)
  met = threading.Barrier(2, timeout=10)

  def meet(row):
    met.wait()
    return row

  assert list(rows.for_each_row(meet, range(4))) == [0, 1, 2, 3]


def test_where_bfloat16_would_be_emulated_a_song_is_as_in_float32(monkeypatch):
  bundle = tiny.pipeline().bundle
  encoder = bundle.dit.text_encoder.clone(dtype=jnp.bfloat16)
  half = dataclasses.replace(bundle, dit=bundle.dit.clone(dtype=jnp.bfloat16, text_encoder=encoder))
  monkeypatch.setattr("stemphonic_jax.models.dit.dtype_here", lambda dtype: jnp.float32)
  song = pipeline.StemPipeline(half).generate(PROMPT, ALL[:1])
  assert_same(song, generate(*ALL[:1]), ALL[:1])
  monkeypatch.setattr("stemphonic_jax.models.dit.dtype_here", lambda dtype: dtype)
  other = pipeline.StemPipeline(half).generate(PROMPT, ALL[:1])
  assert not np.array_equal(other.latents[ALL[0]], song.latents[ALL[0]])


def test_a_large_model_on_a_cpu_makes_the_same_song(monkeypatch):
  monkeypatch.setattr(pipeline, "LARGE", 0)
  large = pipeline.StemPipeline(tiny.pipeline().bundle)
  assert isinstance(large._dit_params["blocks"], list)
  song, expected = large.generate(PROMPT, ALL[:2]), generate(*ALL[:2])
  for name in ALL[:2]:
    np.testing.assert_allclose(song.latents[name], expected.latents[name], atol=1e-3)


def test_stems_start_from_one_noise_or_each_from_its_own(calls):
  generate(*ALL)
  assert len({group for group, _ in calls}) == 1
  generate(*ALL, share_noise=False)
  assert len({group for group, _ in calls[4:]}) == 4


def test_noises_of_all_names_and_variations_are_different():
  names = [f"{kind} {i}" if i > 1 else kind for kind in STEM_TYPES for i in range(1, MAX_STEMS + 1)]
  request = SimpleNamespace(share_noise=False, variations=MAX_VARIATIONS, first=0)
  groups = rows.noise_groups(request, names)
  assert groups.dtype == np.int32
  assert groups.min() >= 0
  assert len(set(groups.tolist())) == len(names) * MAX_VARIATIONS


def test_aligned_noise_is_turned_for_each_type_by_itself(tmp_path):
  aligned = StemPipeline.load(tiny.save_model(tmp_path / "model", sample={"align_noise": True}))
  plain, song = (pipe.generate(PROMPT, ALL) for pipe in (tiny.pipeline(), aligned))
  assert_same(plain, song, set(ALL) - set(tiny.TURNED))
  assert all(differs(plain, song, name) for name in tiny.TURNED)
  assert_same(aligned.generate(PROMPT, ("keys",)), song, ("keys",))
  assert [s.info["sampler"]["align_noise"] for s in (plain, song)] == [False, True]


def test_a_model_may_share_a_part_of_its_noise(tmp_path):
  """A song lies between those of one noise and of a noise for each; listening changes nothing."""
  pipe = StemPipeline.load(tiny.save_model(tmp_path / "model", sample={"noise_share": 0.5}))
  song = pipe.generate(PROMPT, ALL[:3])
  assert_same(pipe.generate(PROMPT, ALL[:3][::-1], progress=lambda *_: None), song, ALL[:3])
  for share_noise in (True, False):
    assert differs(song, generate(*ALL[:3], share_noise=share_noise), ALL[0])
  alone = {"share_noise": False}
  assert_same(pipe.generate(PROMPT, ALL[:3], **alone), generate(*ALL[:3], **alone), ALL[:3])


def test_steps_of_a_models_order_are_the_same_whether_somebody_listens_or_not(tmp_path):
  pipe, two = StemPipeline.load(tiny.save_model(tmp_path / "model", sample={"order": 2})), ALL[:2]
  song = pipe.generate(PROMPT, two, steps=6)  # in pieces of four
  assert differs(song, generate(*two, steps=6), two[0])
  assert_same(pipe.generate(PROMPT, two, steps=6, progress=lambda *_: None), song, two)
  assert_same(pipe.generate(PROMPT, two, steps=1), generate(*two, steps=1), two)


def test_a_noise_of_its_own_makes_another_stem():
  shared, own = generate("drums", "basses"), generate("drums", "basses", share_noise=False)
  assert differs(shared, own, "basses")


@pytest.mark.parametrize("share_noise", [True, False])
def test_a_variation_is_the_same_however_many_others_there_are(share_noise):
  options = dict(share_noise=share_noise, seed=3)
  three = tiny.pipeline().variations(PROMPT, ("drums", "basses"), count=3, **options)
  assert_same(three[0], generate("drums", "basses", **options), ("drums", "basses"))
  two = tiny.pipeline().variations(PROMPT, ("basses",), count=2, **options)
  assert_same(three[1], two[1], ("basses",))
  for a, b in [(0, 1), (0, 2), (1, 2)]:
    assert differs(three[a], three[b], "drums")
  assert [song.info["request"]["variation"] for song in three] == [0, 1, 2]


def test_stems_of_one_type_differ_with_noises_of_their_own():
  song = generate("guitars", "guitars", share_noise=False)
  assert list(song.stems) == ["guitars", "guitars 2"]
  assert not np.allclose(song.latents["guitars"], song.latents["guitars 2"], atol=1e-3)
  assert_same(song, generate("guitars", share_noise=False), ["guitars"])


@pytest.mark.parametrize(
  "options",
  [{"seed": 1}, {"prompt": "Fast techno"}, {"bpm": 90}, {"guidance": 1.0}, {"guidance": 2.0}],
  ids=str,
)
def test_every_part_of_a_request_changes_the_stem(options):
  assert differs(generate("drums"), generate("drums", **options), "drums")


def test_requests_are_equal_to_the_bit():
  options = dict(seed=5, bpm=120, activity={"basses": [(0.5, 1)]}, passes=2)
  a, b = (generate("drums", "basses", **options) for _ in range(2))
  assert_same(a, b, ("drums", "basses"))


def test_guidance_just_beside_1_is_as_good_as_none():
  unguided, guided = (generate("drums", guidance=g) for g in (1.0, 1.0 + 1e-6))
  np.testing.assert_allclose(unguided.latents["drums"], guided.latents["drums"], atol=1e-4)


# Lengths.


@pytest.mark.parametrize("duration", [None, 1.3])
def test_all_stems_have_the_samples_asked_for(duration):
  song = generate("drums", "basses", duration=duration)
  samples = round((duration or 2.0) * tiny.RATE)
  assert {audio.shape for audio in song.stems.values()} == {(samples, 2)}
  assert {audio.dtype for audio in song.stems.values()} == {np.dtype("float32")}
  assert {z.shape for z in song.latents.values()} == {(-(-samples // 3584), tiny.LATENT)}
  assert song.mix().shape == (samples, 2)
  assert song.info["request"]["duration"] == (duration or 2.0)


# Passes.


def test_one_pass_makes_all_two_make_half_and_k_one_by_one(calls):
  def clauses(passes):
    calls.clear()
    generate("drums", "basses", "keys", passes=passes)
    return [text.partition(" for some music")[0] for text in prompts(calls)]

  first = ["Generate the stem: [DRUMS]", "Generate the stem: [BASSES]"]
  given = "(given context stems: [DRUMS, BASSES])"
  assert clauses(1) == [*first, "Generate the stem: [KEYS]"]
  assert clauses(2) == [*first, f"Generate the stem: [KEYS] {given}"]
  assert clauses("K") == clauses(3)
  assert clauses("K") == [
    "Generate the stem: [DRUMS]",
    "Generate the stem: [BASSES] (given context stems: [DRUMS])",
    f"Generate the stem: [KEYS] {given}",
  ]


def test_the_second_pass_hears_the_sum_of_the_first(calls):
  song = generate("drums", "basses", "keys", passes=2)
  first, second, third = (row.context for _, row in calls)
  assert not first.any()
  assert not second.any()
  np.testing.assert_array_equal(third, encoded(song.stems["drums"] + song.stems["basses"]))
  assert_same(song, generate("drums", "basses"), ("drums", "basses"))


def test_the_second_pass_depends_on_what_the_first_made():
  after_drums = generate("drums", "keys", passes=2)
  assert differs(after_drums, generate("drums", "keys"), "keys")
  rests = generate("drums", "keys", passes=2, activity={"drums": [(0, 0.5)]})
  assert differs(after_drums, rests, "keys")


def test_each_variation_hears_its_own_first_pass(calls):
  one, two = tiny.pipeline().variations(PROMPT, ALL, count=2, passes=2)
  for song, (_, row) in zip((one, one, two, two), calls[4:], strict=True):
    np.testing.assert_array_equal(row.context, encoded(song.stems["drums"] + song.stems["basses"]))


# Activity.


def test_lanes_reach_the_network_and_other_stems_are_not_given_any(calls):
  plain = generate("drums", "basses")
  calls.clear()
  song = generate("drums", "basses", activity={"drums": [(0, 0.5), (1, 1.2)]})
  lane, none = (row.activity for _, row in calls)
  start = np.arange(tiny.FRAMES) * 3584 / tiny.RATE
  end = start + 3584 / tiny.RATE
  expected = (start < 0.5) | ((end > 1) & (start < 1.2))
  np.testing.assert_array_equal(lane, expected)
  assert (none == NOT_GIVEN).all()
  assert differs(song, plain, "drums")
  assert_same(song, plain, ["basses"])
  np.testing.assert_array_equal(song.lanes["drums"], expected)
  assert list(song.lanes) == ["drums"]


def test_no_range_at_all_asks_for_silence(calls):
  generate("drums", activity={"drums": []})
  assert not calls[0][1].activity.any()


# Conditions, cost, compilation.


def test_bpm_is_given_to_all_stems_or_unknown(calls):
  generate("drums", "basses", bpm=96.5)
  generate("drums")
  np.testing.assert_array_equal([row.bpm for _, row in calls], [96.5, 96.5, np.nan])


def test_a_stem_costs_58_rows_in_the_papers_setting(calls):
  own = base.get_config().sample
  interval = rescale_interval(own.interval, own.steps, own.steps)
  assert network_rows(own.steps, interval) == 58
  generate("drums")
  assert calls.options[-1] == {"steps": 4, "interval": (2, 3)}


def test_other_steps_are_guided_over_the_same_times(monkeypatch):
  asked = []

  def nothing(*_, **options):
    asked.append(options)
    return np.zeros((1, tiny.FRAMES, tiny.LATENT), np.float32)

  monkeypatch.setattr(tiny.pipeline(), "_sample", nothing)
  for options in [{"steps": 8}, {"steps": 1}, {"steps": 8, "guidance": 1}]:
    generate("drums", **options)
  assert asked == [
    {"steps": 8, "interval": (3, 5)},
    {"steps": 1, "interval": None},
    {"steps": 8, "interval": None},
  ]


def test_two_requests_of_the_same_size_compile_once():
  pipe = tiny.pipeline()
  programs = (pipe._sample, pipe._encode, pipe._decode)
  generate("drums", "basses", passes=2)
  compiled = [program._cache_size() for program in programs]
  generate(
    "vocals",
    "SFX",
    prompt="Something else altogether",
    bpm=150,
    seed=99,
    context=tone(),
    activity={"SFX": [(0, 1)]},
    passes=2,
    guidance=2.5,
    share_noise=False,
  )
  assert [program._cache_size() for program in programs] == compiled


def test_words_for_one_stem_reach_that_one_alone(calls):
  song = generate("keys: soft piano", "drums", "keys: bright organ")
  said = ["[KEYS: soft piano]", "[DRUMS]", "[KEYS: bright organ]"]
  tail = f" for some music described as: {PROMPT}"
  assert prompts(calls) == [f"Generate the stem: {tag}{tail}" for tag in said]
  assert list(song.stems) == ["keys", "drums", "keys 2"]
  assert not np.allclose(song.latents["keys"], song.latents["keys 2"], atol=1e-3)
  assert song.info["request"]["words"] == {"keys": "soft piano", "keys 2": "bright organ"}
  assert_same(song, generate("drums"), ["drums"])


def test_guidance_by_condition_and_a_negative_prompt_reach_the_sampler(calls):
  plain = generate("keys", context={"drums": tone()})
  same = generate("keys", context={"drums": tone()}, guidance={"words": 3, "context": 3})
  assert_same(plain, same, ["keys"])
  ask = dict(context={"drums": tone()}, guidance={"context": 1.5}, negative="harsh")
  song = generate("keys", **ask)
  views = [options.get("views") for options in calls.options]
  assert views == [None, None, ((), CONDITIONS, ("context",))]
  tokens, mask = calls[-1][1].negative
  said = tiny.pipeline().bundle.tokenizer.decode(tokens[mask])
  assert said == "Generate the stem: for some music described as: harsh", "of no type"
  assert differs(plain, song, "keys")
  assert song.info["request"]["negative"] == "harsh"
  assert song.info["sampler"]["guidance"] == {"rest": 3.0, "context": 1.5}
  apart = generate("keys", **ask, guidance_in_turn=True)
  np.testing.assert_allclose(apart.latents["keys"], song.latents["keys"], atol=1e-3)


def test_a_model_of_whole_mixes_is_asked_for_them(tmp_path, calls):
  pipe = pipeline.StemPipeline.load(tiny.save_model(tmp_path / "model", whole_mixes=True))
  pipe._sample = tiny.pipeline()._sample  # which `calls` looks at
  song = pipe.generate(PROMPT, ["mix"])
  assert list(song.stems) == ["music"], "mix.wav is the sum of a song's stems"
  assert prompts(calls) == [f"Generate the mix for some music described as: {PROMPT}"]


def test_levels_of_a_mix_follow_the_gains_and_players_do_not_clip_it():
  song = generate("drums", "basses")
  tone = np.sin(np.arange(len(song.stems["drums"])) / 9).astype(np.float32)[:, None] * [[1, 0.5]]
  song = dataclasses.replace(song, stems={"drums": tone, "basses": -tone / 2})
  assert levels.dbfs(song.mix()) == pytest.approx(-16, abs=0.01)
  np.testing.assert_allclose(song.mix(), levels.normalize(tone), atol=1e-6)
  np.testing.assert_allclose(song.mix({"drums": 0.0}), -song.mix(), atol=1e-6)
  spike = np.zeros_like(tone)
  spike[100] = 3
  assert np.abs(song.mix({"drums": 2})).max() < 1
  assert np.abs(dataclasses.replace(song, stems={"drums": spike}).mix()).max() == 1
  with pytest.raises(UsageError, match="gain for 'keys', which is not a stem here"):
    song.mix({"keys": 0.5})


def test_one_batch_as_on_an_accelerator_gives_the_same_stems(calls, monkeypatch):
  row_by_row = generate(*ALL[:2])
  monkeypatch.setattr(rows.jax, "default_backend", lambda: "gpu")
  in_one_batch = generate(*ALL[:2])
  assert len(calls.options) == 2 + 1
  for name in ALL[:2]:
    np.testing.assert_allclose(
      in_one_batch.latents[name], row_by_row.latents[name], rtol=1e-3, atol=1e-3
    )
