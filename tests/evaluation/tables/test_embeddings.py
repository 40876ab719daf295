import numpy as np
import pytest

from stemphonic_jax.errors import DataError, MissingError
from stemphonic_jax.evaluation.distances import frechet
from stemphonic_jax.evaluation.tables import embeddings
from stemphonic_jax.evaluation.tables.basis import Options


def save(path, songs=8, moved=0.0, size=4, kinds=("drums/", "keys/")):
  rng = np.random.default_rng(0)
  arrays = {f"{kind}{n}": moved + rng.standard_normal((10, size)) for kind in kinds
            for n in range(songs)}  # fmt: skip
  np.savez(path, **arrays)
  return path


def test_two_files_are_compared_by_kind_and_songs_are_drawn_whole(tmp_path):
  real, made = save(tmp_path / "real.npz", 12), save(tmp_path / "made.npz", moved=1.0)
  (sheet,) = embeddings.measure(made, real, tmp_path / "out", Options()).sheets
  first, halves = sheet.lines
  assert [line.label for line in sheet.lines] == ["made", "halves"]
  assert first.scores["fad"].value == pytest.approx(4.0, rel=0.1)  # four numbers, each one further
  assert (first.scores["fad"].n, list(first.detail)) == (8, ["drums", "keys"])
  assert halves.scores["fad"].value < 1.0
  assert halves.scores["kad"].low < 0 < halves.scores["kad"].high
  by_hand = [np.concatenate(list(embeddings.read(path)["keys"].values())) for path in (made, real)]
  assert first.detail["keys"]["fad"] == pytest.approx(frechet.distance(*by_hand))


def test_other_files_are_refused_in_one_line(tmp_path):
  real, out = save(tmp_path / "real.npz"), tmp_path / "out"

  def refused(path, error, words):
    with pytest.raises(error, match=words) as caught:
      embeddings.measure(path, real, out, Options())
    assert "\n" not in str(caught.value)

  refused(tmp_path / "no.npz", MissingError, "no such file of embeddings")
  bad = tmp_path / "bad.npz"
  for content in (b"", b"PK\3\4", b"\x93NUMPY"):
    bad.write_bytes(content)
    refused(bad, DataError, "is no .npz of embeddings")
  np.savez(bad, a=np.array([{"a": 1}], dtype=object))
  refused(bad, DataError, "is no .npz of embeddings")
  for array in (np.zeros(4), np.zeros((3, 4), int), np.zeros((3, 0))):
    np.savez(bad, a=array)
    refused(bad, DataError, r"expected floats \[windows, size\]")
  np.savez(bad, a=np.full((3, 4), np.nan))
  refused(bad, DataError, "a holds NaN or infinity")
  refused(save(bad, size=5), DataError, r"embeddings of \[4, 5\] numbers")
  np.savez(bad)
  refused(bad, DataError, "is empty")
