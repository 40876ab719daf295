"""Checks a data set as a whole before anything is made of it: one row of a report per mix.

Every file is read once. A mix that cannot be used is in the report with its reason, and the check
goes on; whether too many are bad is said at the end. Rows come in chunks that are kept, so a check
which is killed goes on where it was, and any number of processes gives the same report. A report
holds until other mixes, rules or captions are asked for.
"""

from __future__ import annotations

import concurrent.futures
import functools
import hashlib
import json
import math
import multiprocessing
import os
import shutil
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from absl import logging

from stemphonic_jax.audio.activity import frame_activity
from stemphonic_jax.audio.files import whole_file
from stemphonic_jax.data.bar import bar
from stemphonic_jax.data.preparing import captions, tempo
from stemphonic_jax.data.sources.catalogue import Catalogue, Entry
from stemphonic_jax.data.sources.reader import read_entry
from stemphonic_jax.data.sources.tree import STAMP, WORK
from stemphonic_jax.errors import DataError, OutputError, StemphonicError, UsageError

CHUNK, CHUNKS = 8, 256  # mixes whose rows are kept together at most, if there are so many of them
REPORT = "report.jsonl"

Row = dict[str, Any]


@dataclass(frozen=True)
class Rules:
  """How a check reads and what it asks; `rate` in Hz, `hop` in samples, the rest in seconds."""

  rate: int
  hop: int
  tolerance: float = 1.0  # stems of one mix may end this far apart
  min_seconds: float = 1.0
  estimate_tempo: bool = True  # where neither the set nor its MIDI says

  def __post_init__(self):
    for name in ("tolerance", "min_seconds"):
      if not 0 <= getattr(self, name) < math.inf:  # nor is NaN
        raise UsageError(
          f"{name}: got {getattr(self, name)}, expected a number of seconds from 0 on"
        )


