"""Writes records shard by shard, so that a run which is killed loses at most the shards in work.

    .NAME.partial/stamp.json                      what the run was asked; another one starts over
    .NAME.partial/00003-of-00016.array_record     a finished shard, and
    .NAME.partial/00003.json                      its counts and moments: with this, it is done
    .NAME.partial/.00003…                         one in work, by a name that no other process has
    NAME/                                         all of it and an index, once every shard is there

A shard is a function of its number alone, so what comes out in the end is the same to the byte
however often the run was killed, and however many processes or hosts made it. Nothing is locked:
hosts that finish at once write equal files, and each appears whole. But two runs with one host's
number are one too many: the later takes what the other is writing for left-overs.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging
from array_record.python.array_record_module import ArrayRecordWriter

from stemphonic_jax.data.bar import bar
from stemphonic_jax.data.batching import grouping
from stemphonic_jax.data.batching.records import (
  FORMAT,
  Records,
  Segment,
  expect,
  open_records,
  to_bytes,
)
from stemphonic_jax.errors import DataError, OutputError, first_line

# One record per group of the file: what random access wants. Half-precision latents hardly
# compress (8 %), and uncompressed they read three times as fast.
WRITER_OPTIONS = "group_size:1,uncompressed"
STAMP = "stamp.json"
PATIENCE = 20.0  # seconds that other hosts give the first one to put away what was begun otherwise

Shard = Callable[[], Iterable[Segment]]


def write_records(
  directory: str | Path, segments: Iterable[Segment], *, hop: int, rate: int
) -> Records:
  """Writes segments of equal size as a new folder with one file; errors as in `write_shards`."""
  written = write_shards(directory, [lambda: segments], hop=hop, rate=rate)
  assert written is not None  # there are no other hosts
  return written


def write_shards(
  directory: str | Path,
  shards: Sequence[Shard],
  *,
  hop: int,
  rate: int,
  notes: Mapping[str, Any] | None = None,
  host: int = 0,
  hosts: int = 1,
) -> Records | None:
  """Writes the segments of each shard to a file of its own; the folder appears whole or not at all.

  Segments in which no stem is audible are left out; `notes` go into the index. Of several hosts on
  one file system, each writes every `hosts`-th shard, and the one that comes last makes the folder;
  for the others it is not there yet, and nothing is returned. OutputError where the folder holds
  something already or cannot be written; DataError where segments differ in size, hold numbers that
  are not finite, or none is left.
  """
  if hosts > 1 and is_whole(directory):  # another host has just come last
    return open_records(directory)
  common = {"format": FORMAT, "hop": hop, "rate": rate, "notes": dict(notes or {})}
  with unfinished(directory, common, host, hosts, shards=len(shards)) as work:

    def write(number: int) -> dict[str, Any]:
      return _write_shard(work, number, len(shards), shards[number])

    fill(work, len(shards), write, lambda summaries: common | _merge(summaries))
  return open_records(directory) if is_whole(directory) else None


@dataclass(frozen=True)
class Work:
  """A folder that is made shard by shard, until then at `partial`, by one of several hosts.

  `token` is in the names of unfinished files, so that no two processes write to one.
  """

  directory: Path
  partial: Path
  host: int
  hosts: int
  token: str

  @property
  def index(self) -> Path:
    """Once this is there, all that is left to do is to tidy up and to rename the folder."""
    return self.partial / "index.json"

  def done(self, number: int) -> bool:
    """Whether a shard and its summary are there."""
    return self.index.is_file() or self.summary(number).is_file()

  def summary(self, number: int) -> Path:
    """What is written when a shard is there."""
    return self.partial / f"{number:05d}.json"

  @contextlib.contextmanager
  def own_file(self, name: str) -> Iterator[Path]:
    """As `whole_file`, for a file of the folder that several processes may write at once."""
    own = self.partial / f".{name}.{self.token}"
    try:
      yield own
      os.replace(own, self.partial / name)
    except OSError as error:
      raise OutputError(
        f"{self.directory}: cannot be written ({error.strerror or error})"
      ) from None
    finally:
      with contextlib.suppress(OSError):
        own.unlink()


@contextlib.contextmanager
def unfinished(
  directory: str | Path, common: Mapping[str, Any], host: int, hosts: int, **asked: Any
) -> Iterator[Work]:
  """Yields the unfinished folder of a run that was asked the same, or a new one, for `fill`.

  `common` and `asked` are what it was asked, fit for JSON; the former is part of the index. Only
  the first host starts over where it was another thing. OutputError where `directory` holds
  something already or cannot be written.
  """
  directory = Path(directory).absolute()
  if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
    raise OutputError(f"{directory}: already exists and is not empty; remove it to prepare again")
  partial = directory.with_name(f".{directory.name}.partial")
  work = Work(directory, partial, host, hosts, uuid.uuid4().hex)
  with writing(directory):
    _begin(work, json.loads(json.dumps(common)), asked)
  try:
    yield work
  except OutputError:
    if not is_whole(directory):
      raise
    for path in directory.glob(f".*.{work.token}"):  # another host has made it, with this within
      shutil.rmtree(path) if path.is_dir() else path.unlink()
  finally:
    if hosts == 1 and {path.name for path in work.partial.glob("*.json")} <= {STAMP}:
      shutil.rmtree(work.partial, ignore_errors=True)  # nothing that a next run could go on from


def fill(
  work: Work,
  count: int,
  write: Callable[[int], Mapping[str, Any]],
  index: Callable[[Sequence[Mapping[str, Any]]], Mapping[str, Any]],
) -> None:
  """Has `write` make what is missing of this host's shards, and with the last one the folder.

  `write` makes the shard of a number through `own_file` and returns its summary; `index` maps the
  summaries of all `count` shards to what index.json says, among it the size of each of its "files".
  """
  own = range(work.host, count, work.hosts)
  for path in work.partial.glob(".[0-9]*"):
    if int(re.match(r"\.(\d+)", path.name)[1]) in own:  # from a run that was killed
      path.unlink(missing_ok=True)
  name = work.directory.name
  for number in bar(own, f"{name} by shards", len(own), "shards"):
    if not work.done(number):
      summary = json.dumps(write(number))
      with work.own_file(work.summary(number).name) as path:
        path.write_text(summary)
  missing = sum(not work.done(number) for number in range(count))
  if not missing:
    _finish(work, count, index)
  elif not is_whole(work.directory):
    logging.info("%s: the share of this host is done, %d shards are missing", name, missing)


def is_whole(directory: str | Path) -> bool:
  """Whether a folder is there, and not only a part of it at another place."""
  return Path(directory, "index.json").is_file()


def bytes_done(directory: Path) -> int:
  """How much of an unfinished folder is on disk."""
  files = directory.with_name(f".{directory.name}.partial").glob("*.array_record")
  return sum(path.stat().st_size for path in files)


def shard_name(number: int, count: int) -> str:
  """The name of a shard's file."""
  return f"{number:05d}-of-{count:05d}.array_record"


