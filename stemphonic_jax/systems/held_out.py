"""Songs of pieces that were held out, as any system makes them."""

from collections.abc import Callable
from pathlib import Path

from absl import logging

from stemphonic_jax.data.batching.records import Records, Segment
from stemphonic_jax.errors import DivergedError
from stemphonic_jax.generation.song import Song


def songs(records: Records, ask: Callable[[Segment], Song], out: Path, count: int) -> None:
  """Writes songs to `out/0`, `out/1`, …, one for each of the first pieces that are measured on.

  `ask` makes the song of a piece. DivergedError, after the others, where one is no sound.
  """
  failed: list[DivergedError] = []
  count = min(count, len(records))
  for i in range(count):
    try:
      song = ask(records[i])
    except DivergedError as error:
      logging.warning("song %d: %s", i, error)
      failed.append(error)
      continue
    song.save(out / str(i), overwrite=True)
    logging.info("song: %s", out / str(i))
  if failed:
    raise DivergedError(f"{out}: {len(failed)} of {count} songs are not there; {failed[0]}")
