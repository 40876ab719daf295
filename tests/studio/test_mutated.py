"""Requests of which something was changed at random: answered in one line, nothing is harmed."""

import json
import logging
import os
import random
import string
import urllib.parse

from stemphonic_jax.studio import openapi
from tests.studio import conftest

COUNT = int(os.environ.get("STEMPHONIC_REQUESTS", "200"))
ODD = [
  None, True, -1, 0, 1e308, 2**70, "", "..", "../../etc/passwd", "/etc/passwd", "a" * 5000, "\0",
  "drums", "~", ".studio", "bin", "é\u202e", "${HOME}", "<script>", "%2e%2e%2f", [], {}, [[]],
  [0, 1], [[0, 1]], {"drums": [[0, 1]]}, ["drums"], {"name": "drums"}, [{"name": "drums"}],
  {"drums": {"gain": 0}}, "again", "make", "at", "use", "remove", "extend", "loop", "vary",
]  # fmt: skip
BODIES = [
  {"prompt": "odd", "lanes": [{"name": "keys"}], "duration": 1},
  {"do": "again", "stems": ["drums"], "range": [1, 2]},
  {"do": "extend", "seconds": 9},
  {"do": "at", "step": 0},
  {"do": "use", "stem": "drums", "step": 0},
  {"title": "x", "takes": {"0 drums": "y"}},
  {"drums": {"gain": -3, "pan": 0.1}},
  {"uploads": [{"upload": "0", "type": "drums"}]},
]
ENTRIES = [entry for entry in openapi.ENTRIES if entry.handler != "listen"]


def mutated(chance, value, depth=0):
  """A value of which something is another one."""
  if depth > 3 or chance.random() < 0.3:
    return chance.choice(ODD)
  if isinstance(value, dict) and value:
    key = chance.choice(list(value))
    new = {**value, key: mutated(chance, value[key], depth + 1)}
    if chance.random() < 0.2:
      new[str(chance.choice(ODD))] = new.pop(key)
    return new
  if isinstance(value, list) and value:
    return [*value[:-1], mutated(chance, value[-1], depth + 1)] * chance.choice([1, 1, 2, 40])
  return chance.choice(ODD)


def address(chance, entry, song):
  """An address of which a part may be odd."""
  names = {"song": song, "step:int": "0", "stem": "drums", "job": "0", "thing": "0"}
  path = entry.path
  for name, value in names.items():
    odd = chance.choice([str(chance.choice(ODD)), "".join(chance.choices(string.printable, k=9))])
    value = odd if chance.random() < 0.4 else value
    path = path.replace("{" + name + "}", urllib.parse.quote(value, safe=chance.choice(["", "/."])))
  query = {key: str(chance.choice(ODD)) for key in entry.query if chance.random() < 0.5}
  return path + ("?" + urllib.parse.urlencode(query) if query else "")


def outside(songs):
  """What lies around the folder of songs."""
  return {path for path in songs.parent.rglob("*") if songs not in (path, *path.parents)}


def test_mutated_requests_are_answered_and_harm_nothing(tmp_path, studio, caplog):
  chance = random.Random(COUNT)
  with conftest.running(tmp_path / "songs") as other, caplog.at_level(logging.ERROR):
    name = other.make("Odd")
    before = outside(other.songs)
    for _ in range(COUNT):
      entry = chance.choice(ENTRIES)
      body = None
      if entry.body or entry.handler == "upload":
        body = json.dumps(mutated(chance, chance.choice(BODIES))).encode()
        body = body[: chance.randrange(len(body))] if chance.random() < 0.1 else body
      kind = {"content-type": "application/json"} if chance.random() < 0.9 else {}
      path = address(chance, entry, name)
      status, headers, content = other.send(entry.method, path, body, kind)
      assert status < 600
      assert status != 500, (entry.method, path, body, content)
      if status >= 400:
        assert headers["content-type"] == "application/json"
        (line,) = json.loads(content).values()
        assert line
        assert "\n" not in line
        assert "Traceback" not in line
      if not (other.songs / name).is_dir():
        name = other.make("Odd")
    assert outside(other.songs) == before
    other.make("Still at work")
  assert "Traceback" not in caplog.text
