"""The REST API: a song from its desk to its export, and one line for what cannot be."""

import asyncio
import io
import json
import subprocess
import sys
import threading
import time
import urllib.request
import zipfile

import numpy as np
import pytest
import soundfile

from stemphonic_jax.errors import OutputError
from stemphonic_jax.studio import jobs, openapi
from stemphonic_jax.studio.desk import named
from stemphonic_jax.studio.studio import Studio
from tests.studio import conftest, fake

NOISE = np.random.default_rng(0).uniform(-0.1, 0.1, (4 * fake.RATE, 2)).astype(np.float32)


def wav(audio=NOISE, rate=fake.RATE):
  file = io.BytesIO()
  soundfile.write(file, audio, rate, format="WAV", subtype="FLOAT")
  return file.getvalue()


def step_of(song, stem):
  return song["song"]["steps"][song["song"]["now"]]["stems"][stem]


def heard(studio, name, stem):
  song = studio("GET", f"/api/songs/{name}")
  path = f"/api/songs/{name}/takes/{step_of(song, stem)}/{stem}/audio"
  return soundfile.read(io.BytesIO(studio.send("GET", path)[2]), dtype="float32")[0]


def test_a_song_is_made_of_its_desk_edited_taken_back_and_exported(studio):
  lanes = [{"name": "drums", "activity": [[0, 4]]}, {"name": "basses 2", "words": "muted"}]
  desk = {"prompt": "Café funk", "key": "A minor", "bpm": 120, "metre": "3/4", "lanes": lanes}
  song = studio("POST", "/api/songs", desk, 201)
  name = song["id"]
  assert (name, song["song"]) == ("café-funk-in-a-minor", None)
  name = urllib.request.quote(name)
  job = studio("POST", f"/api/songs/{name}/jobs", {"do": "make"}, 202)
  assert job["ask"]["prompt"] == "Café funk in A minor"
  assert job["ask"]["stems"] == ["drums", "basses: muted"]
  assert studio.wait(job)["result"] == {"songs": [song["id"]], "step": 0}
  song = studio("GET", f"/api/songs/{name}")
  assert list(song["song"]["stems"]) == ["drums", "basses"]
  assert song["song"]["activity"] == {"drums": [[0, 4]]}
  assert song["song"]["metre"] == "3/4"
  assert song["desk"]["lanes"][0]["activity"] is None  # it is in the song now
  first = heard(studio, name, "drums")
  assert first[: 4 * fake.RATE].any()
  assert not first[4 * fake.RATE :].any()

  again = {"do": "again", "stems": ["drums"], "range": [2, 3], "seed": 7}
  studio.wait(studio("POST", f"/api/songs/{name}/jobs", again, 202))
  second = heard(studio, name, "drums")
  changed = np.flatnonzero((first != second).any(axis=1)) / fake.RATE
  assert 2 <= changed.min() < changed.max() < 3
  song = studio("POST", f"/api/songs/{name}/now", {"do": "at", "step": 0})
  assert (song["song"]["now"], len(song["song"]["steps"])) == (0, 2)
  np.testing.assert_array_equal(heard(studio, name, "drums"), first)
  song = studio("POST", f"/api/songs/{name}/now", {"do": "use", "stem": "drums", "step": 1})
  np.testing.assert_array_equal(heard(studio, name, "drums"), second)

  mixer = studio("PATCH", f"/api/songs/{name}/mixer", {"basses": {"mute": True}})
  assert mixer["basses"] == {"gain": 0, "pan": 0, "mute": True, "solo": False}
  status, headers, content = studio.send("GET", f"/api/songs/{name}/export?as=zip&bits=24")
  assert status == 200
  assert "filename*=utf-8''caf%C3%A9-funk-in-a-minor.zip" in headers["content-disposition"]
  assert zipfile.ZipFile(io.BytesIO(content)).namelist() == ["drums.wav", "mix.wav"]
  assert song["id"] in [one["id"] for one in studio("GET", "/api/songs")]


