"""Embedded texts: what a batch may ask for is there, and what was embedded comes back."""

import itertools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from stemphonic_jax.data.batching import grouping, pipeline, prompts
from stemphonic_jax.data.batching.records import Segment
from stemphonic_jax.data.preparing import shards, texts
from stemphonic_jax.data.taxonomy import MIX
from stemphonic_jax.errors import DataError, MissingError, OutputError, StemphonicError

S, E = 12, 6
SHARD = 2 * texts.ROWS + 5
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


def segment(caption="warm soul", silent=(), types=TYPES, **changes):
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
    **changes,
  )


WORDED = {"captions": ("soul", ""), "words": ("brushed", "", "soft, low", "soft, low")}


@pytest.mark.parametrize(("silent", "changes"), [((), {}), ((1,), {}), ((0, 3), {}), ((), WORDED)])
def test_the_texts_are_the_prompts_that_training_draws(silent, changes):
  piece, rng = segment(silent=silent, **changes), np.random.default_rng(1)
  listed = set(texts.segment_texts(piece))
  drawn = set()
  for _ in range(2_000):
    targets = np.flatnonzero(grouping.draw_targets(rng, piece.audible))
    group = pipeline.draw_group(
      piece, targets, rng, rows=slice(None), conditional=True, clause_dropout=0.5, words_dropout=0.5
    )
    stems = zip(group.types, group.words, strict=True)
    for told, (stem_type, words) in itertools.product((group.context_types, ()), stems):
      drawn.add(prompts.stem_prompt(stem_type, group.caption, told, words))
  assert drawn == listed


def test_a_whole_mix_has_one_text():
  piece = segment(types=(MIX,))
  assert list(texts.segment_texts(piece)) == [prompts.mix_prompt("warm soul")]


COUNT = 3 * SHARD - 5
MANY = [f"text number {i} " + "la " * (i % 9) for i in range(COUNT)]


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
  monkeypatch.setattr(texts, "SMALLEST", SHARD)
  monkeypatch.setattr(texts, "BLOCK", 50)  # so that texts of earlier blocks come again


def write(folder, some=(*MANY, *MANY), embed=embed, **options):
  return texts.write_texts(folder, some, embed, "a T5", **options)


def content(folder):
  return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


@pytest.fixture
def folder(tmp_path):
  write(tmp_path / "texts")
  return tmp_path / "texts"


def test_embeddings_come_back_in_any_order(folder):
  asked = ["text number 7 " + "la " * 7, "text number 0 ", "text number 7 " + "la " * 7]
  found, mask = texts.open_texts(folder).encode(asked)
  expected, expected_mask = embed(asked)
  np.testing.assert_array_equal(mask, expected_mask)
  np.testing.assert_array_equal(found, expected.astype(np.float16))
  assert found.dtype == np.float16
  assert len(texts.open_texts(folder).keys) == COUNT  # each text once
  everything, _ = texts.open_texts(folder).encode(MANY)
  np.testing.assert_array_equal(everything, embed(MANY)[0].astype(np.float16))


def test_the_order_of_the_texts_does_not_matter(folder, tmp_path):
  write(tmp_path / "again", reversed(MANY))
  assert content(folder) == content(tmp_path / "again")
  files = {f"{number:05d}-of-00003.array_record" for number in range(3)}
  assert content(folder).keys() == {*files, texts.KEYS, "index.json"}


class Counting:
  """Embeds, and counts how many texts it has embedded; from the `full`-th on, the disk is full."""

  def __init__(self, full=COUNT + 1):
    self.count, self.full = 0, full

  def __call__(self, rows):
    if self.count + len(rows) > self.full:
      raise OSError(28, "No space left on device")
    self.count += len(rows)
    return embed(rows)


def test_what_was_embedded_is_not_embedded_again(folder, tmp_path):
  first, second = Counting(2 * SHARD + texts.ROWS), Counting()
  with pytest.raises(OutputError, match="No space left"):
    write(tmp_path / "again", embed=first)
  assert not (tmp_path / "again").exists()

  def not_needed():
    raise AssertionError("the texts are on disk")
    yield

  write(tmp_path / "again", not_needed(), second)
  assert second.count == COUNT - 2 * SHARD
  assert content(tmp_path / "again") == content(folder)
  assert {path.name for path in tmp_path.iterdir()} == {"texts", "again"}


