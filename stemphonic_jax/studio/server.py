"""The REST API and the page: what each address answers. Errors are {"error": one line}."""

import asyncio
import contextlib
import errno
import hashlib
import tempfile
from collections.abc import AsyncIterator, Callable, Collection
from pathlib import Path
from typing import Any

from absl import logging
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from stemphonic_jax import __version__
from stemphonic_jax.audio.daw.project import file_name
from stemphonic_jax.errors import (
  DataError,
  MismatchError,
  MissingError,
  OutputError,
  StemphonicError,
  UsageError,
  first_line,
)
from stemphonic_jax.generation import handover
from stemphonic_jax.studio import brought, openapi
from stemphonic_jax.studio import desk as desks
from stemphonic_jax.studio.files import check_json
from stemphonic_jax.studio.guard import Guard, TooLarge
from stemphonic_jax.studio.peaks import peaks
from stemphonic_jax.studio.studio import QUICK, Busy, Studio, stem_types

PAGE = Path(__file__).parent / "page"
STATUS = {UsageError: 400, MissingError: 404, Busy: 409, OutputError: 409, DataError: 422}
STATUS |= {MismatchError: 409}
FULL = 507
TYPES = {
  ".js": "text/javascript",
  ".css": "text/css",
  ".html": "text/html",
  ".svg": "image/svg+xml",
}
FOREVER = "private, max-age=31536000, immutable"
AUTHOR = "x-page"  # a header: which of several pages a change comes from


