"""What the API has, as a table that the server takes its addresses from, and as OpenAPI."""

from dataclasses import dataclass, field
from typing import Any

from stemphonic_jax import __version__
from stemphonic_jax.audio.metre import METRES
from stemphonic_jax.generation.handover import FORMS

NUMBER, TEXT, WHOLE = {"type": "number"}, {"type": "string"}, {"type": "integer"}
FLAG, ANY = {"type": "boolean"}, {"type": "object"}
RANGE = {"type": "array", "items": NUMBER, "minItems": 2, "maxItems": 2}
RANGES = {"type": "array", "items": RANGE}
NAMES = {"type": "array", "items": TEXT}


def _object(**properties: Any) -> dict[str, Any]:
  return {"type": "object", "properties": properties}


LANE = _object(
  name=TEXT, type=TEXT, label=TEXT, words=TEXT | {"nullable": True},
  activity=RANGES | {"nullable": True}, locked=FLAG,
)  # fmt: skip
DESK = _object(
  title=TEXT, prompt=TEXT, negative=TEXT, key=TEXT, bpm=NUMBER | {"nullable": True},
  metre={"enum": [*METRES, None]},
  duration=NUMBER | {"nullable": True},
  seed=WHOLE, passes={"enum": [1, 2, "K"]}, guidance=NUMBER | {"nullable": True},
  steps=WHOLE | {"nullable": True}, variations=WHOLE, lanes={"type": "array", "items": LANE},
  takes={"type": "object", "additionalProperties": TEXT},
)  # fmt: skip
STRIP = _object(gain=NUMBER, pan=NUMBER, mute=FLAG, solo=FLAG)
MIXER = {"type": "object", "additionalProperties": STRIP}
JOB = _object(
  do={"enum": ["make", "again", "vary", "add", "extend", "loop"]}, stems=NAMES, range=RANGE,
  prompt=TEXT, negative=TEXT, seed=WHOLE, steps=WHOLE, guidance=NUMBER, strength=NUMBER,
  seconds=NUMBER, left=FLAG,
  activity={"type": "object", "additionalProperties": RANGES},
)  # fmt: skip
CHANGE = _object(do={"enum": ["at", "use", "remove"]}, step=WHOLE, stem=TEXT, stems=NAMES)
UPLOADS = _object(uploads={"type": "array", "items": _object(upload=TEXT, type=TEXT)})


@dataclass(frozen=True)
class Entry:
  """An address: method, path as Starlette has it, the server's method, and what it is about."""

  method: str
  path: str
  handler: str
  summary: str
  body: dict[str, Any] | None = None
  answer: int = 200
  kind: str = "application/json"
  query: dict[str, dict[str, Any]] = field(default_factory=dict)


TAKE = "/api/songs/{song}/takes/{step:int}/{stem}"
ENTRIES = (
  Entry("GET", "/api/studio", "about", "the model and its state, stem types and their colours"),
  Entry("GET", "/api/openapi.json", "document", "this document"),
  Entry(
    "GET", "/api/events", "listen", "changes of jobs, songs, desks and the model as they happen",
    kind="text/event-stream",
  ),
  Entry("GET", "/api/songs", "songs", "all songs in short, the newest first"),
  Entry("POST", "/api/songs", "new_song", "a new song, of which nothing is made yet", DESK, 201),
  Entry("GET", "/api/songs/{song}", "song", "a song: its steps and takes, desk, mixer and jobs"),
  Entry(
    "PATCH", "/api/songs/{song}", "prepare", "what is to be made next, and what things are called",
    DESK,
  ),
  Entry("DELETE", "/api/songs/{song}", "throw_song", "put a song into the bin"),
  Entry("PATCH", "/api/songs/{song}/mixer", "mix", "gain, pan, mute and solo of stems", MIXER),
  Entry(
    "POST", "/api/songs/{song}/now", "change",
    "go to a step (at), use another take of a stem (use), or leave stems out (remove)", CHANGE,
  ),
  Entry("POST", "/api/songs/{song}/jobs", "ask", "ask the model to work", JOB, 202),
  Entry(
    "POST", "/api/songs/{song}/stems", "bring", "take uploads into the song as given stems", UPLOADS
  ),
  Entry("GET", TAKE + "/audio", "audio", "a take as WAV; takes ranges", kind="audio/wav"),
  Entry(
    "GET", TAKE + "/peaks", "peaks",
    "a take's waveform: pairs of int16, lowest and highest of up to 6000 pieces; 16384 is 1",
    kind="application/octet-stream",
  ),
  Entry("DELETE", TAKE, "throw_take", "put a take that is not heard into the bin"),
  Entry("GET", "/api/bin", "bin", "songs and takes that were deleted, the last one first"),
  Entry("POST", "/api/bin/{thing}", "restore", "bring a song or a take back from the bin"),
  Entry("DELETE", "/api/bin/{thing}", "forget", "delete for good what is in the bin"),
  Entry(
    "GET", "/api/songs/{song}/export", "export", "the song for a DAW, as a file",
    kind="application/octet-stream",
    query={"as": {"enum": list(FORMS)}, "bits": {"enum": [24, 32]}, "raw": {"enum": [0, 1]}},
  ),
  Entry(
    "POST", "/api/uploads", "upload", "send an audio file, to be taken into a song", answer=201,
    query={"name": TEXT, "tempo": {"enum": [0, 1]}},
  ),
  Entry("GET", "/api/jobs", "jobs", "the last 200 jobs, the oldest first"),
  Entry("GET", "/api/jobs/{job}", "job", "a job: its state, how far it is, what came of it"),
  Entry("DELETE", "/api/jobs/{job}", "cancel", "cancel a job"),
)  # fmt: skip


def document() -> dict[str, Any]:
  """The API as OpenAPI 3.0."""
  paths: dict[str, Any] = {}
  for entry in ENTRIES:
    path = entry.path.replace(":int", "")
    names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    schema = {name: WHOLE if name == "step" else TEXT for name in names}
    parameters = [
      {"name": name, "in": "path", "required": True, "schema": schema[name]} for name in names
    ] + [{"name": name, "in": "query", "schema": kind} for name, kind in entry.query.items()]
    shape = ANY if entry.kind == "application/json" else TEXT
    done = {"description": entry.summary, "content": {entry.kind: {"schema": shape}}}
    wrong = {"description": "an error in one line"}
    wrong |= {"content": {"application/json": {"schema": _object(error=TEXT)}}}
    operation = {
      "summary": entry.summary,
      "operationId": entry.handler,
      "responses": {str(entry.answer): done, "default": wrong},
    }
    if parameters:
      operation["parameters"] = parameters
    if entry.body:
      content = {"application/json": {"schema": entry.body}}
      operation["requestBody"] = {"required": True, "content": content}
    if entry.handler == "upload":
      content = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
      operation["requestBody"] = {"required": True, "content": content}
    paths.setdefault(path, {})[entry.method.lower()] = operation
  info = {"title": "stemphonic studio", "version": __version__}
  return {"openapi": "3.0.3", "info": info, "paths": paths}