@pytest.mark.parametrize("changes", [{"notes": {"records": "others"}}, {"encoder": "another T5"}])
def test_texts_of_others_are_not_gone_on_with(tmp_path, changes, monkeypatch):
  monkeypatch.setattr(shards, "PATIENCE", 0.2)
  with pytest.raises(OutputError):
    write(tmp_path / "texts", embed=Counting(2 * SHARD))
  counting = Counting()
  texts.write_texts(tmp_path / "texts", MANY, counting, **{"encoder": "a T5"} | changes)
  assert counting.count == COUNT
  assert write(tmp_path / "two", host=1, hosts=2) is None
  with pytest.raises(OutputError, match="start host 0 first"):
    write(tmp_path / "two", host=1, hosts=2, notes={"records": "others"})


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_hosts_share_the_texts(folder, tmp_path, order):
  counts = []
  for host in order:
    counting = Counting()
    found = write(tmp_path / "shared", embed=counting, host=host, hosts=3)
    assert (found is None) == (host != order[-1])
    counts.append(counting.count)
  assert sum(counts) == COUNT
  assert content(tmp_path / "shared") == content(folder)
  assert len(found.keys) == COUNT


def test_the_number_and_some_of_the_texts_are_told_before(tmp_path):
  def check(count, sample):
    assert count == COUNT
    assert set(sample) <= set(MANY)
    raise OutputError("the disk is small")

  counting = Counting()
  with pytest.raises(OutputError, match="the disk is small"):
    write(tmp_path / "texts", embed=counting, check=check)
  assert counting.count == 0
  assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("block", [50, COUNT])
def test_two_texts_with_one_hash_are_refused(tmp_path, monkeypatch, block):
  hashes = texts._hashes
  same = {MANY[3]: 7, MANY[60]: 7}
  monkeypatch.setattr(texts, "_hashes", lambda t: (same.get(t, hashes(t)[0]), hashes(t)[1]))
  monkeypatch.setattr(texts, "BLOCK", block)
  with pytest.raises(DataError, match="another text have one hash"):
    write(tmp_path / "texts")
  with pytest.raises(DataError, match="no texts to embed"):
    write(tmp_path / "texts", ())


# Two processes for each of two hosts, of which some are killed; the last two are left to end.
PROGRAM = """
import os, random, signal, sys, time
from pathlib import Path
from tests.data.preparing import test_texts
from stemphonic_jax.data.preparing import texts
texts.SMALLEST, folder, random = 2, Path(sys.argv[1]), random.Random(0)

def slowly(rows):
  time.sleep(0.004)
  return test_texts.embed(rows)

for kill in range(21):
  children = []
  for host in (0, 1):
    children.append(os.fork())
    if not children[-1]:
      try:
        if not folder.exists():
          test_texts.write(folder, embed=slowly, host=host, hosts=2)
      except BaseException as error:
        print(error, flush=True)
        os._exit(1)
      os._exit(0)
  if kill < 20:
    time.sleep(random.uniform(0.001, 0.012))
    for child in children:
      os.kill(child, signal.SIGKILL)
  print(*(os.waitpid(child, 0)[1] for child in children), flush=True)
"""


def test_two_hosts_killed_twenty_times_make_what_one_makes(folder, tmp_path, monkeypatch):
  command = [sys.executable, "-c", PROGRAM, str(tmp_path / "two")]
  ended = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split("\n")
  assert ended == ["9 9"] * 20 + ["0 0", ""]
  monkeypatch.setattr(texts, "SMALLEST", 2)
  write(tmp_path / "one")
  assert content(tmp_path / "two") == content(tmp_path / "one")
  assert {path.name for path in tmp_path.iterdir()} == {"texts", "one", "two"}


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


@pytest.mark.parametrize("name", ["00001-of-00003.array_record", texts.KEYS, "index.json"])
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
