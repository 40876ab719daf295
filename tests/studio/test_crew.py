"""Jobs one after the other: whatever happens to one of them, the next one is done."""

import json
import logging
import time

from stemphonic_jax.studio.crew import Crew
from tests.studio import conftest

GOOD = {"prompt": "Fine", "stems": ["drums"], "duration": 1}


def written(songs, number, **values):
  """A job in its file, as if a studio had accepted it."""
  job = {"id": f"{number}", "song": f"song-{number}", "do": "make", "ask": GOOD, **values}
  folder = songs / ".studio" / "jobs"
  folder.mkdir(parents=True, exist_ok=True)
  (folder / f"{number}.json").write_text(json.dumps(job))
  return job


def test_a_job_of_no_song_fails_and_the_next_one_is_done(tmp_path, studio):
  songs = tmp_path / "songs"
  odd = [
    written(songs, 1, song="../../etc"),
    written(songs, 2, ask=GOOD | {"others": ["../.."]}),
    written(songs, 3, song="\u202e"),
    written(songs, 4, song="linked"),
    written(songs, 5, ask=GOOD | {"stems": 5}),
    written(songs, 6, do="dance"),
  ]
  passed = written(songs, 7, state="running", before="x")
  last = written(songs, 8)
  (songs / "linked").symlink_to(tmp_path)
  before = set(tmp_path.iterdir())
  with conftest.running(songs) as other:
    said = [other.wait(job, "failed")["error"] for job in odd]
    assert other.wait(last)["result"] == {"songs": ["song-8"], "step": 0}
    other("GET", f"/api/jobs/{passed['id']}", status=404)
  assert said[0] == "no song '../../etc'; GET /api/songs lists those that are there"
  assert said[1].startswith("no song '../..'")
  assert said[3] == "no song 'linked': it is a link to another place"
  assert set(tmp_path.iterdir()) == before


def test_a_song_that_is_replaced_while_its_job_waits_costs_that_job(tmp_path, studio):
  songs = tmp_path / "songs"
  with conftest.running(songs) as other:
    jobs = []
    for prompt in ("slow first", "second", "third"):
      desk = {"prompt": prompt, "lanes": [{"name": "drums"}]}
      name = other("POST", "/api/songs", desk, 201)["id"]
      jobs.append(other("POST", f"/api/songs/{name}/jobs", {"do": "make"}, 202))
    (songs / "second").symlink_to(tmp_path)
    other.wait(jobs[0])
    said = other.wait(jobs[1], "failed")["error"]
    assert said == "no song 'second': it is a link to another place"
    other.wait(jobs[2])


def test_what_nobody_expected_is_in_the_log_and_the_next_job_is_done(
  tmp_path, studio, monkeypatch, caplog
):
  songs, finish = tmp_path / "songs", Crew._finish

  def odd(crew, job, message):
    if job.song == "song-1":
      raise LookupError("odd")
    finish(crew, job, message)

  monkeypatch.setattr(Crew, "_finish", odd)
  first, last = written(songs, 1), written(songs, 2)
  with conftest.running(songs) as other, caplog.at_level(logging.ERROR):
    error = other.wait(first, "failed")["error"]
    other.wait(last)
  assert error == "internal error, LookupError: odd; the studio's log shows where"
  assert "Traceback" in caplog.text


def test_a_loop_that_fails_goes_on(tmp_path, studio, monkeypatch, caplog):
  songs, ready, left = tmp_path / "songs", Crew._ready, [1]

  async def odd(crew):
    if left.pop() if left else 0:
      raise LookupError("odd")
    await ready(crew)

  monkeypatch.setattr(Crew, "_ready", odd)
  monkeypatch.setattr("stemphonic_jax.studio.crew.AGAIN", 0.1)
  job = written(songs, 1)
  with conftest.running(songs) as other, caplog.at_level(logging.ERROR):
    other.wait(job)
  assert "LookupError: odd" in caplog.text


def test_a_job_that_was_cut_off_and_cannot_be_looked_at_stops_no_studio(tmp_path, studio):
  songs = tmp_path / "songs"
  with conftest.running(songs) as other:
    name = other.make("There")
  ask = {"stems": 5, "names": 6}  # of which nothing can be taken over
  written(songs, 1, song=name, ask=ask, state="running", before=0, started=time.time())
  last = written(songs, 2)
  with conftest.running(songs) as other:
    other.wait(last)
