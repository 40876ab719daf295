"""The demo corpus: pieces composed and synthesised on the spot, for teaching and for tests.

It has what training needs (synchronised stems of all eleven types that enter and leave, true
captions and tempi) and needs nothing itself: no download, no licence; a sound font may play it. It
is not the music to train a real model on. The same seed and index give the same samples.

Reading order: theory and styles (data), parts and composer (notes); styles_of_version_2, playing
and arranger (those of the second version); synth, voices, drums and effects (sound), soundfont
and sampled (sampled sound), render (stems), facts and captions (words).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stemphonic_jax.data.sources.demo import arranger
from stemphonic_jax.data.sources.demo.captions import captions_of, words_of
from stemphonic_jax.data.sources.demo.composer import compose
from stemphonic_jax.data.sources.demo.edition import Edition
from stemphonic_jax.data.sources.demo.render import render
from stemphonic_jax.data.stems import Mix, Stem

FIRST = Edition()


def piece(
  seed: int,
  index: int,
  seconds: float = 32.0,
  rate: int = 44100,
  stems: Sequence[str] | None = None,
  edition: Edition = FIRST,
) -> Mix:
  """Piece `index` of the corpus `seed`; `stems` are the types wanted, drawn by default."""
  first = edition.version == 1
  score = (compose if first else arranger.compose)(seed, index, seconds, stems)
  caption, captions, words = score.caption, (), {}
  if not first:
    (caption, *captions), words = captions_of(score), words_of(score)
  audio = render(score, rate, edition.soundfont, edition.share)
  stems = {
    name: Stem(part.type, audio[name], words=words.get(name, ""))
    for name, part in score.parts.items()
  }
  mix = f"demo-{seed}-{index:06d}"
  return Mix(mix, stems, caption, score.bpm, rate, tuple(captions))


@dataclass(frozen=True)
class Corpus(Sequence):
  """`count` pieces from number `first` on, made when asked for: a sequence of Mix without any."""

  seed: int
  count: int
  seconds: float = 32.0
  rate: int = 44100
  stems: tuple[str, ...] | None = None
  first: int = 0
  edition: Edition = FIRST

  def __len__(self) -> int:
    return self.count

  def __getitem__(self, index: int) -> Mix:
    if not -self.count <= index < self.count:
      raise IndexError(f"piece {index} of a corpus of {self.count}")
    number = self.first + index % self.count
    return piece(self.seed, number, self.seconds, self.rate, self.stems, self.edition)
