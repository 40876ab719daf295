"""A model with what Stable Audio Open has: frozen T5, timing, v-prediction, captions as prompts."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from stemphonic_jax.errors import UsageError
from stemphonic_jax.generation.pipeline import StemPipeline
from tests import tiny

PROMPT = "Relaxing country rock"
STEMS = ("drums", "basses", "keys")


@pytest.fixture(scope="module")
def pipe(tmp_path_factory):
  folder = tmp_path_factory.mktemp("imported") / "model"
  return StemPipeline.load(tiny.save_model(folder, **tiny.IMPORTED))


@pytest.fixture
def calls(pipe, monkeypatch):
  """The conditions that the network is given from here on, a row each."""
  seen, sample = [], pipe._sample

  def spy(params, key, guidance, group, turns, conditions, **options):
    for row in range(len(group)):
      seen.append(jax.tree.map(lambda a, row=row: a[row], conditions))
    return sample(params, key, guidance, group, turns, conditions, **options)

  monkeypatch.setattr(pipe, "_sample", spy)
  return seen


def test_a_stem_does_not_depend_on_the_others(pipe):
  whole = pipe.generate(PROMPT, STEMS)
  for stems in (STEMS[:1], STEMS[::-1]):
    song = pipe.generate(PROMPT, stems)
    for name in stems:
      np.testing.assert_array_equal(song.stems[name], whole.stems[name])
  assert np.isfinite(whole.mix()).all()


def test_the_network_spans_its_whole_window_and_is_told_how_much_is_music(pipe, calls):
  song = pipe.generate(PROMPT, STEMS[:1], duration=0.5, activity={"drums": [(0.0, 0.25)]})
  assert calls[0].activity.shape == (tiny.FRAMES,)
  np.testing.assert_allclose(calls[0].seconds, [0.0, 0.5])
  assert song.stems["drums"].shape == (22_050, 2)
  assert song.latents["drums"].shape == (7, tiny.LATENT)  # 7 = ceil(22 050 / 3584)
  assert song.lanes["drums"].tolist() == [1, 1, 1, 1, 0, 0, 0]
  assert not np.any(calls[0].activity[4:])


def test_what_is_cut_off_is_the_end_of_the_window(pipe, calls):
  context = np.random.default_rng(0).standard_normal((20_000, 2)).astype(np.float32)
  song = pipe.generate(PROMPT, STEMS[:1], duration=0.5, context=context)
  assert calls[0].context.shape == (tiny.FRAMES, tiny.LATENT)
  assert song.stems["drums"].shape == song.stems["context"].shape == (22_050, 2)


def test_a_song_is_edited_though_the_model_cannot_hear_other_stems(pipe, calls):
  dropout = {**pipe.bundle.config["dropout"], "context": 1.0}
  deaf = StemPipeline(replace(pipe.bundle, config={**pipe.bundle.config, "dropout": dropout}))
  deaf._sample = pipe._sample
  before = deaf.generate(PROMPT, STEMS[:2])
  del calls[:]
  after = deaf.extend(deaf.again(before, ["drums"], range=(0.5, 1)), 3)
  found = np.flatnonzero((before.stems["drums"] != after.stems["drums"][: tiny.SAMPLES]).any(1))
  assert 6 * 3584 <= found[0] < found[-1] < 13 * 3584
  assert not any(np.any(row.context) for row in calls)
  np.testing.assert_allclose(calls[-1].seconds[1], 3)
  assert 0 < calls[-1].seconds[0] < 2
  with pytest.raises(UsageError, match="add: this model was trained without context"):
    deaf.add(before, ["keys"])


def test_text_comes_as_embeddings_which_the_prompt_decides(pipe, calls):
  first = pipe.generate(PROMPT, STEMS)
  other = pipe.generate("Loud fast metal", STEMS)
  assert calls[0].text.shape == (24, 32)
  assert calls[0].text.dtype == np.float32
  assert not np.any(calls[0].text[~calls[0].text_mask])
  for name in STEMS:
    assert not np.allclose(first.latents[name], other.latents[name], atol=1e-3)


def test_a_model_that_learned_from_captions_gets_captions(tmp_path, monkeypatch):
  folder = tiny.save_model(tmp_path / "model", **tiny.IMPORTED, prompts="captions")
  pipe, seen = StemPipeline.load(folder), []
  encode = pipe._encode_text
  monkeypatch.setattr(pipe, "_encode_text", lambda texts: seen.append(texts) or encode(texts))
  pipe.generate(PROMPT, STEMS[:2])
  assert seen == [["solo drums, Relaxing country rock", "solo basses, Relaxing country rock"]]