def test_audio_comes_in_ranges_and_waveforms_in_little(studio):
  name = studio.make("Ranges")
  path = f"/api/songs/{name}/takes/0/drums/"
  status, headers, whole = studio.send("GET", path + "audio")
  assert (status, headers["accept-ranges"]) == (200, "bytes")
  status, headers, part = studio.send("GET", path + "audio", headers={"range": "bytes=100-199"})
  assert (status, part) == (206, whole[100:200])
  peaks = np.frombuffer(studio.send("GET", path + "peaks")[2], "<i2").reshape(-1, 2)
  assert len(peaks) == pytest.approx(6000, rel=0.1)
  audio = heard(studio, name, "drums")
  assert peaks.max() == pytest.approx(audio.max() * 16384, abs=1)
  assert peaks.min() == pytest.approx(audio.min() * 16384, abs=1)


def test_variations_are_songs_of_their_own(studio):
  name = studio.make("Two of them", variations=2)
  others = [one["id"] for one in studio("GET", "/api/songs") if one["id"].startswith("two-of")]
  assert len(others) == 2
  assert np.any(heard(studio, name, "drums") != heard(studio, f"{name}-2", "drums"))


def test_missing_stems_are_added_and_locked_ones_left_alone(studio):
  name = studio.make("More")
  desk = studio("GET", f"/api/songs/{name}")["desk"]
  desk["lanes"][0]["locked"] = True
  lanes = [*desk["lanes"], {"name": "keys 2", "type": "keys"}]
  studio("PATCH", f"/api/songs/{name}", {"lanes": lanes})
  job = studio("POST", f"/api/songs/{name}/jobs", {"do": "make"}, 202)
  assert (job["do"], job["ask"]["stems"]) == ("add", ["keys"])
  studio.wait(job)
  job = studio("POST", f"/api/songs/{name}/jobs", {"do": "again"}, 202)
  assert job["ask"]["stems"] == ["basses", "keys"]  # as it is the only one, it is called so
  studio.wait(job)
  said = studio("POST", f"/api/songs/{name}/jobs", {"do": "again", "stems": ["drums"]}, 400)
  assert said == {"error": "again: drums is locked; unlock it first"}


def test_own_audio_begins_a_song_and_joins_one(studio):
  given = studio.send("POST", "/api/uploads?name=Lead%20Vox.wav", wav())
  upload = json.loads(given[2])
  assert (given[0], upload["type"], upload["seconds"]) == (201, "vocals", 4)
  name = studio("POST", "/api/songs", {"prompt": "Mine"}, 201)["id"]
  for _ in range(100):
    if studio("GET", "/api/studio")["model"]["state"] == "ready":
      break
    time.sleep(0.05)
  stems = [{"upload": upload["upload"], "type": "vocals"}]
  song = studio("POST", f"/api/songs/{name}/stems", {"uploads": stems})["song"]
  assert song["stems"] == {"vocals": {"type": "vocals", "given": True}}
  np.testing.assert_array_equal(heard(studio, name, "vocals"), NOISE)
  other = json.loads(studio.send("POST", "/api/uploads?name=theremin.wav", wav(NOISE[:100]))[2])
  stems = [{"upload": other["upload"], "type": "theremin"}]
  song = studio("POST", f"/api/songs/{name}/stems", {"uploads": stems})["song"]
  assert list(song["stems"]) == ["vocals", "theremin"]
  assert len(heard(studio, name, "theremin")) == len(NOISE)
  long = json.loads(
    studio.send("POST", "/api/uploads?name=gtr.wav", wav(np.tile(NOISE, (2, 1))))[2]
  )
  stems = [{"upload": long["upload"], "type": "guitars"}]
  said = studio("POST", f"/api/songs/{name}/stems", {"uploads": stems}, 422)["error"]
  assert said == "guitars: lasts 8.00 s and the song 4.00 s; cut it"


