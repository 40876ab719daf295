"""The smallest SoundFonts: one looped sine, which all programs and drum kits play."""

import struct

import numpy as np

from stemphonic_jax.data.sources.demo.facts import table


def chunk(name, *parts):
  body = b"".join(parts)
  return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def asked_for():
  """(bank, program) of all that the table names."""
  rows = table("instruments")
  programs = {program for row in rows["voices"].values() for program in row}
  programs |= {program for program, _ in rows["pitched"].values()}
  return [(0, program) for program in sorted(programs)] + [(128, 0)]


def font(presets=None, rate=44100):
  """A SoundFont whose sine, of 441 Hz at key 69, is in each of the presets."""
  presets = asked_for() if presets is None else presets
  wave = 12000 * np.sin(2 * np.pi * np.arange(1000) / 100)
  smpl = wave.astype("<i2").tobytes() + bytes(92)
  count = len(presets)
  heads = [(b"x", program, bank, i) for i, (bank, program) in enumerate(presets)]
  heads.append((b"EOP", 0, 0, count))
  phdr = [struct.pack("<20sHHHIII", *head, 0, 0, 0) for head in heads]
  pbag = [struct.pack("<HH", i, 0) for i in range(count + 1)]
  pgen = [struct.pack("<HH", 41, 0)] * count + [bytes(4)]
  inst = [struct.pack("<20sH", b"sine", 0), struct.pack("<20sH", b"EOI", 1)]
  ibag = [struct.pack("<HH", 0, 0), struct.pack("<HH", 2, 0)]
  igen = [struct.pack("<HH", 54, 1), struct.pack("<HH", 53, 0), bytes(4)]
  sample = struct.pack("<20sIIIIIBbHH", b"sine", 0, 1000, 100, 900, rate, 69, 0, 0, 1)
  body = [
    chunk(b"LIST", b"INFO", chunk(b"ifil", struct.pack("<HH", 2, 1)), chunk(b"INAM", b"tiny")),
    chunk(b"LIST", b"sdta", chunk(b"smpl", smpl)),
    chunk(
      b"LIST", b"pdta", chunk(b"phdr", *phdr), chunk(b"pbag", *pbag), chunk(b"pmod", bytes(10)),
      chunk(b"pgen", *pgen), chunk(b"inst", *inst), chunk(b"ibag", *ibag),
      chunk(b"imod", bytes(10)), chunk(b"igen", *igen), chunk(b"shdr", sample, bytes(46)),
    ),
  ]  # fmt: skip
  return chunk(b"RIFF", b"sfbk", *body)