def check(
  catalogue: Catalogue,
  folder: Path,
  rules: Rules,
  file_captions: Mapping[str, str],
  processes: int = 0,
) -> list[Row]:
  """Rows for all mixes in the order of the catalogue, also as `folder/report.jsonl`.

  With 0 `processes` there are as many as CPU cores. OutputError where the folder cannot be written.
  """
  path, stamp = folder / REPORT, _stamp(catalogue, rules, file_captions)
  if not is_checked(catalogue, folder, rules, file_captions):
    try:
      folder.mkdir(parents=True, exist_ok=True)
      work = _work_folder(folder, stamp)
    except OSError as error:
      raise OutputError(f"{folder}: cannot be written ({error.strerror or error})") from None
    mixes = len(catalogue.entries)
    size = max(1, min(CHUNK, mixes // CHUNKS))
    chunks = [catalogue.entries[i : i + size] for i in range(0, mixes, size)]
    places = [work / f"{i:06d}-of-{len(chunks):06d}.jsonl" for i in range(len(chunks))]
    task = functools.partial(_check_chunk, rules, file_captions)
    todo = [(p, chunk) for p, chunk in zip(places, chunks, strict=True) if not p.is_file()]
    processes = min(processes or os.cpu_count() or 1, len(todo))
    done = mixes - sum(len(chunk) for _, chunk in todo)
    logging.info("check: %d mixes, %d processes: every file is read", mixes - done, processes)
    if todo and rules.estimate_tempo:
      logging.info("missing tempi are estimated, for which the first of them takes a minute more")
    with bar(None, "check", mixes, "mixes", done) as told:
      for count in _run(task, todo, processes):
        told.update(count)
    rows = [line for place in places for line in place.read_text().splitlines()]
    rows += [_line(_rejected(mix, reason)) for mix, reason in sorted(catalogue.rejected.items())]
    with whole_file(path) as partial:
      partial.write_text("\n".join(rows) + "\n")
    with whole_file(folder / STAMP) as partial:
      partial.write_text(stamp)
  shutil.rmtree(folder / WORK, ignore_errors=True)
  return read_report(folder)


def is_checked(
  catalogue: Catalogue, folder: Path, rules: Rules, file_captions: Mapping[str, str]
) -> bool:
  """Whether the report in `folder` is that of this check, so that nothing is left to do."""
  asked = folder / STAMP
  there = (folder / REPORT).is_file() and asked.is_file()
  return there and asked.read_text() == _stamp(catalogue, rules, file_captions)


def read_report(folder: Path) -> list[Row]:
  """The rows of a finished check; DataError where the file is damaged."""
  try:
    return [json.loads(line) for line in (folder / REPORT).read_text().splitlines()]
  except (OSError, ValueError, RecursionError) as error:
    raise DataError(
      f"{folder / REPORT}: cannot be read ({error}); remove it and check again"
    ) from None


def report_digest(folder: Path) -> str | None:
  """The SHA-256 of what a report says of its mixes, None where there is none.

  Why mixes cannot be used is left out: that names files by their paths, which may change.
  """
  if not (folder / REPORT).is_file():
    return None
  rows = [row if row["taken"] else row | {"reason": ""} for row in read_report(folder)]
  return hashlib.sha256("".join(f"{_line(row)}\n" for row in rows).encode()).hexdigest()


def refuse_bad(rows: Sequence[Row], folder: Path, most: float) -> None:
  """DataError where no mix can be used, or more than the share `most` of them cannot."""
  bad = [row for row in rows if not row["taken"]]
  if len(bad) > most * len(rows) or len(bad) == len(rows):
    reasons = f"the first is {bad[0]['id']}: {bad[0]['reason']}" if bad else "there are none"
    raise DataError(
      f"{folder / REPORT}: {len(bad)} of {len(rows)} mixes cannot be used, more than"
      f" {most:.3g} of them; {reasons}"
    )


def _run(task, todo, processes):
  """The sizes of chunks as they are done, by this process or by several."""
  if processes < 2:
    yield from (task(*item) for item in todo)
    return
  # Spawned, because a fork of a process with threads (jax, BLAS) can hang.
  context = multiprocessing.get_context("spawn")
  with concurrent.futures.ProcessPoolExecutor(processes, context, _end_with_parent) as pool:
    for future in concurrent.futures.as_completed([pool.submit(task, *item) for item in todo]):
      yield future.result()


def _end_with_parent() -> None:
  """Has a worker end when the command is killed; else it would write beside the next run's."""

  def watch() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)

  threading.Thread(target=watch, daemon=True).start()


def _stamp(catalogue: Catalogue, rules: Rules, file_captions: Mapping[str, str]) -> str:
  """What a check is asked, as a hash."""
  asked = repr((catalogue, rules, sorted(file_captions.items())))
  return hashlib.sha256(asked.encode(errors="backslashreplace")).hexdigest()


def _work_folder(folder: Path, stamp: str) -> Path:
  """Where chunks are kept; those of another `stamp` are removed."""
  work = folder / WORK
  if not (work / "stamp").is_file() or (work / "stamp").read_text() != stamp:
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    (work / "stamp").write_text(stamp)
  return work


def _check_chunk(
  rules: Rules, file_captions: Mapping[str, str], place: Path, entries: Sequence[Entry]
) -> int:
  rows = [_line(_check_entry(entry, rules, file_captions)) for entry in entries]
  with whole_file(place) as partial:
    partial.write_text("\n".join(rows) + "\n")
  return len(rows)


def _check_entry(entry: Entry, rules: Rules, file_captions: Mapping[str, str]) -> Row:
  try:
    mix, findings = read_entry(
      entry, rules.rate, tolerance=rules.tolerance, min_seconds=rules.min_seconds
    )
  except StemphonicError as error:
    return _rejected(entry.id, str(error), entry)
  bpm, bpm_from = mix.bpm, "given"
  if bpm is None:
    bpm = tempo.estimate(mix.audio(), mix.rate) if rules.estimate_tempo else None
    bpm_from = "estimated" if bpm else "unknown"
  types = [stem.type for stem in mix.stems.values()]
  caption, caption_from = captions.describe(
    entry.id, entry.caption, entry.genre, types, bpm, file_captions
  )
  activity = {
    name: float(frame_activity(stem.audio, rules.hop, mix.rate).mean())
    for name, stem in mix.stems.items()
  }
  return {
    "id": entry.id,
    "taken": True,
    "reason": "",
    "split": entry.split,
    "seconds": mix.seconds,
    "bpm": bpm,
    "bpm_from": bpm_from,
    "caption": caption,
    "caption_from": caption_from,
    "genre": entry.genre,
    "types": {name: stem.type for name, stem in mix.stems.items()},
    "activity": activity,
    "findings": asdict(findings),
  }


def _rejected(mix: str, reason: str, entry: Entry | None = None) -> Row:
  return {"id": mix, "taken": False, "reason": reason, "split": entry.split if entry else ""}


def _line(row: Row) -> str:
  return json.dumps(row, allow_nan=False)  # in ASCII: some letters would be ends of lines