def _begin(work: Work, common: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
  """Makes the unfinished folder, and puts another one away."""
  stamp, path = json.dumps({**common, **asked}), work.partial / STAMP
  old = work.directory.with_name(f".{work.directory.name}.old")
  if work.host == 0:
    shutil.rmtree(old, ignore_errors=True)
  if _is_other(work, common, stamp):
    patience = time.monotonic() + PATIENCE
    while work.host and time.monotonic() < patience and _is_other(work, common, stamp):
      time.sleep(0.1)
    if work.host and _is_other(work, common, stamp):
      raise OutputError(
        f"{work.partial}: was begun with other settings; start host 0 first, which removes it"
      )
    if not work.host:
      os.replace(work.partial, old)  # at once, so that no host takes part of it for its own
      shutil.rmtree(old, ignore_errors=True)
  work.partial.mkdir(parents=True, exist_ok=True)  # which another host may just have made
  if not path.is_file() and not work.index.is_file():
    with work.own_file(STAMP) as own:
      own.write_text(stamp)


def _is_other(work: Work, common: Mapping[str, Any], stamp: str) -> bool:
  with contextlib.suppress(FileNotFoundError):
    return (work.partial / STAMP).read_text() != stamp
  with contextlib.suppress(FileNotFoundError):  # the stamp goes last, when the index is there
    index = json.loads(work.index.read_text())
    return any(index.get(name) != value for name, value in common.items())
  return False


def _finish(
  work: Work, count: int, index: Callable[[Sequence[Mapping[str, Any]]], Mapping[str, Any]]
) -> None:
  """Makes the folder of what every host has made; of hosts that do so at once, one will."""
  for again in (True, False):
    try:
      with writing(work.directory):
        _tidy_up(work, count, index)
        os.replace(work.partial, work.directory)
      return
    except OutputError:  # another host may have made the index, and removed the summaries
      if not again:
        raise


def _tidy_up(
  work: Work, count: int, index: Callable[[Sequence[Mapping[str, Any]]], Mapping[str, Any]]
) -> None:
  """Makes the index of all shards, then removes what is not in it; the stamp last."""
  if not work.index.is_file():
    summaries = [json.loads(work.summary(number).read_text()) for number in range(count)]
    try:
      content = json.dumps(index(summaries), indent=2) + "\n"
    except DataError:  # no run could go on from here
      shutil.rmtree(work.partial, ignore_errors=True)
      raise
    with work.own_file(work.index.name) as path:
      path.write_text(content)
  kept = {work.index.name, STAMP, *json.loads(work.index.read_text())["files"]}
  for path in work.partial.iterdir():
    if path.is_dir():
      shutil.rmtree(path, ignore_errors=True)
    elif path.name not in kept:
      path.unlink(missing_ok=True)
  (work.partial / STAMP).unlink(missing_ok=True)


def _write_shard(work: Work, number: int, shards: int, shard: Shard) -> dict[str, Any]:
  """One file of records and its summary; a shard without audible segments has no file."""
  name = shard_name(number, shards)
  count = frames = silent = codes = 0
  shape, total, squares, audible = None, np.zeros(1), np.zeros(1), []
  with work.own_file(name) as path:
    with writing(work.directory):
      writer = ArrayRecordWriter(str(path), WRITER_OPTIONS)
    try:
      for segment in shard():
        shape = shape or segment.latents.shape[1:]
        _check(segment, shape)
        sounding = segment.audible
        latents = segment.latents[sounding].astype(np.float64)
        codes = segment.latents.dtype == np.uint16
        if not len(latents):
          silent += 1
          continue
        audible.append(grouping.mask_of(sounding))
        with writing(work.directory):
          writer.write(to_bytes(segment))
        count, frames = count + 1, frames + latents.shape[0] * latents.shape[1]
        total = total + latents.sum((0, 1))
        squares = squares + np.square(latents).sum((0, 1))
        if segment.deviations is not None:  # then training draws from around the means
          squares = squares + np.square(segment.deviations[sounding], dtype=np.float64).sum((0, 1))
    finally:
      with writing(work.directory):
        writer.close()
  return {
    "files": {name: (work.partial / name).stat().st_size} if count else {},
    "count": count,
    "silent": silent,
    "shape": shape,
    "codes": bool(codes),
    "audible": frames,
    "masks": audible,
    "sum": total.tolist(),
    "squares": squares.tolist(),
  }


def _merge(summaries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
  """Counts and channel statistics of all shards together."""
  full = [summary for summary in summaries if summary["count"]]
  silent = sum(summary["silent"] for summary in summaries)
  if not full:
    if not silent:  # what has no stem that sounds enough is no segment (segments.py)
      raise DataError(
        "nothing to write: no stem sounds in enough of a segment; are the mixes much shorter than"
        " what the model makes at once, or nearly silent?"
      )
    raise DataError(f"nothing to write: {silent} segments came, and none has an audible stem")
  shape = full[0]["shape"]
  for summary in full:
    expect("of a later shard", "frames and channels", tuple(summary["shape"]), tuple(shape))
  count = sum(summary["count"] for summary in full)
  logging.info("wrote %d segments, left out %d without an audible stem", count, silent)
  return {
    "count": count,
    "frames": shape[0],
    "channels": shape[1],
    **({"codes": True} if full[0].get("codes") else _moments(full)),
    "audible": [mask for summary in full for mask in summary["masks"]],
    "files": {name: size for summary in full for name, size in summary["files"].items()},
  }


def _moments(full: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
  """Mean and standard deviation of each channel, of all shards together."""
  audible = sum(summary["audible"] for summary in full)
  mean = sum(np.array(summary["sum"]) for summary in full) / audible
  squares = sum(np.array(summary["squares"]) for summary in full) / audible
  std = np.sqrt(np.maximum(squares - mean**2, 0.0))
  std[std == 0.0] = 1.0  # a channel that is constant stays so
  return {"mean": mean.tolist(), "std": std.tolist()}


def _check(segment: Segment, shape: tuple[int, ...]) -> None:
  expect(segment.id, "frames and channels", segment.latents.shape[1:], shape)
  arrays = {"latents": segment.latents}
  arrays |= {f"sub-mix {mask:b}": latents for mask, latents in segment.submixes.items()}
  if segment.deviations is not None:
    arrays["deviations"] = segment.deviations
  for name, array in arrays.items():
    if not np.isfinite(array).all():
      raise DataError(
        f"segment {segment.id}: {name} are not finite; check the audio, and that the encoder stays"
        f" within half precision (65504)"
      )


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
  """Errors of the disk, which ArrayRecord raises as RuntimeError, in one line."""
  try:
    yield
  except (OSError, RuntimeError) as error:
    raise OutputError(f"{path}: cannot be written ({first_line(error)})") from None
