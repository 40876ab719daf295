"""The text side of a run that starts from a model: its own tokenizer, in the words of the other."""

import numpy as np
import pytest

from stemphonic_jax.data.tokenizer import Tokenizer
from stemphonic_jax.training.inputs.text import respell

WIDE = 7


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory):
  folder = tmp_path_factory.mktemp("tokens")
  before = ["funk in C minor", "jazz in D major", "a song"] * 4
  now = ["slow funk in C minor, café", "fast jazz in D major", "guitars and drums"] * 4
  return [
    Tokenizer.train(texts, folder / f"{i}.model", size)
    for i, (texts, size) in enumerate([(before, 330), (now, 420)])
  ]


@pytest.fixture(scope="module")
def given(tokenizers):
  draw = np.random.default_rng(0).normal
  table = lambda: draw(size=(len(tokenizers[0]), WIDE)).astype(np.float32)  # noqa: E731
  encoder = {"tokens": {"embedding": table()}, "norm": {"gain": np.ones(WIDE, np.float32)}}
  return {"words": {"embedding": table()}, "text_encoder": encoder, "blocks": np.arange(3)}


@pytest.mark.parametrize("text", ["slow guitars", "fast jazz and drums", "a café in D"])
def test_a_text_adds_up_to_what_it_did_in_the_words_before(tokenizers, given, text):
  before, now = tokenizers
  changed = respell(given, before, now)
  assert changed["words"]["embedding"].shape == (len(now), WIDE)

  def total(tokenizer, params):
    tokens, mask = tokenizer.encode([text], 64)
    return params["words"]["embedding"][tokens[0][mask[0]]].sum(0)

  np.testing.assert_allclose(total(now, changed), total(before, given), atol=1e-5)


def test_a_token_that_was_there_is_what_it_was_and_the_rest_of_the_network_too(tokenizers, given):
  before, now = tokenizers
  changed = respell(given, before, now)
  spelling = now.spelt_by(before)
  same = [(i, ids[0]) for i, ids in enumerate(spelling) if len(ids) == 1]
  assert len(same) > 256  # bytes at least
  for table in (lambda p: p["words"], lambda p: p["text_encoder"]["tokens"]):
    new, old = (table(params)["embedding"] for params in (changed, given))
    for i, j in same:
      np.testing.assert_array_equal(new[i], old[j])
  assert max(map(len, spelling)) > 1
  several = next(i for i, ids in enumerate(spelling) if len(ids) > 1)
  tokens = given["text_encoder"]["tokens"]["embedding"][spelling[several]]
  found = changed["text_encoder"]["tokens"]["embedding"][several]
  np.testing.assert_allclose(found, tokens.mean(0), atol=1e-6)
  np.testing.assert_array_equal(changed["blocks"], given["blocks"])
  np.testing.assert_array_equal(changed["text_encoder"]["norm"]["gain"], 1)