def test_a_given_stem_does_not_have_the_name_of_the_songs_own_mix(studio):
  name = studio.make("Not mixed up", stems=["drums"])
  given = json.loads(studio.send("POST", "/api/uploads?name=all.wav", wav())[2])["upload"]
  before = (studio.songs / name / "mix.wav").read_bytes()
  for kind in ("mix", "MIX"):
    stems = {"uploads": [{"upload": given, "type": kind}]}
    said = studio("POST", f"/api/songs/{name}/stems", stems, 400)["error"]
    assert said == (
      f"stem: '{kind}' is the name of a song's own mix; call it what it is, as 'drums'"
    )
  assert (studio.songs / name / "mix.wav").read_bytes() == before
  stems = {"uploads": [{"upload": given, "type": "other"}]}  # it is there still
  song = studio("POST", f"/api/songs/{name}/stems", stems)["song"]
  assert list(song["stems"]) == ["drums", "other"]
  np.testing.assert_array_equal(heard(studio, name, "other")[: len(NOISE)], NOISE)


def test_a_whole_mix_is_called_as_the_model_will_call_it(tmp_path):
  studio = Studio(tmp_path, [])
  desk = {"prompt": "All of it", "lanes": [{"name": "whole", "type": "mix"}]}
  name = asyncio.run(studio.new(desk))["id"]
  job = asyncio.run(studio.ask(name, {"do": "make"}))
  assert (job.ask["stems"], job.ask["names"]) == (["mix"], ["music"])
  assert [lane["name"] for lane in studio.desk(name)["lanes"]] == ["music"]
  studio.close()


def test_names_of_takes_that_are_no_more_may_be_sent_with_new_ones(studio):
  """Pages send all names at once, and a desk may be older than its song."""
  name = studio.make("Renamed")
  lanes = studio("GET", f"/api/songs/{name}")["desk"]["lanes"]
  desk = {"lanes": lanes, "takes": {"7 keys": "of old"}}
  (studio.songs / ".studio" / "desks" / f"{name}.json").write_text(json.dumps(desk))
  takes = {"7 keys": "of old", "0 drums": "new"}
  assert studio("PATCH", f"/api/songs/{name}", {"takes": takes})["takes"] == takes
  said = studio("PATCH", f"/api/songs/{name}", {"takes": {"8 keys": "?"}}, 400)["error"]
  assert said == "takes: no take of 'keys' of step 8; GET the song lists them"


def test_what_is_not_named_of_a_strip_stays(studio):
  path = f"/api/songs/{studio.make('Mixed')}/mixer"
  studio("PATCH", path, {"drums": {"gain": -3, "solo": True}, "basses": {"mute": True}})
  mixer = studio("PATCH", path, {"drums": {"pan": 0.2}})
  assert mixer == {
    "drums": {"gain": -3, "pan": 0.2, "mute": False, "solo": True},
    "basses": {"gain": 0, "pan": 0, "mute": True, "solo": False},
  }


WRONG = [
  ({"do": "again", "range": [3, 1]}, "range 3-1: expected start < end within 0-8 s"),
  ({"do": "again", "range": [[0, 1], [0.5, 2]]}, "ranges overlap"),
  ({"do": "again", "seed": -1}, "seed: got -1, expected 0 to"),
  ({"do": "again", "steps": 0}, "steps: got 0, expected 1 to"),
  ({"do": "again", "prompt": " "}, "the prompt is empty"),
  ({"do": "again", "activity": {"keys": [[0, 1]]}}, "activity for 'keys', which is not asked for"),
  ({"do": "vary"}, "vary: strength is missing"),
  ({"do": "vary", "strength": 2}, "strength: got 2.0, expected 0.01 to 1"),
  ({"do": "add"}, "add: stems is missing"),
  ({"do": "add", "stems": ["pinao"]}, "unknown stem type 'pinao'; did you mean 'keys'"),
  ({"do": "extend"}, "extend: seconds is missing"),
  ({"do": "extend", "seconds": 4}, "seconds: got 4, expected more than the 8 s of the song"),
  ({"do": "loop", "range": [0, 9]}, "range 0-9: expected start < end within 0-8 s"),
]