class Server:
  """Answers for one studio. `hosts` are those by which it may be called, None with a token any."""

  def __init__(self, studio: Studio, hosts: Collection[str] | None, token: str | None = None):
    self.studio = studio
    self.uploads = brought.Uploads(studio.library.private / "uploads")
    self._page = _read_page()
    handlers = {
      entry.handler: getattr(self, entry.handler) for entry in openapi.ENTRIES
    }  # one for each address that the document lists
    routes = [
      Route(entry.path, _caught(handlers[entry.handler]), methods=[entry.method])
      for entry in openapi.ENTRIES
    ]
    routes += [
      Route("/", _caught(self.page)),
      Route("/page/{name}", _caught(self.page)),
      Route("/favicon.ico", _caught(self.page)),
    ]
    self._starlette = Starlette(
      routes=routes,
      lifespan=self._life,
      exception_handlers={HTTPException: _not_found, Exception: _internal},
    )
    self._starlette.router.redirect_slashes = False
    self.app = Guard(self._starlette, hosts, token)

  @contextlib.asynccontextmanager
  async def _life(self, _: Starlette) -> AsyncIterator[None]:
    await self.studio.crew.start()
    try:
      yield
    finally:
      self.studio.events.close()
      await self.studio.crew.stop()
      self.studio.close()

  # The page

  async def page(self, request: Request) -> Response:
    name = request.path_params.get("name", "index.html")
    if request.url.path == "/favicon.ico":
      name = "icon.svg"
    if name not in self._page:
      raise MissingError("there is no such page; open /")
    content, tag, kind = self._page[name]
    headers = {"etag": tag, "cache-control": "no-cache"}
    if request.headers.get("if-none-match") == tag:
      return Response(status_code=304, headers=headers)
    return Response(content, headers=headers, media_type=kind)

  # The studio

  async def about(self, _: Request) -> dict[str, Any]:
    model = self.studio.crew.model
    root = str(self.studio.library.root)
    return {"version": __version__, "model": model, "types": stem_types(), "songs": root}

  async def document(self, _: Request) -> dict[str, Any]:
    return openapi.document()

  async def listen(self, _: Request) -> Response:
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    stream = self.studio.events.stream()
    return StreamingResponse(stream, media_type="text/event-stream", headers=headers)

  # Songs

  async def songs(self, _: Request) -> list[dict[str, Any]]:
    return await asyncio.to_thread(self.studio.songs)

  async def new_song(self, request: Request) -> Response:
    return JSONResponse(await self.studio.new(await _json(request)), 201)

  async def song(self, request: Request) -> dict[str, Any]:
    return await asyncio.to_thread(self.studio.song, request.path_params["song"])

  async def prepare(self, request: Request) -> dict[str, Any]:
    name = request.path_params["song"]
    return await self.studio.prepare(name, await _json(request), _author(request))

  async def mix(self, request: Request) -> dict[str, Any]:
    name = request.path_params["song"]
    return await self.studio.mix(name, await _json(request), _author(request))

  async def change(self, request: Request) -> dict[str, Any]:
    given, name = await _json(request), request.path_params["song"]
    do = given.get("do") if isinstance(given, dict) else None
    if do not in QUICK:
      raise UsageError(f"do: got {str(do)[:40]!r}, expected {', '.join(QUICK)}")
    return await self.studio.quick(name, do, given)

  # The bin

  async def throw_song(self, request: Request) -> dict[str, Any]:
    return await self.studio.throw(request.path_params["song"])

  async def throw_take(self, request: Request) -> dict[str, Any]:
    parts = request.path_params
    return await self.studio.throw(parts["song"], parts["step"], parts["stem"])

  async def bin(self, _: Request) -> list[dict[str, Any]]:
    return await asyncio.to_thread(self.studio.bin.all)

  async def restore(self, request: Request) -> dict[str, Any]:
    return await self.studio.restore(request.path_params["thing"])

  async def forget(self, request: Request) -> dict[str, Any]:
    thing = request.path_params["thing"]
    await self.studio.forget(thing)
    return {"forgotten": thing}

  # Audio

  async def audio(self, request: Request) -> Response:
    path, stem = await self._take(request)
    headers = {"cache-control": FOREVER if "v" in request.query_params else "no-cache"}
    return FileResponse(
      path,
      media_type="audio/wav",
      headers=headers,
      filename=f"{file_name(stem)}.wav",
      content_disposition_type="inline",
    )

  async def peaks(self, request: Request) -> Response:
    path, _ = await self._take(request)
    found = await asyncio.to_thread(peaks, path)
    headers = {"cache-control": FOREVER if "v" in request.query_params else "no-cache"}
    return Response(found, media_type="application/octet-stream", headers=headers)

  async def _take(self, request: Request) -> tuple[Path, str]:
    parts = request.path_params
    take = self.studio.library.take
    return await asyncio.to_thread(take, parts["song"], parts["step"], parts["stem"]), parts["stem"]

  async def upload(self, request: Request) -> Response:
    name = request.query_params.get("name", "")[:200]
    with_tempo = request.query_params.get("tempo") == "1"
    found = await self.uploads.take(name, request.stream(), with_tempo)
    return JSONResponse(found, 201)

  async def bring(self, request: Request) -> dict[str, Any]:
    given, name, studio = await _json(request), request.path_params["song"], self.studio
    uploads = given.get("uploads") if isinstance(given, dict) else None
    shown = await asyncio.to_thread(studio.song, name)
    if shown["song"]:
      taken = [lane["name"] for lane in shown["desk"]["lanes"]]
      rate = shown["song"]["rate"]
      stems = await asyncio.to_thread(brought.read, uploads, self.uploads, rate, taken)
      await studio.change(name, lambda song: brought.add(song, stems))
    else:
      model = studio.crew.model
      if model["state"] != "ready":
        raise Busy("the model is not loaded yet; wait a moment, and bring the audio again")
      async with studio.lock(name):
        taken = [lane["name"] for lane in shown["desk"]["lanes"]]
        read, rate = brought.read, model["rate"]
        stems = await asyncio.to_thread(read, uploads, self.uploads, rate, taken)
        folder = studio.library.folder(name)
        await asyncio.to_thread(brought.begin, folder, stems, rate, model, shown["desk"])
      studio.events.tell("song", song=name)
    for one in uploads:
      self.uploads.path(one["upload"]).unlink(missing_ok=True)
    return studio.song(name)

  async def export(self, request: Request) -> Response:
    query, name = request.query_params, request.path_params["song"]
    form, bits = query.get("as", "zip"), query.get("bits", "32")
    if form not in handover.FORMS:
      raise UsageError(f"as: got {form[:40]!r}, expected {', '.join(handover.FORMS)}")
    if bits not in ("24", "32"):
      raise UsageError(f"bits: got {bits[:20]!r}, expected 24 or 32")
    self.studio.library.info(name)
    folder = self.studio.library.folder(name)
    place = tempfile.TemporaryDirectory(prefix="stemphonic-export-")
    ending = ".zip" if form == "reaper" else handover.ENDINGS[form]
    out = Path(place.name, f"song{ending}")
    desk, raw = self.studio.desk(name), query.get("raw") == "1"
    options = dict(bits=int(bits), raw=raw, title=desk["title"], labels=desks.labels_of(desk))
    try:
      await asyncio.to_thread(handover.export, folder, form, out, **options)
    except BaseException:
      place.cleanup()
      raise
    called = file_name(desk["title"]) if desk["title"] else folder.name
    shown = f"{called}{'-reaper' if form == 'reaper' else ''}{ending}"
    return FileResponse(
      out, media_type="application/octet-stream", filename=shown,
      headers={"cache-control": "no-store"}, background=BackgroundTask(place.cleanup),
    )  # fmt: skip

  # Jobs

  async def ask(self, request: Request) -> Response:
    job = await self.studio.ask(request.path_params["song"], await _json(request))
    return JSONResponse(job.shown(), 202, {"location": f"/api/jobs/{job.id}"})

  async def jobs(self, _: Request) -> list[dict[str, Any]]:
    return [job.shown() for job in self.studio.jobs.all()[-200:]]

  async def job(self, request: Request) -> dict[str, Any]:
    return self.studio.jobs.get(request.path_params["job"]).shown()

  async def cancel(self, request: Request) -> dict[str, Any]:
    job = self.studio.jobs.get(request.path_params["job"])
    await self.studio.crew.cancel(job)
    return job.shown()


