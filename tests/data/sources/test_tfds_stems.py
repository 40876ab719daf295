import json
import subprocess
import sys
from pathlib import Path

import grain
import numpy as np
import pytest
import soundfile
import tensorflow_datasets as tfds

from stemphonic_jax.data.sources import catalogue, reader, tfds_stems
from stemphonic_jax.data.sources.tfds_stems import Stems, StemsConfig
from stemphonic_jax.errors import DataError, MissingError, OutputError, UsageError
from tests.data.sources import trees

RATE = 44_100
ROOT = Path(__file__).resolve().parents[3]


def build(out: Path, root: Path, source: str, **options) -> Stems:
  builder = Stems(data_dir=out, config=StemsConfig(source=source, root=root, **options))
  builder.download_and_prepare()
  return builder


def assert_mixes_are_read(found, root: Path, source: str) -> None:
  """Every mix by id, in order, is exactly what reading its files gives."""
  entries = {entry.id: entry for entry in catalogue.scan(source, root).entries}
  ids = [mix.id for mix in found]
  assert ids == [entry for entry in entries if entry in ids] != []
  for mix in found:
    expected, _ = reader.read_entry(entries[mix.id], RATE)
    assert (mix.caption, mix.bpm, mix.rate) == (expected.caption, expected.bpm, RATE)
    assert list(mix.stems) == list(expected.stems)
    for name, stem in mix.stems.items():
      other = expected.stems[name]
      assert (stem.type, stem.label, stem.bleed) == (other.type, other.label, other.bleed)
      assert stem.audio.dtype == np.float32
      np.testing.assert_array_equal(stem.audio, other.audio)


def test_splits_audio_and_metadata_survive(tmp_path):
  root = trees.write_musdb(tmp_path / "set", mixes=4, seconds=1.0)
  builder = build(tmp_path / "out", root, "musdb")
  found = builder.as_data_source()
  ids = {split: [mix.id for mix in tfds_stems.mixes(source)] for split, source in found.items()}
  assert ids == {
    "train": ["train/A Band - Song 02", "train/A Band - Sång 00"],
    "validation": ["train/ANiMAL - Rockshow"],
    "test": ["test/A Band - Song 03"],
  }
  for source in found.values():
    assert_mixes_are_read(tfds_stems.mixes(source), root, "musdb")
    assert all(audio.startswith(b"fLaC") for example in source for audio in example["audio"])
  assert "academic" in builder.info.redistribution_info.license
  assert "MUSDB18-HQ" in builder.info.citation


def test_what_is_built_opens_by_name_and_by_folder_without_its_files(tmp_path):
  root = trees.write_folder(tmp_path / "set", seconds=1.0)  # 48 kHz, lossy, mono, captions
  folder = build(tmp_path / "out", root, "folder").data_dir
  by_name = tfds.data_source("stems/folder_44100", data_dir=tmp_path / "out", split="train")
  by_folder = tfds.builder_from_directory(folder).as_data_source("train")
  for source in (by_name, by_folder):
    assert_mixes_are_read(tfds_stems.mixes(source), root, "folder")
  read = grain.MapDataset.source(by_folder).map(tfds_stems.mix_of)
  assert [mix.bpm for mix in read] == [None, 92.5]
  assert [example["genre"] for example in by_name] == [b"", b"surf"]
  first, *_, last = tfds_stems.mixes(by_name)
  assert (first.id, tfds_stems.mixes(by_name)[-1].id) == ("mix 00", last.id)
  with pytest.raises(IndexError):
    tfds_stems.mixes(by_name)[2]


def test_bleed_and_labels_of_moisesdb(tmp_path):
  root = trees.write_moisesdb(tmp_path / "set", mixes=1, seconds=1.0)
  source = build(tmp_path / "out", root, "moisesdb").as_data_source("train")
  assert_mixes_are_read(tfds_stems.mixes(source), root, "moisesdb")
  stems = tfds_stems.mixes(source)[0].stems
  assert [name for name, stem in stems.items() if stem.bleed] == ["drums"]
  assert stems["keys"].label == "grand piano"


