"""What a WAV is made of: samples, and before them a title and a tempo, which DAWs look for.

`LIST INFO` holds texts (INAM the title, IPRD what it belongs to, IBPM the tempo as text); `acid`
holds tempo, metre and the number of quarters as numbers, as most DAWs and samplers look for them.
"""

from __future__ import annotations

import struct
from typing import BinaryIO

import numpy as np

from stemphonic_jax.audio.metre import COMMON, figures, quarters

BITS = (24, 32)  # whole numbers, or floats
PCM, FLOAT = 1, 3  # format tags
SOFTWARE = "stemphonic_jax"
STRETCH, LONG = 0x04, 0x08  # flags of `acid`: may follow a tempo; is no loop of whole beats
FULL = 1 << 23


def write(
  file: BinaryIO,
  audio: np.ndarray,
  rate: int,
  *,
  bits: int = 32,
  title: str = "",
  album: str = "",
  bpm: float | None = None,
  metre: str = COMMON,
) -> None:
  """Writes samples [samples, channels] at `rate` Hz as a whole file, equal ones to equal bytes.

  32 bits are floats as they are; 24 bits are rounded, and what is beyond full scale is clipped.
  """
  channels = audio.shape[1] if audio.ndim == 2 else 1
  tag = FLOAT if bits == 32 else PCM
  width = channels * bits // 8
  form = struct.pack("<HHIIHH", tag, channels, rate, rate * width, width, bits)
  chunks = [(b"fmt ", form + (b"\0\0" if tag == FLOAT else b""))]
  if tag == FLOAT:
    chunks.append((b"fact", struct.pack("<I", len(audio))))
  if info := _info(title, album, bpm and quarters(bpm, metre)):
    chunks.append((b"LIST", info))
  if bpm:
    chunks.append((b"acid", _acid(len(audio), rate, quarters(bpm, metre), metre)))
  samples = _float(audio) if tag == FLOAT else _whole(audio)
  head = b"".join(_chunk(name, content) for name, content in chunks)
  size = 4 + len(head) + 8 + samples.nbytes + samples.nbytes % 2
  file.write(struct.pack("<4sI4s", b"RIFF", size, b"WAVE") + head)
  file.write(struct.pack("<4sI", b"data", samples.nbytes))
  file.write(samples.data)
  file.write(bytes(samples.nbytes % 2))


def _chunk(name: bytes, content: bytes) -> bytes:
  return struct.pack("<4sI", name, len(content)) + content + bytes(len(content) % 2)


def _info(title: str, album: str, bpm: float | None) -> bytes:
  """Texts that are there, with who wrote them; nothing where there is none."""
  texts = {b"INAM": title, b"IPRD": album, b"IBPM": f"{bpm:g}" if bpm else ""}
  texts = {name: " ".join(text.replace("\0", " ").split()) for name, text in texts.items()}
  if not any(texts.values()):
    return b""
  texts[b"ISFT"] = SOFTWARE
  parts = [_chunk(name, text.encode() + b"\0") for name, text in texts.items() if text]
  return b"INFO" + b"".join(parts)


def _acid(samples: int, rate: int, bpm: float, metre: str) -> bytes:
  """The quarters of a loop of whole ones, else the nearest number of them; metre; no root note."""
  exact = samples * bpm / (60 * rate)
  beats = max(1, round(exact))
  is_loop = abs(beats - exact) * 60 * rate < bpm  # to the sample
  flags = STRETCH if is_loop else STRETCH | LONG
  return struct.pack("<IHHfIHHf", flags, 60, 0x8000, 0.0, beats, *reversed(figures(metre)), bpm)


def _float(audio: np.ndarray) -> np.ndarray:
  return np.ascontiguousarray(audio, "<f4")


def _whole(audio: np.ndarray) -> np.ndarray:
  """24-bit samples as bytes, the lowest first."""
  whole = np.clip(np.rint(np.asarray(audio, np.float64) * FULL), -FULL, FULL - 1).astype("<i4")
  return np.ascontiguousarray(whole.reshape(-1, 1).view(np.uint8)[:, :3])
