"""Who is answered: pages of other sites, other names of this machine, and the tokenless are not."""

import asyncio
import json

import pytest

pytest.importorskip("starlette", reason="needs the extra studio")

from stemphonic_jax.studio.guard import BODY, Guard

HOST = "127.0.0.1:7700"


async def app(scope, receive, send):
  """Answers with the length of what it is sent."""
  length, more = 0, True
  while more:
    message = await receive()
    length, more = length + len(message["body"]), message.get("more_body", False)
  headers = [(b"content-type", b"application/json")]
  await send({"type": "http.response.start", "status": 200, "headers": headers})
  await send({"type": "http.response.body", "body": json.dumps({"length": length}).encode()})


def ask(path="/api/songs", hosts=(HOST,), token=None, method="GET", chunks=(b"",), **headers):
  """Status, headers and body of what a guard answers."""
  given = {"host": HOST} | {name.replace("_", "-"): value for name, value in headers.items()}
  path, _, query = path.partition("?")
  scope = {
    "type": "http", "method": method, "path": path, "query_string": query.encode(),
    "headers": [(name.encode(), value.encode()) for name, value in given.items()],
  }  # fmt: skip
  left, said = list(chunks), []

  async def receive():
    body = left.pop(0)
    return {"type": "http.request", "body": body, "more_body": bool(left)}

  async def send(message):
    said.append(message)

  asyncio.run(Guard(app, hosts, token)(scope, receive, send))
  found = {name.decode(): value.decode() for name, value in said[0]["headers"]}
  return said[0]["status"], found, b"".join(message["body"] for message in said[1:])


def test_our_own_page_and_programs_are_answered():
  assert ask()[0] == 200
  assert ask(origin=f"http://{HOST}", sec_fetch_site="same-origin", method="POST")[0] == 200
  _, headers, _ = ask()
  assert "default-src 'none'" in headers["content-security-policy"]
  assert "unsafe" not in headers["content-security-policy"]
  assert headers["x-content-type-options"] == "nosniff"
  assert not [name for name in headers if name.startswith("access-control")]


@pytest.mark.parametrize(
  ("status", "headers"),
  [
    (421, {"host": "evil.example"}),
    (421, {"host": "127.0.0.1:80"}),
    (421, {"host": ""}),
    (403, {"origin": "https://evil.example"}),
    (403, {"origin": "null"}),
    (403, {"origin": "http://127.0.0.1:7701"}),
    (403, {"sec_fetch_site": "cross-site", "sec_fetch_mode": "no-cors"}),
    (403, {"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate"}),
    (403, {"sec_fetch_site": "same-site", "sec_fetch_mode": "cors"}),
  ],
)
def test_others_are_refused_in_one_line(status, headers):
  for method in ("GET", "POST", "DELETE"):
    found, _, body = ask(method=method, **headers)
    assert found == status
    assert set(json.loads(body)) == {"error"}


def test_bodies_are_taken_up_to_their_limit_whatever_is_said_of_them():
  assert ask(method="POST", chunks=[bytes(BODY)])[2] == json.dumps({"length": BODY}).encode()
  assert ask(method="POST", content_length=str(BODY + 1))[0] == 413
  assert ask(method="POST", content_length="-1")[0] == 413
  assert ask(method="POST", chunks=[bytes(BODY), b"1"])[0] == 413
  assert ask("/api/uploads", method="POST", chunks=[bytes(BODY), b"1"])[0] == 200


def test_beyond_loopback_a_token_is_needed():
  beyond = {"hosts": None, "token": "secret123"}
  assert ask(**beyond)[0] == 401
  assert ask(**beyond, authorization="Bearer secret12")[0] == 401
  assert ask("/api/songs?token=secret123", **beyond)[0] == 401  # only the page takes it so
  assert ask(**beyond, authorization="Bearer secret123")[0] == 200
  status, headers, _ = ask("/?token=secret123&x=1", **beyond)
  assert (status, headers["location"]) == (303, "/?x=1")
  assert "HttpOnly; SameSite=Strict" in headers["set-cookie"]
  assert ask(**beyond, cookie="a=b; stemphonic=secret123")[0] == 200
  assert ask(**beyond, cookie="stemphonic=secret123", origin="http://evil.example")[0] == 403
