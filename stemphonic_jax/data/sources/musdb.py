"""MUSDB18-HQ, and MUSDB18 as it was released: 150 songs in four stems.

    ROOT/train|test/ARTIST - TITLE/drums.wav, bass.wav, other.wav, vocals.wav (and mixture.wav)
    ROOT/train|test/ARTIST - TITLE.stem.mp4    five streams: the mix, then the four (needs ffmpeg)
    ROOT/other.json                            optional: {"ARTIST - TITLE": "guitars"}

What is heard in `other` is written down nowhere; `other.json` may say it, song by song.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from unicodedata import normalize

from absl import logging

from stemphonic_jax.data import taxonomy
from stemphonic_jax.data.sources import tree
from stemphonic_jax.data.sources.entries import Catalogue, Entry, Part, gather, named
from stemphonic_jax.errors import MissingError

LICENCE = "MUSDB18: for academic use only"
PACKED = ".stem.mp4"
# In the order of the streams, of which the first is the mix (musdb, configs/mus.yaml).
STEMS = {"drums": "drums", "bass": "basses", "other": "other", "vocals": "vocals"}
# The songs of train that everybody validates on (musdb, configs/mus.yaml).
VALID = {
  "ANiMAL - Rockshow",
  "Actions - One Minute Smile",
  "Alexander Ross - Goodbye Bolero",
  "Clara Berry And Wooldog - Waltz For My Victims",
  "Fergessen - Nos Palpitants",
  "James May - On The Line",
  "Johnny Lokke - Promises & Lies",
  "Leaf - Summerghost",
  "Meaxic - Take A Step",
  "Patrick Talbot - A Reason To Leave",
  "Skelpolu - Human Mistakes",
  "Traffic Experiment - Sirens",
  "Triviul - Angelsaint",
  "Young Griffo - Pennies",
}


def scan(root: Path) -> Catalogue:
  """The songs of both parts; MissingError where there is neither, DataError for an other.json that
  cannot be read.

  A song that lacks one of its four stems is rejected.
  """
  base = tree.base(root, lambda base: any((base / part).is_dir() for part in ("train", "test")))
  if base is None:
    raise MissingError(
      f"{root}: not MUSDB18; expected train/ and test/ with ARTIST - TITLE/drums.wav and so on in"
      f" them, as in musdb18hq.zip of https://zenodo.org/records/3338373"
    )
  songs = [
    path
    for part in ("train", "test")
    if (base / part).is_dir()
    for path in tree.listing(base / part)
    if path.is_dir() or path.name.endswith(PACKED)
  ]
  others = _others(base, root)
  for title in sorted(others.keys() - {_title(path) for path in songs}):
    logging.warning("other.json names %r, which is not in %s", title, root)
  return gather("musdb", LICENCE, root, songs, partial(_read, root, others))


def _read(root: Path, others: dict[str, str], path: Path, name: str) -> Entry:
  packed = path.name.endswith(PACKED)
  title = _title(path)
  parts, notes = [], []
  for stream, (stem, kind) in enumerate(STEMS.items(), 1):
    if stem == "other":
      kind = others.get(title, kind)
      if title not in others:
        notes.append("other: of no known type; other.json can name it")
    file = tree.inside(path if packed else path / f"{stem}.wav", root)
    parts.append(Part("", kind, (file,), stem, stream=stream if packed else None))
  split = "valid" if path.parent.name == "train" and title in VALID else path.parent.name
  return Entry(name, named(parts), split=split, notes=tuple(notes))


def _title(path: Path) -> str:
  return normalize("NFC", path.name.removesuffix(PACKED))


def _others(base: Path, root: Path) -> dict[str, str]:
  """The type of `other` by title, as other.json gives it."""
  path = base / "other.json"
  if not path.exists():
    return {}
  types = {}
  for title, word in tree.read_json(path, root).items():
    if isinstance(word, str) and tree.clean(word):
      types[normalize("NFC", title)] = taxonomy.guess_type(tree.clean(word))
    else:
      logging.warning("%s: %r is %r, expected a stem type; left out", path, title, word)
  return types
