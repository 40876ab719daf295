"""A studio whose model is tests/studio/fake.py, on a port of its own, for all tests of a file."""

import contextlib
import json
import os
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FAKE = [sys.executable, "-m", "tests.studio.fake", "0.4"]


class Client:
  """Asks a studio as a program would; `base` is where it is."""

  def __init__(self, base: str, songs: Path):
    self.base, self.songs = base, songs

  def send(self, method, path, body=None, headers=None):
    """The status, the headers and the body of an answer."""
    data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    kind = {} if isinstance(body, bytes | None) else {"content-type": "application/json"}
    request = urllib.request.Request(self.base + path, data, {**kind, **(headers or {})})
    request.method = method
    try:
      with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
      return error.code, error.headers, error.read()

  def __call__(self, method, path, body=None, status=200):
    """What is in an answer of the status that is expected."""
    found, _, content = self.send(method, path, body)
    assert found == status, content[:500]
    return json.loads(content)

  def wait(self, job, state="done"):
    """A job when it has ended, in the state that is expected."""
    for _ in range(1200):
      job = self("GET", f"/api/jobs/{job['id']}")
      if job["state"] in ("done", "failed", "cancelled"):
        assert job["state"] == state, job
        return job
      time.sleep(0.02)
    raise AssertionError(f"still {job['state']}")

  def make(self, prompt="A test", stems=("drums", "basses"), **desk):
    """The id of a new song that was made."""
    lanes = [{"name": name} for name in stems]
    name = self("POST", "/api/songs", {"prompt": prompt, "lanes": lanes, **desk}, 201)["id"]
    self.wait(self("POST", f"/api/songs/{name}/jobs", {"do": "make"}, 202))
    return name


@contextlib.contextmanager
def running(songs: Path, command=FAKE):
  """A studio in a thread of this process."""
  pytest.importorskip("uvicorn", reason="needs the extra studio")
  from stemphonic_jax.studio.listening import Listening
  from stemphonic_jax.studio.server import Server
  from stemphonic_jax.studio.studio import Studio

  listener = socket.socket()
  listener.bind(("127.0.0.1", 0))
  host = f"127.0.0.1:{listener.getsockname()[1]}"
  server = Listening(Server(Studio(songs, command), {host}))
  thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
  thread.start()
  while not server.started:
    assert thread.is_alive()
    time.sleep(0.01)
  try:
    yield Client(f"http://{host}", songs)
  finally:
    server.should_exit = True
    thread.join(10)


@pytest.fixture(scope="module")
def studio(tmp_path_factory):
  """A client of a studio that runs."""
  with pytest.MonkeyPatch.context() as patch:
    patch.chdir(ROOT)  # from which the fake is imported
    patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    with running(tmp_path_factory.mktemp("studio") / "songs") as client:
      yield client
