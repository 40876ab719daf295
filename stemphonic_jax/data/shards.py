"""Writes records shard by shard, so that a run which is killed loses at most the shards in work.

    .NAME.partial/stamp.json                      what the run was asked; another one starts over
    .NAME.partial/00003-of-00016.array_record     a finished shard, and
    .NAME.partial/00003.json                      its counts and moments: with this, it is done
    NAME/                                         all of it and an index, once every shard is there

A shard is a function of its number alone, so what comes out in the end is the same to the byte
however often the run was killed, and however many processes or hosts made it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging
from array_record.python.array_record_module import ArrayRecordWriter
from tqdm import tqdm

from stemphonic_jax.audio.files import whole_file
from stemphonic_jax.data.records import (
  FORMAT,
  Records,
  Segment,
  expect,
  first_line,
  open_records,
  to_bytes,
)
from stemphonic_jax.errors import DataError, OutputError

# One record per group of the file: what random access wants. Half-precision latents hardly
# compress (8 %), and uncompressed they read three times as fast.
WRITER_OPTIONS = "group_size:1,uncompressed"
STAMP = "stamp.json"

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
  directory = Path(directory).absolute()
  if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
    raise OutputError(f"{directory}: already exists and is not empty; remove it to prepare again")
  partial = directory.with_name(f".{directory.name}.partial")
  common = json.loads(json.dumps({"hop": hop, "rate": rate, "notes": dict(notes or {})}))
  with writing(directory):
    _begin(partial, common, len(shards))
  try:
    own = range(host, len(shards), hosts)
    for number in tqdm(own, desc=f"records {directory.name}", unit=" shards", disable=None):
      if not _done(partial, number):
        _write_shard(partial, number, len(shards), shards[number])
    whole = all(_done(partial, number) for number in range(len(shards)))
    if whole:
      with writing(directory):
        _finish(partial, directory, len(shards), common)
  finally:
    if hosts == 1 and not any(_done(partial, number) for number in range(len(shards))):
      shutil.rmtree(partial, ignore_errors=True)  # nothing that a next run could go on from
  return open_records(directory) if whole else None


def _begin(partial: Path, common: Mapping[str, Any], shards: int) -> None:
  """The folder of an unfinished run that was asked the same, or a new one."""
  path, stamp = partial / STAMP, json.dumps({**common, "shards": shards})
  if path.is_file() and path.read_text() == stamp:
    return
  if (partial / "index.json").is_file():  # all that was left to do is to rename it
    index = json.loads((partial / "index.json").read_text())
    if all(index[name] == value for name, value in common.items()):
      return
  shutil.rmtree(partial, ignore_errors=True)
  partial.mkdir(parents=True, exist_ok=True)  # which another host may just have made
  with whole_file(path) as unfinished:
    unfinished.write_text(stamp)


def _done(partial: Path, number: int) -> bool:
  return (partial / "index.json").is_file() or _summary(partial, number).is_file()


def _summary(partial: Path, number: int) -> Path:
  return partial / f"{number:05d}.json"


def _write_shard(partial: Path, number: int, shards: int, shard: Shard) -> None:
  """One file of records, then its summary; a shard without audible segments has no file."""
  name = f"{number:05d}-of-{shards:05d}.array_record"
  count = frames = silent = 0
  shape, total, squares = None, np.zeros(1), np.zeros(1)
  with whole_file(partial / name) as path:
    with writing(partial):
      writer = ArrayRecordWriter(str(path), WRITER_OPTIONS)
    try:
      for segment in shard():
        shape = shape or segment.latents.shape[1:]
        _check(segment, shape)
        latents = segment.latents[segment.audible].astype(np.float64)
        if not len(latents):
          silent += 1
          continue
        with writing(partial):
          writer.write(to_bytes(segment))
        count, frames = count + 1, frames + latents.shape[0] * latents.shape[1]
        total = total + latents.sum((0, 1))
        squares = squares + np.square(latents).sum((0, 1))
    finally:
      with writing(partial):
        writer.close()
  summary = {
    "files": {name: (partial / name).stat().st_size} if count else {},
    "count": count,
    "silent": silent,
    "shape": shape,
    "audible": frames,
    "sum": total.tolist(),
    "squares": squares.tolist(),
  }
  with whole_file(_summary(partial, number)) as path:
    path.write_text(json.dumps(summary))


def _finish(partial: Path, directory: Path, shards: int, common: Mapping[str, Any]) -> None:
  """Makes the index of all shards, and the folder of what is left when their summaries are gone."""
  if not (partial / "index.json").is_file():
    summaries = [json.loads(_summary(partial, number).read_text()) for number in range(shards)]
    try:
      content = json.dumps({"format": FORMAT, **common, **_merge(summaries)}, indent=2) + "\n"
    except DataError:  # no run could go on from here
      shutil.rmtree(partial, ignore_errors=True)
      raise
    with whole_file(partial / "index.json") as path:
      path.write_text(content)
  kept = {"index.json", STAMP, *json.loads((partial / "index.json").read_text())["files"]}
  for path in partial.iterdir():
    if path.name not in kept:
      path.unlink()
  (partial / STAMP).unlink(missing_ok=True)
  os.replace(partial, directory)


def _merge(summaries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
  """Counts and channel statistics of all shards together."""
  full = [summary for summary in summaries if summary["count"]]
  silent = sum(summary["silent"] for summary in summaries)
  if not full:
    raise DataError(f"nothing to write: {silent} segments came, and none has an audible stem")
  shape = full[0]["shape"]
  for summary in full:
    expect("of a later shard", "frames and channels", tuple(summary["shape"]), tuple(shape))
  audible = sum(summary["audible"] for summary in full)
  mean = sum(np.array(summary["sum"]) for summary in full) / audible
  squares = sum(np.array(summary["squares"]) for summary in full) / audible
  std = np.sqrt(np.maximum(squares - mean**2, 0.0))
  std[std == 0.0] = 1.0  # a channel that is constant stays so
  count = sum(summary["count"] for summary in full)
  logging.info("wrote %d segments, left out %d without an audible stem", count, silent)
  return {
    "count": count,
    "frames": shape[0],
    "channels": shape[1],
    "mean": mean.tolist(),
    "std": std.tolist(),
    "files": {name: size for summary in full for name, size in summary["files"].items()},
  }


def _check(segment: Segment, shape: tuple[int, ...]) -> None:
  expect(segment.id, "frames and channels", segment.latents.shape[1:], shape)
  arrays = {"latents": segment.latents}
  arrays |= {f"sub-mix {mask:b}": latents for mask, latents in segment.submixes.items()}
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