def test_a_job_that_would_fail_is_refused_at_once(studio):
  name = studio.make("Refused")
  jobs_ = f"/api/songs/{name}/jobs"
  before = len(studio("GET", "/api/jobs"))
  for given, line in WRONG:
    assert studio("POST", jobs_, given, 400)["error"].startswith(line)
  desk = {"lanes": [{"name": "one", "type": "zither"}, {"name": "two", "type": "keys"}]}
  for prompt, line in (("", "the prompt is empty"), ("Odd", "unknown stem type 'zither'")):
    other = studio("POST", "/api/songs", desk | {"prompt": prompt}, 201)
    said = studio("POST", f"/api/songs/{other['id']}/jobs", {"do": "make"}, 400)["error"]
    assert said.startswith(line)
    assert studio("GET", f"/api/songs/{other['id']}")["desk"] == other["desk"]
  assert len(studio("GET", "/api/jobs")) == before
  for given in ({"do": "loop"}, {"do": "extend", "seconds": 9, "left": True}):
    studio.wait(studio("POST", jobs_, given, 202))


def test_an_edit_of_what_waiting_jobs_will_make_is_accepted(studio):
  name = studio.make("Later")
  jobs_ = f"/api/songs/{name}/jobs"
  studio("POST", jobs_, {"do": "again", "range": [9, 10]}, 400)
  studio("POST", jobs_, {"do": "extend", "seconds": 12, "prompt": "slow"}, 202)
  studio.wait(studio("POST", jobs_, {"do": "again", "range": [9, 10]}, 202))


def test_a_song_that_another_model_made_is_not_asked_for(studio):
  name = studio.make("Foreign")
  file = studio.songs / name / "song.json"
  file.write_text(file.read_text().replace('"fake"', '"another"'))
  said = studio("POST", f"/api/songs/{name}/jobs", {"do": "again"}, 409)["error"]
  assert said.startswith("another model made this song (another, not fake)")


def test_a_name_that_is_too_long_for_a_desk_is_that_of_no_studio(tmp_path):
  (tmp_path / ".studio" / "desks").mkdir(parents=True)
  assert named(tmp_path / ("a" * 255)) == ("", {})


def test_songs_stems_and_takes_have_the_names_that_people_give_them(studio):
  name = studio.make("Named", stems=("drums", "guitars"))
  lanes = studio("GET", f"/api/songs/{name}")["desk"]["lanes"]
  lanes = [
    lane | {"label": label} for lane, label in zip(lanes, ("mix", " lead/one "), strict=True)
  ]
  given = {"title": "Sunday\ngroove", "lanes": lanes, "takes": {"0 drums": "the first", "1 x": ""}}
  desk = studio("PATCH", f"/api/songs/{name}", given)
  assert (desk["title"], desk["takes"]) == ("Sunday groove", {"0 drums": "the first"})
  (listed,) = [one for one in studio("GET", "/api/songs") if one["id"] == name]
  assert listed["title"] == "Sunday groove"
  _, headers, content = studio.send("GET", f"/api/songs/{name}/export?as=zip")
  assert "filename*=utf-8''Sunday%20groove.zip" in headers["content-disposition"]
  names = zipfile.ZipFile(io.BytesIO(content)).namelist()
  assert names == ["mix 2.wav", "lead one.wav", "mix.wav"]
  assert named(studio.songs / name) == ("Sunday groove", {"drums": "mix", "guitars": "lead/one"})
  assert named(studio.songs) == ("", {})


def test_words_of_a_made_stem_are_asked_for_and_then_the_song_has_them(studio):
  name = studio.make("Words", stems=("guitars", "keys"))
  lanes = studio("GET", f"/api/songs/{name}")["desk"]["lanes"]
  assert [lane["words"] for lane in lanes] == [None, None]
  for lane in lanes:
    lane["words"] = "muted"
  studio("PATCH", f"/api/songs/{name}", {"lanes": lanes})
  again = {"do": "again", "stems": ["guitars:  muted"]}
  job = studio("POST", f"/api/songs/{name}/jobs", again, 202)
  assert job["ask"]["names"] == ["guitars"]
  studio.wait(job)
  song = studio("GET", f"/api/songs/{name}")
  assert song["song"]["words"] == {"guitars": "muted"}
  assert [lane["words"] for lane in song["desk"]["lanes"]] == [None, "muted"]


