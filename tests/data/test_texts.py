"""Embedded texts: what a batch may ask for is there, and what was embedded comes back."""

import itertools
import json

import numpy as np
import pytest

from stemphonic_jax.data import grouping, pipeline, prompts, texts
from stemphonic_jax.data.records import MIX, Segment
from stemphonic_jax.errors import DataError, MissingError, OutputError, StemphonicError

S, E = 12, 6
TYPES = ("drums", "basses", "keys", "keys")


def embed(rows):
  """Embeddings that say which text they are of: one token per word."""
  embeddings = np.zeros((len(rows), S, E), np.float32)
  mask = np.zeros((len(rows), S), bool)
  for i, text in enumerate(rows):
    words = text.split()[:S] or [""]
    mask[i, : len(words)] = True
    embeddings[i, : len(words)] = len(text) / 64
  return embeddings, mask


def segment(caption="warm soul", silent=(), types=TYPES):
  stems = len(types)
  activity = np.ones((stems, 3), np.int8)
  activity[list(silent)] = 0
  masks = grouping.subsets_to_store(np.random.default_rng(0), activity.any(1), 2)
  return Segment(
    id="a",
    names=tuple(map(str, range(stems))),
    types=types,
    caption=caption,
    bpm=100.0,
    latents=np.zeros((stems, 3, 2), np.float16),
    activity=activity,
    submixes={mask: np.zeros((3, 2), np.float16) for mask in masks},
  )


@pytest.mark.parametrize("silent", [(), (1,), (0, 3)])
def test_the_texts_are_the_prompts_that_training_draws(silent):
  piece, rng = segment(silent=silent), np.random.default_rng(1)
  listed = set(texts.segment_texts(piece))
  drawn = set()
  for _ in range(2_000):
    group = pipeline.draw_group(piece, rng, group_stems=True, clause_dropout=0.5)
    for told, stem_type in itertools.product((group.context_types, ()), group.types):
      drawn.add(prompts.stem_prompt(stem_type, piece.caption, told))
  assert drawn == listed


def test_a_whole_mix_has_one_text():
  piece = segment(types=(MIX,))
  assert list(texts.segment_texts(piece)) == [prompts.mix_prompt("warm soul")]


@pytest.fixture
def folder(tmp_path):
  many = [f"text number {i} " + "la " * (i % 9) for i in range(2 * texts.ROWS + 5)]
  texts.write_texts(tmp_path / "texts", [*many, *many], embed)
  return tmp_path / "texts"


def test_embeddings_come_back_in_any_order(folder):
  asked = ["text number 7 " + "la " * 7, "text number 0 ", "text number 7 " + "la " * 7]
  found, mask = texts.open_texts(folder).encode(asked)
  expected, expected_mask = embed(asked)
  np.testing.assert_array_equal(mask, expected_mask)
  np.testing.assert_array_equal(found, expected.astype(np.float16))
  assert found.dtype == np.float16
  assert len(texts.open_texts(folder).keys) == 2 * texts.ROWS + 5  # each text once


def test_the_order_of_the_texts_does_not_matter(folder, tmp_path):
  many = [f"text number {i} " + "la " * (i % 9) for i in range(2 * texts.ROWS + 5)]
  texts.write_texts(tmp_path / "again", reversed(many), embed)
  for name in (texts.RECORDS, texts.KEYS, "index.json"):
    assert (folder / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_a_text_that_was_not_embedded_is_named(folder):
  with pytest.raises(DataError, match=r"no embedding of 'another'.*prepare again"):
    texts.open_texts(folder).encode(["another"])


def test_what_is_no_folder_of_texts_is_refused(folder, tmp_path):
  with pytest.raises(MissingError, match="--mode=prepare"):
    texts.open_texts(tmp_path)
  index = json.loads((folder / "index.json").read_text())
  (folder / "index.json").write_text(json.dumps(index | {"format": "other"}))
  with pytest.raises(DataError, match="format 'other'"):
    texts.open_texts(folder)


@pytest.mark.parametrize("name", [texts.RECORDS, texts.KEYS, "index.json"])
def test_a_file_cut_off_is_found(folder, name):
  data = (folder / name).read_bytes()
  (folder / name).write_bytes(data[: len(data) // 2])
  with pytest.raises(StemphonicError) as error:
    texts.open_texts(folder)
  assert error.value.exit_code == 65


def test_a_failure_leaves_no_folder(tmp_path):
  def broken(rows):
    raise OSError(28, "No space left on device")

  with pytest.raises(OutputError, match="No space left"):
    texts.write_texts(tmp_path / "texts", ["a"], broken)
  assert list(tmp_path.iterdir()) == []