def test_bad_mixes_cost_themselves(tmp_path, warned):
  root = trees.write_musdb(tmp_path / "set", mixes=5, seconds=1.0)
  for song in ("train/A Band - Song 02", "train/ANiMAL - Rockshow"):  # all of validation
    (root / song / "drums.wav").write_bytes(b"no audio")
  builder = build(tmp_path / "out", root, "musdb")
  counts = {name: split.num_examples for name, split in builder.info.splits.items()}
  assert counts == {"train": 2, "test": 1}
  assert any(line.startswith("train/A Band - Song 02 is left out: ") for line in warned)
  assert "no mix of the split validation can be used" in warned


def test_nothing_is_left_of_a_set_without_a_usable_mix(tmp_path):
  root = trees.write_folder(tmp_path / "set", mixes=1, seconds=0.1)  # too short
  with pytest.raises(DataError, match="no usable mix"):
    build(tmp_path / "out", root, "folder")
  assert not list((tmp_path / "out").rglob("*.*_record*"))
  with pytest.raises(MissingError, match="no such folder"):
    build(tmp_path / "out", tmp_path / "elsewhere", "folder")


def test_one_name_is_one_folder(tmp_path):
  roots = [trees.write_folder(tmp_path / name, mixes=1, seconds=1.0) for name in ("a", "b")]
  first = build(tmp_path / "out", roots[0], "folder")
  before = Path(first.data_dir, "dataset_info.json").stat().st_mtime_ns
  again = build(tmp_path / "out", roots[0], "folder")  # is there
  assert Path(again.data_dir, "dataset_info.json").stat().st_mtime_ns == before
  with pytest.raises(UsageError, match=r"was built of another folder than .*/b"):
    build(tmp_path / "out", roots[1], "folder")
  assert build(tmp_path / "out", roots[1], "folder", name="b").info.splits["train"].num_examples
  assert str(tmp_path) not in Path(first.data_dir, "metadata.json").read_text()


def test_many_files_keep_the_order(tmp_path, monkeypatch):
  monkeypatch.setattr(tfds_stems, "SHARD", 1)
  root = trees.write_folder(tmp_path / "set", mixes=3, seconds=1.0)
  builder = build(tmp_path / "out", root, "folder")
  assert builder.info.splits["train"].shard_lengths == [1, 1, 1]
  assert_mixes_are_read(tfds_stems.mixes(builder.as_data_source("train")), root, "folder")
  assert len(builder.as_data_source("train[:34%]")) == 1


def test_a_mix_that_no_record_holds_is_left_out(tmp_path, monkeypatch, warned):
  root = trees.write_folder(tmp_path / "set", mixes=1, seconds=1.0)
  monkeypatch.setattr(tfds_stems, "MOST", 1000)
  with pytest.raises(DataError):
    build(tmp_path / "out", root, "folder")
  assert any("expected at most 1000; cut it" in line for line in warned)


def test_a_full_disk_is_one_line(tmp_path, monkeypatch):
  class Full:
    def __init__(self, *_):
      raise RuntimeError("No space left on device\nand much more")

  root = trees.write_folder(tmp_path / "set", mixes=1, seconds=1.0)
  monkeypatch.setattr(tfds_stems, "ArrayRecordWriter", Full)
  with pytest.raises(OutputError, match=r"cannot be written \(RuntimeError: No space left"):
    build(tmp_path / "out", root, "folder")


def test_usage_errors(tmp_path):
  with pytest.raises(UsageError, match="unknown source 'musbd'; sources: musdb, moisesdb"):
    StemsConfig(source="musbd", root=tmp_path)
  with pytest.raises(UsageError, match="no StemsConfig was given"):
    Stems(data_dir=tmp_path)
  assert set(tfds_stems.ORIGINS) == set(catalogue.SOURCES)


