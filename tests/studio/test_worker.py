"""The worker with a real, tiny model: a song made, a range of it repaired, a work cancelled."""

import json

import numpy as np
import pytest

from stemphonic_jax.generation.saved import load_song
from stemphonic_jax.studio import worker
from stemphonic_jax.weights.known import Known, read_known
from tests import tiny


def order(folder, do, **ask):
  return {"job": "1", "folder": str(folder), "do": do, "ask": ask}


def test_a_song_is_made_and_a_range_of_one_stem_repaired(tmp_path):
  pipe, said = tiny.pipeline(), []
  line = worker.Line(said.append, "1")
  asked = {"prompt": "Slow dub", "stems": ["drums", "basses: muted"], "seed": 1, "passes": 1}
  asked |= {"bpm": 96, "duration": 2.0, "activity": {"drums": [[0, 1]]}}
  assert worker.work(pipe, order(tmp_path / "a", "make", **asked), line) == {"step": 0}
  first = load_song(tmp_path / "a")
  repair = {"stems": ["drums"], "range": [0.2, 0.6]}
  assert worker.work(pipe, order(tmp_path / "a", "again", **repair), line) == {"step": 1}
  second = load_song(tmp_path / "a")
  np.testing.assert_array_equal(second.stems["basses"], first.stems["basses"])
  changed = np.flatnonzero((second.stems["drums"] != first.stems["drums"]).any(axis=1))
  assert len(changed)
  assert 0.1 * tiny.RATE <= changed[0] < changed[-1] < 0.7 * tiny.RATE
  assert [step["do"] for step in second.info["steps"]] == ["generate", "again"]
  assert {message["stage"] for message in said} >= {"preparing", "making", "saving"}
  assert all(message["done"] <= message["of"] for message in said)
  about = worker.about(pipe)
  assert (about["rate"], about["seconds"], about["steps"]) == (tiny.RATE, 2.0, 4)

  line.cancelled.set()
  with pytest.raises(worker.Cancelled):
    worker.work(pipe, order(tmp_path / "a", "again", stems=["basses"]), line)
  assert len(load_song(tmp_path / "a").info["steps"]) == 2


def test_a_request_is_checked_by_what_the_worker_knows_of_its_model():
  found, expected = worker.known(tiny.pipeline()), read_known(tiny.model())
  assert Known(**json.loads(json.dumps(found))).__dict__ == expected.__dict__
