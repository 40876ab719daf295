"""How fast a data set is checked, and records are read and made into batches, in one process.

The set is the demo corpus, written out in MoisesDB's layout. Figures are of processor time where
they are per core, and each has the limit beside it that it should keep.
"""

import contextlib
import json
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np

from stemphonic_jax.audio.files import write_wav
from stemphonic_jax.bench import train
from stemphonic_jax.data.batching import pipeline
from stemphonic_jax.data.batching.records import Records, Segment
from stemphonic_jax.data.preparing.check import Rules, check
from stemphonic_jax.data.preparing.shards import write_records
from stemphonic_jax.data.sources import demo
from stemphonic_jax.data.sources.catalogue import scan
from stemphonic_jax.data.stems import Mix
from stemphonic_jax.models.dit import for_this_machine
from stemphonic_jax.training.losses.velocity import velocity_loss
from stemphonic_jax.training.run import state
from stemphonic_jax.training.run.optimizer import adamw
from stemphonic_jax.weights.architecture import init_dit

CHECKED, READ, AHEAD, MEMORY = 200, 2_000, 10, 1.5  # x real time, stems/s, x the demo model, GB
FRAMES, CHANNELS, STEMS, BATCH = 394, 64, 6, 32  # of the records that are read: 32 s of six stems
NAMES = {  # stemName and trackType of MoisesDB
  "drums": ("drums", "full_acoustic_drumkit"),
  "basses": ("bass", "bass_guitar"),
  "percussion": ("percussion", "a-tonal_percussion_(claps,_shakers,_congas,_cowbell_etc)"),
  "synths": ("other_keys", "synth_pad"),
  "keys": ("piano", "electric_piano_(rhodes,_wurlitzer,_piano_sound_alike)"),
  "guitars": ("guitar", "clean_electric_guitar"),
  "strings": ("bowed_strings", "string_section"),
  "SFX": ("other", "fx/processed_sound,_scratches,_gun_shots,_explosions_etc"),
  "vocals": ("vocals", "lead_female_singer"),
  "synth-vocals": ("vocals", "other_(vocoder,_beatboxing_etc)"),
  "winds": ("wind", "flutes_(piccolo,_bamboo_flute,_panpipes,_flutes_etc)"),
}


def run(mixes: int = 16, seconds: float = 32.0, segments: int = 400, batches: int = 100) -> None:
  """Prints the table, for `mixes` of `seconds` and for that many segments and batches."""
  with tempfile.TemporaryDirectory(prefix="stemphonic_jax") as name:
    folder = Path(name)
    for i in range(mixes):
      write_moisesdb(folder / "set", demo.piece(0, i, seconds))
    _row("check, per core", checking(folder, seconds), "x real time, all stems", CHECKED)
    records = write_records(
      folder / "records", map(_segment, range(segments)), hop=3584, rate=44_100
    )
    _row("read records", reading(records), "stems/s", READ)
    delivered = delivering(records, batches)
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, in bytes
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9
    consumed = consuming()
    _row("batches", delivered, "stems/s", None)
    _row("the demo model takes", consumed, "stems/s", None)
    _row("batches to demo model", delivered / consumed, "x", AHEAD)
    _row("peak memory", peak, "GB", MEMORY)


def _row(name: str, value: float, unit: str, limit: float | None) -> None:
  print(
    f"{name:24}{value:10,.1f} {unit:24}{'' if limit is None else f'limit {limit:g}'}", flush=True
  )


def write_moisesdb(root: Path, mix: Mix) -> None:
  """Adds a mix to a tree in the layout of MoisesDB."""
  folder, stems = root / "moisesdb_v0.1" / mix.id, []
  for name, stem in mix.stems.items():
    stem_name, track_type = NAMES[stem.type]
    (folder / stem_name).mkdir(parents=True, exist_ok=True)
    write_wav(folder / stem_name / f"{name}.wav", stem.audio, mix.rate)
    track = {"id": name, "trackType": track_type, "extension": "wav", "has_bleed": False}
    stems.append({"stemName": stem_name, "tracks": [track]})
  content = {"artist": "demo", "song": mix.id, "genre": "", "stems": stems}
  (folder / "data.json").write_text(json.dumps(content))


def checking(folder: Path, seconds: float) -> float:
  """Seconds of audio, all stems summed, checked in a second of one core; tempo is not estimated."""
  catalogue = scan("moisesdb", folder / "set")
  begun = time.process_time()
  rows = check(catalogue, folder / "checked", Rules(44_100, 3584, estimate_tempo=False), {}, 1)
  spent = time.process_time() - begun
  return sum(len(row["types"]) * seconds for row in rows if row["taken"]) / spent


def _segment(number: int) -> Segment:
  rng = np.random.default_rng(number)
  return Segment(
    id=str(number),
    names=tuple(map(str, range(STEMS))),
    types=("drums", "basses", "keys", "guitars", "strings", "vocals"),
    caption="Relaxing country rock",
    bpm=96.0,
    latents=rng.standard_normal((STEMS, FRAMES, CHANNELS), np.float32).astype(np.float16),
    activity=np.ones((STEMS, FRAMES), np.int8),
    submixes={0b011: rng.standard_normal((FRAMES, CHANNELS), np.float32).astype(np.float16)},
  )


def reading(records: Records) -> float:
  """Stems read in a second, in random order."""
  order = np.random.default_rng(0).permutation(len(records))
  begun = time.perf_counter()
  for position in order:
    records[int(position)]
  return STEMS * len(records) / (time.perf_counter() - begun)


def delivering(records: Records, count: int) -> float:
  """Stems in the batches that are ready in a second: drawn, packed and standardised."""
  with _batches(records, BATCH) as batches:
    next(batches)
    begun = time.perf_counter()
    for _ in range(count):
      next(batches)
  return BATCH * count / (time.perf_counter() - begun)


@contextlib.contextmanager
def _batches(records: Records, size: int) -> Iterator:
  def encode_text(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros((len(texts), 96), np.int32), np.ones((len(texts), 96), bool)

  statistics = records.index.statistics
  options = dict(statistics=statistics, batch_size=size, seed=0)
  with contextlib.closing(pipeline.batches(records, encode_text, **options)) as batches:
    yield batches


def consuming(steps: int = 5) -> float:
  """Stems that training a model of the demo's size takes in a second, data excluded."""
  dit = for_this_machine(train.DEMO.dit)
  loss = velocity_loss(dit, dropout=train.DROPOUT, time_mean=0.0, time_std=1.0)
  optimizer = adamw(1e-3, clip=1.0)
  params = jax.jit(lambda key: init_dit(dit, key))(jax.random.key(0))
  current = state.create(params, {}, optimizer)
  step = state.train_step(loss, optimizer, ema_decay=0.99)
  batch = train.host_batch(train.DEMO)
  current, _ = step(current, batch, jax.random.key(1))
  jax.block_until_ready(current)
  begun = time.perf_counter()
  for _ in range(steps):
    current, _ = step(current, batch, jax.random.key(1))
  jax.block_until_ready(current)
  return steps * train.DEMO.rows / (time.perf_counter() - begun)
