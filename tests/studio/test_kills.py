"""A studio that is killed at any moment: each job that it accepted is done, once, and whole."""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from stemphonic_jax.errors import OutputError
from stemphonic_jax.generation.saved import load_song
from stemphonic_jax.studio.files import lock_folder
from stemphonic_jax.studio.jobs import Jobs
from tests.studio.conftest import ROOT, Client

KILLS = max(2, int(os.environ.get("STEMPHONIC_KILLS", "2")) // 10)
SERVE = """
import sys, time
from pathlib import Path
from tests.studio.conftest import running
with running(Path(sys.argv[1])) as client:
  print(client.base, flush=True)
  time.sleep(600)
"""


pytest.importorskip("uvicorn", reason="needs the extra studio")


def start(songs):
  environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
  command = [sys.executable, "-c", SERVE, songs]
  process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
  return process, Client(process.stdout.readline().strip(), songs)


def test_no_job_is_lost_and_none_is_done_twice(tmp_path):
  chance = random.Random(KILLS)
  process, client = start(tmp_path)
  desk = {"lanes": [{"name": "drums"}], "duration": 1}
  accepted = []
  for kill in range(KILLS):
    name = client("POST", "/api/songs", {**desk, "prompt": f"slow {kill}"}, 201)["id"]
    accepted.append(client("POST", f"/api/songs/{name}/jobs", {"do": "make"}, 202))
    time.sleep(chance.uniform(0, 2))
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    process, client = start(tmp_path)
  with pytest.raises(OutputError, match="another studio works on these songs"):
    lock_folder(tmp_path / ".studio")
  jobs = [client.wait(job) for job in accepted]
  assert len({job["song"] for job in jobs}) == KILLS
  for job in jobs:
    song = load_song(tmp_path / job["song"])
    assert len(song.info["steps"]) == 1
    assert song.samples == 8_000
  process.kill()
  process.wait()
  process.stdout.close()


def test_a_job_is_on_the_disk_before_it_is_accepted_and_a_damaged_one_is_passed_over(tmp_path):
  told = []
  jobs = Jobs(tmp_path, told.append)
  job = asyncio.run(jobs.accept("a", "make", {"stems": ["drums"]}))
  (path,) = tmp_path.glob("*.json")
  assert json.loads(path.read_text())["state"] == "queued"
  (tmp_path / "0.json").write_text("{")
  (tmp_path / "1.json").write_text("[]")
  (tmp_path / "2.json").write_text("[" * 100_000)
  good = {"id": "3", "song": "a", "do": "make", "ask": {}}
  odd = [{"before": "x"}, {"attempts": "x"}, {"song": 5}, {"ask": [1]}, {"state": "asleep"}]
  odd += [{"id": "../3"}, {"ask": {"others": 1}}, {"ask": {"others": [1]}}, {"error": "\ud800"}]
  odd += [{"created": float("nan")}, {"started": "now"}, {"ask": None}]
  for number, values in enumerate(odd):
    content = {**good, "id": f"3{number}", "state": "running", **values}
    (tmp_path / f"3{number}.json").write_text(json.dumps(content))
  again = Jobs(tmp_path)
  assert [one.id for one in again.all()] == [job.id]
  assert again.next().ask == {"stems": ["drums"]}
  jobs.change(job, state="running")
  assert [one.id for one in Jobs(tmp_path).cut_off()] == [job.id]
  assert told == [job, job]
