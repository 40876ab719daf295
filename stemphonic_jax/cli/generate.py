"""`stemphonic generate`: stems from a prompt."""

import argparse
import itertools
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

from stemphonic_jax import door
from stemphonic_jax.cli.arguments import (
  activity_of,
  command,
  guidance_of,
  music_options,
  path,
  place,
  words_of,
)
from stemphonic_jax.cli.model import known
from stemphonic_jax.cli.showing import shown
from stemphonic_jax.errors import UsageError


def add(commands: Any) -> None:
  """Adds the command and its arguments to argparse's subparsers."""
  generate = command(commands, "generate", run, "make synchronised stems from a prompt")
  generate.add_argument("prompt", help="the music, in words; shared by all stems")
  generate.add_argument(
    "--stems",
    required=True,
    metavar="A,B,…",
    help="what to make, as drums,basses or 'guitars: muted electric; drums'",
  )
  generate.add_argument(
    "--out",
    type=path,
    metavar="DIR",
    help="folder for the song (DIR/1, … for more); default one in runs, named by the prompt",
  )
  music_options(generate)
  generate.add_argument("--duration", type=float, metavar="S", help="seconds")
  generate.add_argument(
    "--context",
    type=place,
    metavar="FILE|DIR",
    help="audio to play along with: a mix, or a folder of stems",
  )
  generate.add_argument(
    "--passes", metavar="1|2|K", help="all stems at once, in two passes, one by one"
  )
  generate.add_argument("--variations", type=int, default=1, metavar="V", help="songs to make")
  generate.add_argument(
    "--guidance-in-turn", action="store_true", help="less memory: what guides comes one by one"
  )
  generate.add_argument(
    "--own-noise", action="store_true", help="a noise for each stem: unsynchronised, for comparison"
  )


def run(request: argparse.Namespace) -> None:
  """Makes the songs of one request and says where they are."""
  from stemphonic_jax.generation import asking
  from stemphonic_jax.generation.limits import MAX_VARIATIONS
  from stemphonic_jax.generation.song_folder import check_output

  count = request.variations
  numbers = range(1, min(count, MAX_VARIATIONS) + 1)  # asking for more is refused below
  out = request.out or named_folder(request.prompt, request.overwrite)
  folders = [out] if count == 1 else [out / str(number) for number in numbers]

  def allow(stems: Collection[str] = ()) -> None:
    for folder in folders:
      check_output(folder, request.overwrite, stems)

  allow()
  options = dict(
    prompt=request.prompt,
    stems=words_of(request.stems),
    count=count,
    bpm=request.bpm,
    metre=request.metre,
    seed=request.seed,
    context=request.context,
    activity=activity_of(request.activity),
    duration=request.duration,
    passes=_passes(request.passes),
    steps=request.steps,
    guidance=guidance_of(request.guidance),
    negative=request.negative,
    guidance_in_turn=request.guidance_in_turn,
    share_noise=False if request.own_noise else None,
    allow=allow,
  )
  door.set_up()
  model, load = known(request.model)
  asked = asking.order(model, **options)
  with shown("generate") as tell:
    songs = asking.made(load(), asked, tell)
  for song, folder in zip(songs, folders, strict=True):
    song.save(folder, request.overwrite)
    print(folder)


def named_folder(prompt: str, overwrite: bool) -> Path:
  """In runs, by the first words of a prompt; a number tells it from one that is to be left."""
  name = re.sub(r"\W+", "-", prompt.lower())[:40].strip("-") or "song"
  names = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
  folders = (Path("runs", name) for name in names)
  return next(folder for folder in folders if overwrite or not folder.exists())


def _passes(word: str | None) -> int | str | None:
  if word is None:
    return None
  if word.upper() == "K":
    return "K"
  try:
    return int(word)
  except ValueError:
    raise UsageError(f"passes: got {word!r}, expected a number, or K for one by one") from None
