"""`stemphonic export`: a song goes out beside itself, and a fault is one line."""

import json
from pathlib import Path

import numpy as np

from stemphonic_jax.audio.files import write_wav


def test_a_song_is_exported_beside_itself(stemphonic):
  Path("song").mkdir()
  write_wav("song/drums.wav", np.full((8000, 2), 0.1, np.float32), 8000)
  stems = {"drums": {"type": "drums", "given": False}}
  info = {"request": {"prompt": "A test", "bpm": None}, "sample_rate": 8000, "stems": stems}
  Path("song/song.json").write_text(json.dumps(info))
  place = "song.dawproject"
  assert stemphonic("export", "song", "--as", "dawproject") == (0, f"{place}\n", "")
  code, out, said = stemphonic("export", "song", "--as", "dawproject")
  assert (code, out) == (73, "")
  assert said == f"stemphonic: error: {place}: already exists; choose another --out\n"
  code, _, said = stemphonic("export", "song", "--as", "reaper", "--raw")
  assert code == 2
  assert said.startswith("stemphonic: error: --raw is of --as zip")
