"""Texts to embeddings: a text's own, whatever stands beside it."""

import numpy as np
import pytest

from stemphonic_jax.weights.embedder import Embedder
from tests import tiny

TEXTS = ["solo drums, warm soul", "", "solo basses", "a long text " * 9, "x"]
LENGTH = 24


@pytest.fixture(scope="module")
def embed():
  return Embedder(tiny.text_encoder(), tiny.tokenizer(), LENGTH)


def test_embeddings_are_zero_where_padded_and_the_mask_says_where(embed):
  embeddings, mask = embed(TEXTS)
  assert embeddings.shape == (5, LENGTH, 32)
  assert mask.sum(1).tolist() == [
    min(len(tiny.tokenizer().encode([t], 99)[1].nonzero()[1]), LENGTH) for t in TEXTS
  ]
  assert not embeddings[~mask].any()
  assert (np.abs(embeddings).max(-1) > 0)[mask].all()


def test_a_text_has_one_embedding_to_the_bit(embed):
  whole, _ = embed(TEXTS)
  for i, text in enumerate(TEXTS):
    np.testing.assert_array_equal(embed([text])[0][0], whole[i])


@pytest.mark.parametrize("rows", [2, 5, 32])
def test_rows_together_are_the_rows_one_by_one(embed, monkeypatch, rows):
  whole, _ = embed(TEXTS)
  monkeypatch.setattr(embed, "_rows", rows)
  together, mask = embed(TEXTS)
  assert len(together) == len(mask) == 5
  np.testing.assert_allclose(together, whole, atol=1e-4)
