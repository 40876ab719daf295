"""Who may ask: this machine's own pages, or whoever has the token; and how much at once.

A page of another origin can send requests to loopback, and a name can be made to point there. So
requests have to name us as their host, and pages of other origins are refused, reading too. Nothing
is sent that would let them read it (no CORS), and our own page runs no script but its own.
"""

import hmac
import json
from collections.abc import Collection
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlencode, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "stemphonic"
BODY = 1 << 20  # bytes of a request
UPLOAD = 512 << 20  # bytes of an audio file: ten minutes of float WAV are 212 MB
CSP = (
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
  "connect-src 'self'; media-src 'self' blob:; base-uri 'none'; form-action 'none'; "
  "frame-ancestors 'none'"
)
HEADERS = {
  "content-security-policy": CSP,
  "x-content-type-options": "nosniff",
  "referrer-policy": "no-referrer",
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin",
}
UPLOADS = "/api/uploads"


class TooLarge(Exception):
  """Raised where a request's body goes on after the bytes that are taken."""


class Guard:
  """Lets requests through to `app` that may ask. `hosts` None is any, which takes a token."""

  def __init__(self, app: ASGIApp, hosts: Collection[str] | None, token: str | None):
    self._app, self._hosts, self._token = app, hosts, token

  async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
      await self._app(scope, receive, send)
      return
    if scope["type"] != "http":
      return
    headers = Headers(scope=scope)
    refused = self._refusal(scope, headers)
    if refused:
      await _answer(send, *refused)
      return
    if self._token and (place := self._without_token(scope)):
      cookie = f"{COOKIE}={self._token}; Path=/; HttpOnly; SameSite=Strict"
      await _answer(send, 303, "", {"location": place, "set-cookie": cookie})
      return
    most = UPLOAD if scope["path"] == UPLOADS else BODY
    length = headers.get("content-length", "0")
    if not length.isdecimal() or int(length) > most:
      await _answer(send, 413, f"the request is larger than {most} bytes, the most that is taken")
      return
    started = False

    async def sent(message: Message) -> None:
      nonlocal started
      if message["type"] == "http.response.start":
        started = True
        found = MutableHeaders(scope=message)
        for name, value in HEADERS.items():
          found.setdefault(name, value)
      await send(message)

    try:
      await self._app(scope, _limited(receive, most), sent)
    except TooLarge:
      if not started:
        await _answer(send, 413, f"the request is larger than {most} bytes, the most that is taken")

  def _refusal(self, scope: Scope, headers: Headers) -> tuple[int, str] | None:
    host = headers.get("host", "").lower()
    if self._hosts is not None and host not in self._hosts:
      return 421, f"this studio is not {host[:80]!r}; open it as it said when it started"
    origin = headers.get("origin")
    if origin is not None and urlsplit(origin).netloc.lower() != host:
      return 403, "requests of other sites are not answered"
    site = headers.get("sec-fetch-site", "none")
    if site in ("cross-site", "same-site") and headers.get("sec-fetch-mode") != "navigate":
      return 403, "requests of other sites are not answered"
    if site == "cross-site" and scope["path"].startswith("/api"):
      return 403, "requests of other sites are not answered"
    if self._token and not self._has_token(scope, headers):
      return 401, "this studio takes a token; open it with the address that it said when it started"
    return None

  def _has_token(self, scope: Scope, headers: Headers) -> bool:
    given = [headers.get("authorization", "").removeprefix("Bearer ").strip()]
    try:
      cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
      given.append(cookie.value if cookie else "")
    except CookieError:
      pass
    given += _query(scope).get("token", [])[:1] if scope["path"] == "/" else []
    return any(hmac.compare_digest(one.encode(), self._token.encode()) for one in given if one)

  def _without_token(self, scope: Scope) -> str | None:
    """Where the page goes on that came with the token in its address, which becomes a cookie."""
    if scope["path"] != "/" or "token" not in (query := _query(scope)):
      return None
    rest = urlencode({k: v for k, v in query.items() if k != "token"}, doseq=True)
    return "/" + (f"?{rest}" if rest else "")


def _query(scope: Scope) -> dict[str, list[str]]:
  try:
    return parse_qs(scope["query_string"].decode("ascii"), max_num_fields=50)
  except ValueError:
    return {}


def _limited(receive: Receive, most: int) -> Receive:
  count = 0

  async def limited() -> Message:
    nonlocal count
    message = await receive()
    count += len(message.get("body", b""))
    if count > most:
      raise TooLarge
    return message

  return limited


async def _answer(
  send: Send, status: int, error: str, headers: dict[str, str] | None = None
) -> None:
  body = json.dumps({"error": error}).encode() if error else b""
  found = HEADERS | {"content-type": "application/json", "content-length": str(len(body))}
  pairs = [(k.encode(), v.encode()) for k, v in (found | (headers or {})).items()]
  await send({"type": "http.response.start", "status": status, "headers": pairs})
  await send({"type": "http.response.body", "body": body})
