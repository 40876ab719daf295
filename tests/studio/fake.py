"""A worker whose model makes tones in a moment: `python -m tests.studio.fake [SECONDS]`.

The prompt decides what it does: with "slow" it takes SECONDS for each stem, with "fail" it fails,
with "die" the process ends, and with "deaf" it hears of no cancelling.
"""

import os
import sys
import time

import numpy as np

from stemphonic_jax.errors import UsageError
from stemphonic_jax.generation import session
from stemphonic_jax.generation import song as saving
from stemphonic_jax.generation.song import Song, Take
from stemphonic_jax.generation.stem_names import unique_name
from stemphonic_jax.studio import worker

RATE, HOP = 8_000, 800
CONFIG = {
  "dropout": {"text": 0.5, "bpm": 0.5, "context": 0.5, "activity": 0.5},
  "sample": {"steps": 8, "guidance": 3.0, "interval": None, "share_noise": True},
  "whole_mixes": False,
  "sample_rate": RATE,
  "seconds": 8.0,
  "dit": {"ensemble": True},
}


def tone(name: str, number: int, seconds: float, ranges=None) -> np.ndarray:
  """A stem: notes of a pitch of its own, twice a second, where `ranges` say so."""
  time_ = np.arange(round(seconds * RATE)) / RATE
  pitch = 110 * 2 ** ((sum(name.encode()) + 5 * number) % 24 / 12)
  wave = np.sin(2 * np.pi * pitch * time_) * np.exp(-6 * (time_ % 0.5)) * 0.3
  if ranges is not None:
    wave *= sum((time_ >= a) & (time_ < b) for a, b in ranges) > 0
  return np.stack([wave, wave], axis=1).astype(np.float32)


class Fake:
  """Has the calls of a StemPipeline that a worker makes."""

  def __init__(self, pause: float = 0.3):
    self.rate, self.seconds, self._pause = RATE, CONFIG["seconds"], pause
    self.config, self.fingerprint, self.hop, self.ensemble = CONFIG, "fake", HOP, True
    self.channels = 4

  def variations(self, prompt, stems, *, count, progress, **options):
    self._work(prompt, len(stems) * count, progress)
    return [self._song(prompt, stems, v, options) for v in range(count)]

  def edit(self, song, do, progress=None, **ask):
    prompt = ask.get("prompt") or song.info["request"]["prompt"]
    said = dict(stem.partition(": ")[::2] for stem in ask.get("stems") or song.stems)
    names = [name.rstrip(":") for name in said]
    if do == "add":
      names = [unique_name(name, song.stems) for name in names]
    seed = ask.get("seed", len(song.info["steps"]))
    seconds = ask.get("seconds", song.samples / song.rate)
    if do == "extend":
      names = list(song.stems)
    self._work(prompt, len(names), progress)
    made, about, activity = {}, {}, ask.get("activity") or {}
    for name in names:
      new = tone(name, seed, seconds, activity.get(name))
      if ask.get("range"):
        a, b = (round(edge * RATE) for edge in np.ravel(ask["range"])[:2])
        new = np.concatenate([song.stems[name][:a], new[a:b], song.stems[name][b:]])
      if do == "extend":
        new[: song.samples] = song.stems[name]
      made[name] = Take(new)
      about[name] = {"type": name.rstrip(" 0123456789"), "given": False}
      if name in activity:
        about[name]["activity"] = activity[name]
      if words := said.get(name, "").strip():
        about[name]["words"] = words
    return song.edited(do, ask, made, about)

  def _song(self, prompt, stems, variation, options):
    names = {}
    for kind in (stem.partition(":")[0] for stem in stems):
      number = 1 + sum(kind == other for other in names.values())
      names[kind if number == 1 else f"{kind} {number}"] = kind
    seconds = options.get("duration") or self.seconds
    activity, seed = options.get("activity") or {}, options.get("seed", 0)
    sounds = {n: tone(n, seed + variation, seconds, activity.get(n)) for n in names}
    request = {
      "prompt": prompt, "stems": list(names), "context": [], "bpm": options.get("bpm"),
      "seed": seed, "variation": variation, "duration": seconds, "activity": activity,
      "metre": options.get("metre") or "4/4",
    }  # fmt: skip
    info = {
      "request": request,
      "sampler": {"steps": 8, "guidance": 3.0, "passes": 1, "share_noise": True},
      "model": "fake", "sample_rate": RATE, "hop": HOP, "latents": "latents.safetensors",
      "stems": {name: {"type": kind, "given": False} for name, kind in names.items()},
      "timings": {},
    }  # fmt: skip
    info = session.begun(info, "generate", {**request, "variation": variation}, sounds)
    return Song(sounds, RATE, HOP, {}, {}, info)

  def _work(self, prompt, count, progress):
    if "fail" in prompt:
      raise UsageError("the prompt says that it fails; leave that word out")
    if "die" in prompt:
      os._exit(9)
    for done in range(8 * count if "slow" in prompt else 0):
      if "deaf" not in prompt:
        progress(done, 8 * count)
      time.sleep(self._pause / 8)
    progress(8 * count, 8 * count)


if __name__ == "__main__":
  saving.stems_figure = lambda path, *_: path.touch()  # matplotlib takes longer than all else
  pause = float(sys.argv[1]) if len(sys.argv) > 1 else 0.3
  worker.run(lambda: Fake(pause))
