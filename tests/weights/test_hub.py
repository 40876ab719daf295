"""Models by name: the real library against its own cache, and against a hub on this machine."""

import hashlib
import http.server
import json
import shutil
import sys
import threading
from types import SimpleNamespace

import pytest

from stemphonic_jax.errors import MissingError, UsageError
from stemphonic_jax.weights import bundle, hub
from tests import tiny

constants = pytest.importorskip("huggingface_hub.constants")

COMMIT, OLDER = "a" * 40, "b" * 40


@pytest.fixture
def cache(tmp_path, monkeypatch):
  """An empty cache of the hub."""
  cache = tmp_path / "cache"
  monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
  return cache


@pytest.fixture
def offline(cache, monkeypatch):
  """The cache as it is after the tiny model was fetched, and no network."""
  monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
  repository = cache / "models--band--song-1.0"
  (repository / "refs").mkdir(parents=True)
  (repository / "refs" / "main").write_text(COMMIT)
  (repository / "refs" / "v1").write_text(OLDER)
  for commit in (COMMIT, OLDER):
    shutil.copytree(tiny.model(), repository / "snapshots" / commit)
  return repository


@pytest.mark.parametrize(
  ("name", "commit"),
  [
    ("hf://band/song-1.0", COMMIT),
    ("hf://band/song-1.0@main", COMMIT),
    ("hf://band/song-1.0@v1", OLDER),
    (f"hf://band/song-1.0@{OLDER}", OLDER),
  ],
)
def test_a_model_in_the_cache_needs_no_network(offline, name, commit):
  folder = hub.fetch(name)
  assert folder == offline / "snapshots" / commit
  assert bundle.load_bundle(folder).config["seconds"] == tiny.CONFIG["seconds"]


@pytest.mark.parametrize("name", ["hf://band/other", "hf://band/song-1.0@v2"])
def test_what_is_not_in_the_cache_cannot_be_had_without_a_network(offline, name):
  with pytest.raises(MissingError, match=r"^hf://.*: the hub cannot be reached.*HF_HUB_OFFLINE$"):
    hub.fetch(name)


def test_a_repository_of_something_else_is_refused(offline):
  (offline / "snapshots" / COMMIT / "manifest.json").unlink()
  with pytest.raises(MissingError, match=r"song-1\.0: is no model of stemphonic_jax"):
    hub.fetch("hf://band/song-1.0")


@pytest.mark.parametrize(
  "name",
  [
    "band/song",
    "hf://",
    "hf://song",
    "hf://band/",
    "hf:///song",
    "hf://band/song/part",
    "hf://band/song@",
    "hf://band/song@/etc/passwd",
    "hf://band/song@a/../../b",
    "hf://../song",
    "hf://band/..",
    "hf://band/so--ng",
    "hf://band/song.git",
    "hf://-band/song",
    "hf://band/so ng",
    "hf://bänd/song",
    "hf://band/song\n",
    "hf://band/" + "x" * 97,
    "HF://band/song",
  ],
)
def test_malformed_names_are_refused(offline, name):
  with pytest.raises(UsageError, match="expected hf://owner/name or hf://owner/name@revision"):
    hub.fetch(name)


def test_without_the_library_the_error_says_how_to_get_it(monkeypatch):
  monkeypatch.setitem(sys.modules, "huggingface_hub", None)
  with pytest.raises(MissingError, match=r'pip install "stemphonic-jax\[hub\]"'):
    hub.fetch("hf://band/song")


# ---- A hub on this machine


@pytest.fixture
def server(cache, monkeypatch):
  """A hub with the tiny model among other files; `answer` is an error it gives instead."""
  content = {path.name: path.read_bytes() for path in tiny.model().iterdir()}
  content |= {"model.safetensors": b"huge", "vae/config.json": b"{}", "README.md": b"#"}
  content["NOTICE.txt"] = b"By somebody."
  state = SimpleNamespace(content=content, answer=None, sent=[])

  class Hub(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
      if state.answer:
        status, code = state.answer
        return self.reply(b"", status, **({"X-Error-Code": code} if code else {}))
      prefix, _, path = self.path.split("?")[0].partition(f"/resolve/{COMMIT}/")
      if path:
        state.sent += [path] * (self.command == "GET")
        digest = hashlib.sha1(state.content[path]).hexdigest()
        return self.reply(state.content[path], ETag=f'"{digest}"', **{"X-Repo-Commit": COMMIT})
      if "/tree/" in prefix:
        rows = [
          {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
          for name, data in state.content.items()
        ]
        return self.reply(json.dumps(rows).encode())
      return self.reply(json.dumps({"id": "band/song", "sha": COMMIT, "siblings": []}).encode())

    do_HEAD = do_GET

    def reply(self, body, status=200, **headers):
      self.send_response(status)
      for name, value in {"Content-Length": str(len(body)), **headers}.items():
        self.send_header(name, value)
      self.end_headers()
      if self.command == "GET":
        self.wfile.write(body)

    def log_message(self, *_):
      pass

  server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
  thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
  thread.start()
  state.address = f"http://127.0.0.1:{server.server_port}"
  monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
  monkeypatch.setattr(constants, "ENDPOINT", state.address)
  monkeypatch.setattr(
    constants,
    "HUGGINGFACE_CO_URL_TEMPLATE",
    state.address + "/{repo_id}/resolve/{revision}/{filename}",
  )
  monkeypatch.setenv("NO_PROXY", "127.0.0.1")
  yield state
  server.shutdown()
  server.server_close()
  thread.join()


def test_only_the_files_of_a_bundle_are_fetched_and_only_once(server):
  folder, files = (
    hub.fetch("hf://band/song"),
    sorted((*bundle.FILES, "manifest.json", "NOTICE.txt")),
  )
  assert sorted(path.name for path in folder.iterdir()) == files
  assert sorted(server.sent) == files
  assert bundle.load_bundle(folder).fingerprint == bundle.load_bundle(tiny.model()).fingerprint
  assert hub.fetch("hf://band/song") == folder
  assert len(server.sent) == len(files)


def test_a_foreign_repository_is_refused_before_its_weights_are_fetched(server):
  server.content.pop("manifest.json")
  for name in bundle.FILES:
    server.content.pop(name)
  with pytest.raises(MissingError, match="is no model of stemphonic_jax"):
    hub.fetch("hf://band/song")
  assert server.sent == ["NOTICE.txt"]  # a text, which other repositories have too


@pytest.mark.parametrize(
  ("status", "code", "message"),
  [
    (403, "GatedRepo", "accept the terms at https://huggingface.co/band/song and run `hf auth"),
    (404, "RepoNotFound", "no such model, or it is private; check the name, or run `hf auth"),
    (401, None, "cannot be fetched .*401 Unauthorized.*see that `hf auth whoami` works"),
    (404, "RevisionNotFound", "no branch, tag or commit of that name; leave out @v3"),
    (400, None, "the hub cannot be reached"),
  ],
)
def test_refusals_of_the_hub_say_what_to_do(server, status, code, message):
  server.answer = status, code
  with pytest.raises(MissingError, match=message) as error:
    hub.fetch("hf://band/song@v3")
  assert str(error.value).startswith("hf://band/song@v3: ")
  assert "\n" not in str(error.value)
  assert error.value.exit_code == 66


def test_a_cache_that_cannot_be_written_is_one_line(server, cache):
  cache.write_text("a file where a folder should be")
  with pytest.raises(MissingError, match=r"^hf://band/song: cannot be fetched \(.*cache.*\); try"):
    hub.fetch("hf://band/song")
