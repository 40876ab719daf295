"""An edited song: what an edit asks for, made, looked at and written down as a step."""

import time
from typing import TYPE_CHECKING

import numpy as np

from stemphonic_jax.generation.carried import continued
from stemphonic_jax.generation.draft import Edit
from stemphonic_jax.generation.outcome import is_silent, silent_stems
from stemphonic_jax.generation.progress import Tell, one_after_another
from stemphonic_jax.generation.session import OF_STEMS
from stemphonic_jax.generation.song import Song, Take
from stemphonic_jax.generation.windows import unknown

if TYPE_CHECKING:
  from stemphonic_jax.generation.pipeline import StemPipeline


def make(pipe: "StemPipeline", edit: Edit, tell: Tell | None = None) -> Song:
  """The song after an edit: the holes of its draft filled, and the step written down."""
  song, request, draft, turned = edit.song, edit.request, edit.draft, edit.turned
  begun_at, tell = time.perf_counter(), one_after_another(tell)
  pipe.fill(draft, request, edit.holes, strength=edit.strength, tell=tell)
  missing = unknown(edit.holes, -(-draft.samples // pipe.hop))
  whole = turned or draft.samples != song.samples
  if whole:  # where a song goes on, stems may rest
    everywhere = np.ones_like(missing)
    silent = [n for n in request.stems if is_silent(draft.audio[n], pipe.hop, everywhere)]
  else:
    silent = silent_stems(pipe, draft, request, edit.holes, again=edit.strength == 1, tell=tell)
  timings = {"edit": round(time.perf_counter() - begun_at, 3)}
  names = [name for name in draft.audio if name in request.stems or whole]
  made, about = {}, {}
  for name in names:
    audio, latents = draft.audio[name], draft.latents.get(name)
    own = not missing.all() and song.info["stems"].get(name, {}).get("given", False)
    about[name] = {"type": draft.types[name], "given": own}
    if name in silent:
      about[name]["silent"] = True
    for key in OF_STEMS:
      if name in getattr(request, key):
        about[name][key] = getattr(request, key)[name]
    if name in (kept := edit.kept or {}):
      new = np.zeros_like(missing) if turned else missing
      about[name]["activity"] = continued(kept[name], audio, new, pipe.hop, pipe.rate)
    made[name] = Take(np.roll(audio, turned, 0), None) if turned else Take(audio, latents)
  return song.edited(edit.do, edit.ask, made, about, timings)