def _read_page() -> dict[str, tuple[bytes, str, str]]:
  """The files of the page by name: content, tag and media type."""
  page = {}
  for path in PAGE.iterdir():
    if path.suffix in TYPES:
      content = path.read_bytes()
      tag = f'"{hashlib.sha256(content).hexdigest()[:24]}"'
      page[path.name] = (content, tag, TYPES[path.suffix])

  return page


def _author(request: Request) -> str:
  return request.headers.get(AUTHOR, "")[:40]


async def _json(request: Request) -> Any:
  kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
  if kind != "application/json":
    raise UsageError("expected a body of JSON, with content-type: application/json")
  try:
    content = await request.json()
    check_json(content)
    return content
  except UnicodeEncodeError:
    raise UsageError("the body holds half a letter, as \\ud800, which is no text") from None
  except (ValueError, RecursionError) as error:
    raise UsageError(f"the body is not JSON ({first_line(error)})") from None


def _caught(handler: Callable) -> Callable:
  """The handler with its errors as answers, and plain content as JSON."""

  async def caught(request: Request) -> Response:
    try:
      found = await handler(request)
      return found if isinstance(found, Response) else JSONResponse(found)
    except StemphonicError as error:
      return _error(str(error), _status(error))
    except OSError as error:
      return _error(str(error), FULL if error.errno == errno.ENOSPC else 500)
    except (TooLarge, ClientDisconnect, HTTPException):
      raise
    except Exception as error:
      logging.exception("a request failed")
      return _error(f"internal error, {first_line(error)}", 500)

  return caught


def _status(error: StemphonicError) -> int:
  if isinstance(error, OutputError) and "No space left" in str(error):
    return FULL
  return next((code for kind, code in STATUS.items() if isinstance(error, kind)), 500)


def _error(text: str, status: int) -> Response:
  return JSONResponse({"error": " ".join(text.split())}, status)


async def _not_found(_: Request, error: Exception) -> Response:
  status = getattr(error, "status_code", 500)
  words = {404: "there is nothing at this address; GET /api/openapi.json lists what there is"}
  words |= {
    405: "this address does not take that method; GET /api/openapi.json lists what there is"
  }
  return _error(words.get(status, str(getattr(error, "detail", error))), status)


async def _internal(_: Request, error: Exception) -> Response:
  return _error(f"internal error, {first_line(error)}", 500)