def test_two_songs_of_one_prompt_that_are_asked_for_at_once_are_two(tmp_path):
  studio = Studio(tmp_path, ["true"])

  async def both():
    return await asyncio.gather(*(studio.new({"prompt": "slow funk"}) for _ in range(2)))

  assert [song["id"] for song in asyncio.run(both())] == ["slow-funk", "slow-funk-2"]
  studio.close()


def test_two_pages_hear_of_what_the_other_does(studio):
  name = studio("POST", "/api/songs", {"prompt": "Heard"}, 201)["id"]
  events, ready = [], threading.Event()

  def listen():
    with urllib.request.urlopen(studio.base + "/api/events", timeout=20) as stream:
      ready.set()
      for line in stream:
        if line.startswith(b"data: "):
          events.append(json.loads(line[6:]))
        if len(events) == 2:
          return

  thread = threading.Thread(target=listen, daemon=True)
  thread.start()
  ready.wait(10)
  time.sleep(0.1)
  studio.send("PATCH", f"/api/songs/{name}", {"bpm": 99}, {"x-page": "left"})
  lanes = [{"name": "drums"}]
  studio("PATCH", f"/api/songs/{name}", {"lanes": lanes})
  thread.join(10)
  assert [event["type"] for event in events] == ["desk", "desk"]
  assert (events[0]["author"], events[0]["desk"]["bpm"]) == ("left", 99)
  assert (events[1]["desk"]["bpm"], events[1]["desk"]["lanes"][0]["type"]) == (99, "drums")


def test_a_job_is_cancelled_in_the_queue_at_work_and_where_it_does_not_listen(studio):
  names = [f"slow {word}" for word in ("deaf", "hearing", "waiting")]
  jobs = []
  for prompt in names:
    desk = {"prompt": prompt, "lanes": [{"name": f"keys {number}"} for number in range(4)]}
    name = studio("POST", "/api/songs", desk, 201)["id"]
    jobs.append(studio("POST", f"/api/songs/{name}/jobs", {"do": "make"}, 202))
  deaf, hearing, waiting = jobs
  while studio("GET", f"/api/jobs/{deaf['id']}")["state"] == "queued":
    time.sleep(0.02)
  assert studio("DELETE", f"/api/jobs/{waiting['id']}")["state"] == "cancelled"
  time.sleep(0.2)
  start = time.monotonic()
  assert studio("DELETE", f"/api/jobs/{deaf['id']}")["state"] == "cancelled"  # its process is ended
  assert time.monotonic() - start < 2
  while not (studio("GET", f"/api/jobs/{hearing['id']}")["progress"] or {}).get("done"):
    time.sleep(0.02)
  start = time.monotonic()
  assert studio("DELETE", f"/api/jobs/{hearing['id']}")["state"] == "cancelled"
  assert time.monotonic() - start < 1
  for prompt in names:
    assert not (studio.songs / prompt.replace(" ", "-")).exists()
  studio.make("After all that")


def test_a_job_that_fails_or_whose_process_dies_says_why_and_the_next_one_runs(studio):
  desk = {"prompt": "fail", "lanes": [{"name": "drums"}]}
  name = studio("POST", "/api/songs", desk, 201)["id"]
  job = studio.wait(studio("POST", f"/api/songs/{name}/jobs", {"do": "make"}, 202), "failed")
  assert job["error"] == "the prompt says that it fails; leave that word out"
  assert job["code"] == 2
  name = studio("POST", "/api/songs", {**desk, "prompt": "die"}, 201)["id"]
  job = studio.wait(studio("POST", f"/api/songs/{name}/jobs", {"do": "make"}, 202), "failed")
  assert job["error"].startswith("the process of the model ended; is there memory enough?, 2 times")
  studio.make("Another")