@pytest.mark.parametrize(
  ("bits", "peak", "kind"),
  [(16, 0.5, "PCM_16"), (24, 0.5, "PCM_24"), (24, 1.5, "FLOAT"), (30, 0.5, "FLOAT")],
)
def test_stems_are_the_smallest_exact_files(tmp_path, bits, peak, kind):
  rng = np.random.default_rng(bits)
  audio = np.rint(rng.uniform(-peak, peak, (500, 2)) * 2 ** (bits - 1)) / 2 ** (bits - 1)
  audio = audio.astype(np.float32)
  audio[-9:] = 0.0  # bytes that end in zeros are kept
  content = tfds_stems.to_file(audio, RATE)
  (tmp_path / "stem").write_bytes(content)
  assert soundfile.info(tmp_path / "stem").subtype == kind
  np.testing.assert_array_equal(tfds_stems.from_file(content), audio)
  assert tfds_stems.to_file(audio, RATE) == content


def test_the_ends_of_the_range_are_exact():
  for bits in (16, 24):
    full = 2.0 ** (bits - 1)
    audio = np.array([[-full, full - 1], [1, -1], [0, 1 - full]], np.float32) / np.float32(full)
    assert tfds_stems.to_file(audio, RATE).startswith(b"fLaC")
    np.testing.assert_array_equal(tfds_stems.from_file(tfds_stems.to_file(audio, RATE)), audio)


def test_damaged_stems_are_one_line():
  with pytest.raises(DataError, match="a stem in the example is damaged"):
    tfds_stems.from_file(b"no audio")


def test_tensorflow_is_never_imported(tmp_path):
  root = trees.write_folder(tmp_path / "set", mixes=1, seconds=1.0)
  program = f"""
import sys
import grain, tensorflow_datasets as tfds
from stemphonic_jax.data.sources import tfds_stems
config = tfds_stems.StemsConfig(source="folder", root={str(root)!r})
builder = tfds_stems.Stems(data_dir={str(tmp_path / "out")!r}, config=config)
builder.download_and_prepare()
source = tfds.builder_from_directory(builder.data_dir).as_data_source("train")
assert next(iter(grain.MapDataset.source(source).map(tfds_stems.mix_of))).id == "mix 00"
assert "tensorflow" not in sys.modules
"""
  subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


def test_beam_builds_the_same(tmp_path):
  pytest.importorskip("apache_beam")
  from apache_beam.options.pipeline_options import PipelineOptions

  root = trees.write_musdb(tmp_path / "set", mixes=4, seconds=1.0)
  (root / "train/A Band - Song 02/bass.wav").write_bytes(b"no audio")
  config = StemsConfig(source="musdb", root=root, beam=True)
  builder = Stems(data_dir=tmp_path / "beam", config=config)
  # Empty, so that Beam does not read what pytest was called with.
  options = PipelineOptions([], runner="DirectRunner")
  download = tfds.download.DownloadConfig(beam_options=options)
  builder.download_and_prepare(download_config=download)
  alone = build(tmp_path / "alone", root, "musdb").as_data_source()
  for split, source in builder.as_data_source().items():
    for example, other in zip(source, alone[split], strict=True):
      assert {**example, "bpm": 0.0} == {**other, "bpm": 0.0}  # which is NaN
    assert_mixes_are_read(tfds_stems.mixes(source), root, "musdb")


def test_without_beam_the_error_says_what_to_install(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, "apache_beam", None)
  root = trees.write_folder(tmp_path / "set", mixes=1, seconds=1.0)
  with pytest.raises(MissingError, match=r'pip install "stemphonic-jax\[beam\]"'):
    build(tmp_path / "out", root, "folder", beam=True)


def test_features_are_readable_by_others(tmp_path):
  root = trees.write_folder(tmp_path / "set", mixes=1, seconds=1.0)
  builder = build(tmp_path / "out", root, "folder")
  assert "stemphonic" not in Path(builder.data_dir, "features.json").read_text()
  info = json.loads(Path(builder.data_dir, "dataset_info.json").read_text())
  assert info["fileFormat"] == "array_record"
