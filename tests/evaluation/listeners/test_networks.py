"""What judges hear is kept by what sounds, and what they say of sets whose order is known."""

from dataclasses import replace

import numpy as np
import pytest

from stemphonic_jax.data.sources.demo import piece
from stemphonic_jax.data.stems import Mix, Stem
from stemphonic_jax.errors import DataError
from stemphonic_jax.evaluation import features
from stemphonic_jax.evaluation.distances import populations
from stemphonic_jax.evaluation.distances.cepstra import SIZE, embed
from stemphonic_jax.evaluation.listeners import networks
from stemphonic_jax.evaluation.listeners.ears import Ears
from stemphonic_jax.evaluation.measures.baselines import noise_like, shuffled
from stemphonic_jax.evaluation.songs import corpus

RATE = 22_050
KINDS = ("drums", "keys")


class Cepstra:
  """A judge that needs no weights: 16 mel cepstra of each second, and how they spread."""

  size, note = SIZE, "Of cepstra."

  def __init__(self, key="cepstra"):
    self.key, self.calls = {"name": key}, 0

  def embed_each(self, audio, rate):
    self.calls += len(audio)
    return [embed(self.bands(clip.mean(axis=1))) for clip in audio]

  def bands(self, mono):
    power = features._spectra(mono, features.WINDOW, features.HOP) @ features._mel().T
    return 10.0 * np.log10(np.maximum(power, 1e-9))


def mixes(first, count):
  return [piece(3, n, 6.0, RATE, stems=KINDS) for n in range(first, first + count)]


@pytest.fixture(scope="module")
def real():
  return mixes(0, 8)


@pytest.fixture(scope="module")
def reference():
  return mixes(100, 8)


def test_a_song_is_heard_once_by_each_listener(tmp_path, real):
  judge = Cepstra()
  ears = Ears(tmp_path, [networks.fad(judge)])
  for _ in range(2):
    song = ears.listen(real[0])
    assert judge.calls == 3  # the mix and two stems
  recall = ears.recall(ears.listeners[0])
  assert recall(song, "audio").shape == recall(song.stems["keys"], "audio").shape == (6, SIZE)
  assert ears.complete(song)
  assert not ears.complete(features.features(real[0]))
  more = Ears(tmp_path, [*ears.listeners, networks.fad(Cepstra("others"))])
  assert not more.complete(song)
  more.listen(real[0])
  assert more.complete(song)
  assert judge.calls == 3
  mixed = shuffled([song, ears.listen(real[1])])[0]
  assert recall(mixed, "audio") is None  # its stems never sounded together
  assert recall(mixed.stems["keys"], "audio") is not None
  for damaged in tmp_path.glob(f"heard/*/{song.heard}.npz"):
    damaged.write_bytes(b"PK")
  with pytest.raises(DataError, match=r"npz: is damaged .* remove it"):
    recall(song, "audio")


def test_a_song_that_comes_twice_at_once_is_heard_once(tmp_path, real):
  judge = Cepstra()
  ears = Ears(tmp_path, [networks.fad(judge)])
  found = list(corpus.in_threads(ears.listen, [real[0]] * 8))
  assert len({song.heard for song in found}) == 1
  assert judge.calls == 3


def test_noise_is_further_than_types_confused_than_a_codec_than_real_stems(
  tmp_path, real, reference, monkeypatch
):
  monkeypatch.setattr(populations, "RESAMPLES", 5)
  ears = Ears(tmp_path, [networks.fad(Cepstra())])

  def confused(mix):
    kinds = dict(zip(KINDS, KINDS[::-1], strict=True))
    stems = {n: replace(stem, type=kinds[stem.type]) for n, stem in mix.stems.items()}
    return replace(mix, stems=stems)

  def coarse(mix):
    """As a codec loses the top octaves."""
    stems = {}
    for name, stem in mix.stems.items():
      spectrum = np.fft.rfft(stem.audio, axis=0)
      spectrum[len(spectrum) // 2 :] *= 0.3
      audio = np.fft.irfft(spectrum, len(stem.audio), axis=0).astype(np.float32)
      stems[name] = replace(stem, audio=audio)
    return replace(mix, stems=stems)

  def measured(change):
    songs = [ears.listen(change(mix)) for mix in real]
    return ears.scored(ears.listeners[0], songs, heard)

  heard = [ears.listen(mix) for mix in reference]
  rows = [measured(change) for change in (lambda mix: mix, coarse, confused, noise_like)]
  for name in ("vggish_fad_stem", "vggish_kad_stem"):
    values = [scores[name].value for scores, _ in rows]
    assert values == sorted(values), name
    assert values[0] < values[1] < values[2] / 2
  scores, detail = rows[0]
  assert scores["vggish_fad_stem"].n == 8
  assert detail["vggish_stem"]["drums"]["windows"] == [48, 48]
  assert set(scores) == set(ears.metrics)
  itself, _ = ears.scored(ears.listeners[0], heard, heard)
  assert itself["vggish_fad_mix"].value == pytest.approx(0.0, abs=1e-9)


def test_clap_is_the_mean_cosine_of_a_mix_and_its_text(tmp_path):
  class Two(Cepstra):
    def embed_each(self, audio, rate):
      return [np.array([[1.0, 0.0], [0.6, 0.8]], np.float32) for _ in audio]

    def embed_texts(self, texts):
      return np.array([[1.0, 0.0]] * len(texts), np.float32)

  ears = Ears(tmp_path, [networks.clap(Two())])
  audio = np.ones((RATE, 2), np.float32)
  songs = [Mix(str(n), {"drums": Stem("drums", audio)}, text, None, RATE)
           for n, text in enumerate(("a song", ""))]  # fmt: skip
  found, _ = ears.scored(ears.listeners[0], [ears.listen(mix) for mix in songs], [])
  assert found["clap"].value == pytest.approx(80.0)
  assert found["clap"].n == 1


def test_stems_are_heard_as_loud_as_in_a_mix_of_the_papers_level():
  audio = np.ones((RATE, 2), np.float32)
  stems = {"drums": Stem("drums", 0.3 * audio), "keys": Stem("keys", 0.1 * audio)}
  whole, drums, keys = networks.levelled(Mix("m", stems, "", None, RATE))
  np.testing.assert_allclose(whole, 10 ** (-16 / 20), rtol=1e-6)
  np.testing.assert_allclose(drums / keys, 3.0, rtol=1e-6)
  silent = networks.levelled(Mix("m", {"keys": Stem("keys", 0 * audio)}, "", None, RATE))
  assert not np.any(silent)