BAD = [
  ("GET", "/api/songs/nothing", None, 404),
  ("GET", "/api/songs/..", None, 404),
  ("GET", "/api/songs/..%2f..%2fetc", None, 404),
  ("GET", "/api/songs/%2e%2e~%2e%2e~etc", None, 404),
  ("GET", "/api/songs/.studio", None, 404),
  ("GET", "/api/songs/a~b~c~d", None, 404),
  ("GET", "/api/songs/bad/takes/0/..%2f..%2f..%2fetc%2fpasswd/audio", None, 404),
  ("GET", "/api/songs/bad/takes/0/%2e%2e/audio", None, 404),
  ("GET", "/api/songs/bad/takes/7/drums/audio", None, 404),
  ("GET", "/api/songs/bad/takes/-1/drums/audio", None, 404),
  ("GET", "/page/..%2fserver.py", None, 404),
  ("GET", "/page/app.py", None, 404),
  ("GET", "/api/songs/bad/export?as=exe", None, 400),
  ("GET", "/api/jobs/..%2f1", None, 404),
  ("DELETE", "/api/songs/nothing", None, 404),
  ("DELETE", "/api/songs/..", None, 404),
  ("DELETE", "/api/songs/.studio", None, 404),
  ("DELETE", "/api/songs/bad/takes/0/drums", None, 400),
  ("DELETE", "/api/songs/bad/takes/0/..%2fdrums", None, 404),
  ("PUT", "/api/songs/bad", None, 405),
  ("POST", "/api/bin/..%2fjobs", None, 404),
  ("POST", "/api/bin/..", None, 404),
  ("DELETE", "/api/bin/...", None, 404),
  ("POST", "/api/songs", [1], 400),
  ("POST", "/api/songs", {"bpm": 7}, 400),
  ("POST", "/api/songs", {"metre": "3/5"}, 400),
  ("POST", "/api/songs", {"bpm": float("nan")}, 400),
  ("POST", "/api/songs", {"seed": 1e99}, 400),
  ("POST", "/api/songs", {"lanes": [{"name": "../drums"}]}, 400),
  ("POST", "/api/songs", {"lanes": [{"name": "drums", "activity": [[4, 2]]}]}, 400),
  ("POST", "/api/songs", {"lanes": [{"name": "drums"}, {"name": "Drums"}]}, 400),
  ("POST", "/api/songs", b"prompt=a", 400),
  ("PATCH", "/api/songs/bad", {"colour": "red"}, 400),
  ("PATCH", "/api/songs/bad", {"title": ["Dub"]}, 400),
  ("PATCH", "/api/songs/bad", {"takes": {"../drums": "good"}}, 400),
  ("PATCH", "/api/songs/bad", {"takes": {"0 ../drums": "good"}}, 400),
  ("PATCH", "/api/songs/bad", {"takes": {"99 drums": "good"}}, 400),
  ("PATCH", "/api/songs/bad", {"takes": {"0 keys": "good"}}, 400),
  ("PATCH", "/api/songs/bad", {"title": "\udfff"}, 400),
  ("PATCH", "/api/songs/bad", {"\udfff": ""}, 400),
  ("PATCH", "/api/songs/bad", {"lanes": [{"name": "Mix"}]}, 400),
  ("POST", "/api/songs", {"prompt": "\ud800"}, 400),
  ("POST", "/api/songs", {"lanes": [{"name": "mix"}]}, 400),
  ("POST", "/api/songs", {"takes": {"0 drums": "good"}}, 400),
  ("PATCH", "/api/songs/bad/mixer", {"nostem": {"gain": 0}}, 400),
  ("PATCH", "/api/songs/bad/mixer", {"drums": 3}, 400),
  ("POST", "/api/songs/bad/jobs", {"do": "again", "prompt": "\ud800"}, 400),
  ("POST", "/api/songs/bad/jobs", {"do": "again", "seed": float("nan")}, 400),
  ("PATCH", "/api/songs/bad/mixer", {"drums": {"gain": 99}}, 400),
  ("PATCH", "/api/songs/bad/mixer", {"../drums": {"gain": 0}}, 400),
  ("POST", "/api/songs/bad/now", {"do": "at", "step": 9}, 400),
  ("POST", "/api/songs/bad/now", {"do": "at", "step": "x"}, 400),
  ("POST", "/api/songs/bad/now", {"do": "rm"}, 400),
  ("POST", "/api/songs/bad/jobs", {"do": "make"}, 400),
  ("POST", "/api/songs/bad/jobs", {"do": "again", "stems": ["zither"]}, 400),
  ("POST", "/api/songs/bad/jobs", {"do": "again", "folder": "/etc"}, 400),
  ("POST", "/api/songs/bad/stems", {"uploads": [{"upload": "../../x", "type": "drums"}]}, 404),
  ("POST", "/api/uploads?name=x.exe", b"MZ", 422),
  ("POST", "/api/uploads?name=..%2f..%2fx.wav", b"RIFF", 422),
]


