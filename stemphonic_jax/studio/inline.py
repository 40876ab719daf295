"""The studio's player in a notebook: all stems of a song on one clock, with mute and solo.

    from stemphonic_jax.studio.inline import player

    player(song)          # the last line of a cell shows it

It is a page of its own in a frame, with all that it needs in it: it plays without a server, and
where a notebook is opened again later.
"""

import base64
import html
import io
import json
import re
from pathlib import Path

import numpy as np
import soundfile

from stemphonic_jax.generation.colours import colour_of
from stemphonic_jax.generation.song import Song
from stemphonic_jax.studio.peaks import FULL, pieces

PAGE = Path(__file__).parent / "page"
MODULES = ("dom.js", "time.js", "transport.js", "draw.js", "player.js")
OWN = ":root { --head: 13rem } body { padding: 0 .6rem; min-height: 0; font-size: 14px }"
OWN += " .body { min-height: 72px } .wave { height: 100% } .corner { grid-column: 1 / -1 }"
LANE, REST = 82, 110  # pixels of a stem, and of what is around them


class Player:
  """What a notebook shows of a song."""

  def __init__(self, song: Song, title: str = ""):
    self._song, self._title = song, title

  def _repr_html_(self) -> str:
    song = self._song
    height = LANE * len(song.stems) + REST
    page = html.escape(_page(song, self._title), quote=True)
    return (
      f'<iframe srcdoc="{page}" width="100%" height="{height}" style="border: 0"'
      f' title="Player of a song" allow="autoplay"></iframe>'
    )


def player(song: Song, title: str = "") -> Player:
  """A player of a song's stems, called by its prompt where it has no `title`."""
  return Player(song, title)


def _page(song: Song, title: str) -> str:
  style = (PAGE / "style.css").read_text(encoding="utf-8")
  script = "\n".join(_flat((PAGE / name).read_text(encoding="utf-8")) for name in MODULES)
  data = json.dumps(_data(song, title)).replace("</", "<\\/")
  return (
    '<!doctype html><meta charset="utf-8"><style>'
    f"{style}\n{OWN}</style>"
    f'<div id="player"></div><script type="module">const DATA = {data};\n{script}</script>'
  )


def _flat(module: str) -> str:
  """A module as part of one script: what it imports stands before it."""
  module = re.sub(r"^import .*?;$", "", module, flags=re.M)
  return re.sub(r"^export ", "", module, flags=re.M)


def _data(song: Song, title: str) -> dict:
  waves = {name: pieces(audio) for name, audio in song.stems.items()}
  loudest = max(int(np.abs(wave.astype(np.int32)).max()) for wave in waves.values())
  kinds = {name: stem["type"] for name, stem in song.info["stems"].items()}
  return {
    "title": title or song.info["request"]["prompt"],
    "bpm": song.info["request"]["bpm"],
    "metre": song.info["request"].get("metre"),
    "rate": song.rate,
    "seconds": song.samples / song.rate,
    "full": max(loudest, FULL // 10),
    "stems": [
      {
        "name": name,
        "colour": colour_of(kinds[name]),
        "peaks": _text(waves[name].tobytes()),
        "audio": _text(_flac(audio, song.rate)),
      }
      for name, audio in song.stems.items()
    ],
  }


def _flac(audio: np.ndarray, rate: int) -> bytes:
  """16 bits are enough to listen to, and a fifth of the size; what is beyond full scale is cut."""
  file = io.BytesIO()
  soundfile.write(file, np.clip(audio, -1, 1), rate, format="FLAC", subtype="PCM_16")
  return file.getvalue()


def _text(content: bytes) -> str:
  return base64.b64encode(content).decode()
