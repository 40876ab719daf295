"""Just enough music theory: keys, chords from Roman numerals, and voicings.

A pitch is a MIDI number (60 = middle C, 69 = A of 440 Hz); a pitch class is a pitch modulo 12.
"""

from __future__ import annotations

from dataclasses import dataclass

from stemphonic_jax.data.keys import TONICS

SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}
NUMERALS = ("i", "ii", "iii", "iv", "v", "vi", "vii")
TRIADS = {"major": (0, 4, 7), "minor": (0, 3, 7), "diminished": (0, 3, 6)}
SEVENTHS = {"M7": 11, "7": 10}


@dataclass(frozen=True)
class Key:
  """A tonic (pitch class) and a mode, "major" or "minor" (natural)."""

  tonic: int
  mode: str

  @property
  def name(self) -> str:
    return f"{TONICS[self.tonic]} {self.mode}"

  def pitch(self, degree: int) -> int:
    """The pitch of a scale degree, counted from the tonic at or above middle C; any integer."""
    octave, step = divmod(degree, 7)
    return 60 + self.tonic + 12 * octave + SCALES[self.mode][step]

  def nearest_degree(self, pitch: int) -> int:
    """The highest scale degree whose pitch is not above `pitch`."""
    octave, rest = divmod(pitch - 60 - self.tonic, 12)
    return 7 * octave + sum(step <= rest for step in SCALES[self.mode]) - 1


@dataclass(frozen=True)
class Chord:
  """A root (pitch class) and its intervals above it in semitones, the root's 0 first."""

  root: int
  intervals: tuple[int, ...]

  @property
  def classes(self) -> tuple[int, ...]:
    return tuple((self.root + interval) % 12 for interval in self.intervals)

  def voicing(self, centre: int) -> tuple[int, ...]:
    """One pitch per chord tone, each in the octave around `centre`, from low to high.

    Chords voiced around one centre lead smoothly into one another: common tones stay in place.
    """
    low = centre - 6
    return tuple(sorted(low + (c - low) % 12 for c in self.classes))


def chord(numeral: str, key: Key) -> Chord:
  """Reads a Roman numeral in a key: upper case major, lower case minor, o diminished, 7 or M7.

  The root is the degree of the key's own scale, lowered a semitone by a leading b: in A minor,
  VI is F major and V7 is E G# B D; in C major, bVII is B flat major.
  """
  flat = numeral.startswith("b")
  body = numeral.removeprefix("b")
  seventh = next((suffix for suffix in SEVENTHS if body.endswith(suffix)), "")
  body = body.removesuffix(seventh)
  quality = "diminished" if body.endswith("o") else "major" if body.isupper() else "minor"
  degree = NUMERALS.index(body.removesuffix("o").lower())
  root = (key.tonic + SCALES[key.mode][degree] - flat) % 12
  return Chord(root, TRIADS[quality] + ((SEVENTHS[seventh],) if seventh else ()))