def test_what_cannot_be_is_one_line_and_changes_nothing(studio):
  studio.make("Bad", stems=["drums"])
  before = {path for path in studio.songs.parent.rglob("*") if ".studio" not in path.parts}
  for method, path, body, status in BAD:
    found, headers, content = studio.send(method, path, body)
    assert found == status, (method, path, body, content)
    assert headers["content-type"] == "application/json"
    (line,) = json.loads(content).values()
    assert line
    assert "\n" not in line
    assert "Traceback" not in line
    assert str(studio.songs) not in line or "no song" in line
  after = {path for path in studio.songs.parent.rglob("*") if ".studio" not in path.parts}
  assert after == before


def test_songs_that_are_damaged_are_listed_with_the_reason(studio):
  (studio.songs / "broken").mkdir()
  (studio.songs / "broken" / "song.json").write_text("{")
  (studio.songs / "linked").symlink_to("/etc")
  listed = {one["id"]: one for one in studio("GET", "/api/songs")}
  assert "cannot be read" in listed["broken"]["error"]
  assert "linked" not in listed
  studio("GET", "/api/songs/broken", status=422)
  studio("GET", "/api/songs/linked", status=404)


def test_the_document_lists_all_addresses(studio):
  document = studio("GET", "/api/openapi.json")
  assert document["openapi"].startswith("3.")
  operations = [way["operationId"] for path in document["paths"].values() for way in path.values()]
  assert sorted(operations) == sorted(entry.handler for entry in openapi.ENTRIES)
  for name in ("", "page/app.js", "page/style.css", "favicon.ico"):
    status, headers, content = studio.send("GET", f"/{name}")
    assert status == 200
    assert content
    assert "script-src 'self'" in headers["content-security-policy"]


def test_without_a_model_songs_are_there_and_jobs_say_why(tmp_path, studio):
  says = 'print(\'{"error": "demo: no such model", "code": 66}\')'
  with conftest.running(tmp_path, [sys.executable, "-c", says]) as other:
    desk = {"prompt": "No model", "lanes": [{"name": "drums"}]}
    name = other("POST", "/api/songs", desk, 201)["id"]
    job = other("POST", f"/api/songs/{name}/jobs", {"do": "make"}, 202)
    job = other.wait(job, "failed")
    assert (job["error"], job["code"]) == ("the model cannot be loaded: demo: no such model", 66)
    model = other("GET", "/api/studio")["model"]
    assert model == {"state": "failed", "error": "demo: no such model"}


def test_a_full_disk_is_said_and_nothing_is_accepted(studio, monkeypatch):
  name = studio("POST", "/api/songs", {"prompt": "Full", "lanes": [{"name": "drums"}]}, 201)["id"]
  before = len(studio("GET", "/api/jobs"))

  def full(*_):
    raise OutputError("jobs/1.json: cannot be written (No space left on device)")

  monkeypatch.setattr(jobs, "write_json", full)
  said = studio("POST", f"/api/songs/{name}/jobs", {"do": "make"}, 507)["error"]
  assert "No space left on device" in said
  assert len(studio("GET", "/api/jobs")) == before


def test_the_server_does_without_jax():
  code = "import stemphonic_jax.studio.server, sys; assert not {'jax', 'librosa'} & {*sys.modules}"
  subprocess.run([sys.executable, "-c", code], check=True, cwd=conftest.ROOT)
