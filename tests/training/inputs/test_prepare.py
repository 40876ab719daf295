"""Data sets on disk, all the way: checked, cut, encoded, and trained on."""

import contextlib
import functools
import itertools
import json
import shutil

import jax.numpy as jnp
import numpy as np
import pytest
import soundfile

from configs import c_ii
from stemphonic_jax.audio.activity import frame_activity
from stemphonic_jax.data.batching import pipeline
from stemphonic_jax.data.batching.records import open_records
from stemphonic_jax.data.preparing.check import Rules
from stemphonic_jax.data.preparing.segments import windows
from stemphonic_jax.data.sources.catalogue import scan
from stemphonic_jax.data.sources.demo.styles import STYLES
from stemphonic_jax.data.sources.reader import read_entry
from stemphonic_jax.errors import DataError, MismatchError, UsageError
from stemphonic_jax.models.vae import encode_chunked
from stemphonic_jax.systems import stemphonic
from stemphonic_jax.training.distributed import mesh
from stemphonic_jax.training.inputs.corpora import (
  SPARE,
  Checked,
  Windows,
  checked,
  split,
  waveforms,
)
from stemphonic_jax.training.inputs.prepare import (
  WINDOW,
  check_records,
  encoder,
  prepare,
  prepare_set,
)
from stemphonic_jax.training.trainers import dit
from stemphonic_jax.weights.bundle import load_bundle, save_bundle
from stemphonic_jax.weights.tensors import materialize, save_params
from tests import tiny
from tests.data.sources import trees

WRITE = {
  "folder": trees.write_folder,
  "musdb": trees.write_musdb,
  "moisesdb": trees.write_moisesdb,
  "slakh": trees.write_slakh,
  "mixes": trees.write_mixes,
}
OPTIONS = dict(held_out=1, max_bad=0.01, processes=1, estimate_tempo=False, submixes=2, shard=2)
ONLINE = {"submix": "online", "posterior": "sample"}
TWO_SEGMENTS, ONE_SEGMENT = 6.5, 4.2  # seconds of a mix
all_devices = mesh.local_mesh

pytestmark = pytest.mark.usefixtures("one_device")


@pytest.fixture(scope="module")
def model(one_device, tmp_path_factory):
  """A model of the sizes of c_ii:tiny, whose autoencoder encodes here."""
  content = {name: c_ii.get_config("tiny").to_dict().get(name) for name in tiny.CONFIG}
  content |= {name: tiny.CONFIG[name] for name in ("whole_mixes", "licence", "source")}
  content["text"] |= {"vocabulary": 512}
  folder = tmp_path_factory.mktemp("model") / "model"
  save_bundle(folder, content, **tiny.parts(content))
  return load_bundle(folder)


@pytest.fixture(scope="module")
def prepared(model, tmp_path_factory):
  """Each data set by name: its root and its records, prepared once."""
  done = {}

  def get(source):
    if source not in done:
      folder = tmp_path_factory.mktemp(source)
      seconds = TWO_SEGMENTS if source in ("folder", "moisesdb") else ONE_SEGMENT
      root = WRITE[source](folder / "root", mixes=4, seconds=seconds)
      options = OPTIONS | (ONLINE if source == "moisesdb" else {})
      prepare_set(
        model, scan(source, root), folder / "out", whole_mixes=source == "mixes", **options
      )
      done[source] = root, folder / "out"
    return done[source]

  return get


@pytest.mark.parametrize("source", WRITE)
def test_every_source_becomes_records(source, prepared):
  root, out = prepared(source)
  records = open_records(out / "train")
  assert (records.index.frames, records.index.channels, records.index.hop) == (50, 8, 3584)
  assert records.index.notes["licence"] == scan(source, root).licence
  assert "texts" not in {path.name for path in out.iterdir()}  # this model learns its text
  assert any(segment.waveforms for segment in records) == (source == "moisesdb")


@pytest.mark.parametrize("source", ["folder", "mixes", "moisesdb"])
def test_records_are_trained_on(source, prepared, model, tmp_path):
  """Those of stems, one of them of a free type; of whole mixes; and with waveforms of sub-mixes."""
  root, out = prepared(source)
  config = c_ii.get_config("tiny")
  config.init_from, config.data.records = str(model.directory), str(out)
  config.data.whole_mixes = source == "mixes"
  if source == "moisesdb":
    config.data.update(ONLINE, workers=1)
  config.train.update(steps=1, save_every=1)
  save_params(tmp_path / "vae.safetensors", model.vae_params)
  prepare(config, tmp_path)

  def preview(step, folder):
    stemphonic.songs(config, tmp_path, folder, tmp_path / "preview", 1)

  dit.train(config, tmp_path, preview if source == "folder" else lambda *_: None)
  lines = (tmp_path / "dit" / "metrics.jsonl").read_text().splitlines()
  logged = {name: value for line in lines for name, value in json.loads(line).items()}
  assert np.isfinite(logged["held_out_loss"])
  exported = load_bundle(tmp_path / "model").config
  assert exported["whole_mixes"] == (source == "mixes")
  assert exported["types"] == {"folder": ["theremin"]}.get(source, [])
  assert exported["licence"] == f"CC0-1.0; {scan(source, root).licence}"
  assert "corpus" not in exported  # whatever the config says of the demo corpus


def test_latents_are_those_of_the_audio_and_sub_mixes_are_summed_first(prepared, model):
  root, out = prepared("folder")
  entries = {entry.id: entry for entry in scan("folder", root).entries}
  found = open_records(out / "train")[0]
  mix, _ = read_entry(entries[found.id.partition("@")[0]], 44_100)
  start = int(found.id.partition("@")[2])
  piece = mix.crop(start, 4 * 44_100)
  encode = encoder(model.vae, materialize(model.vae_params))
  rounded = [np.rint(stem.audio * 2.0**15) / 2**15 for stem in piece.stems.values()]
  means, _ = encode(np.float32(rounded))
  np.testing.assert_array_equal(found.latents, means.astype(np.float16))
  assert len(found.submixes) == 2
  for mask, latents in found.submixes.items():
    means, _ = encode([sum(audio for k, audio in enumerate(np.float32(rounded)) if mask >> k & 1)])
    np.testing.assert_array_equal(latents, means[0].astype(np.float16))
  for lane, stem in zip(found.activity, piece.stems.values(), strict=True):
    np.testing.assert_array_equal(lane, frame_activity(stem.audio, 3584, 44_100))


def test_the_encoder_gives_what_encoding_all_at_once_gives(model, monkeypatch):
  """On eight devices, which 11 rows fill once and in part."""
  monkeypatch.setattr(mesh, "local_mesh", all_devices)
  audio = np.random.default_rng(0).standard_normal((11, 20_000, 2)).astype(np.float32)
  params = materialize(model.vae_params, jnp.asarray)
  whole = encode_chunked(
    lambda x: model.vae.apply({"params": params}, x, method="encode"),
    jnp.asarray(audio),
    hop=model.vae.hop,
    halo=model.vae.halo,
    window=WINDOW,
  )
  for found, expected in zip(
    encoder(model.vae, params)(iter(audio)), (whole.mean, whole.deviation), strict=True
  ):
    assert np.linalg.norm(found - expected) < 1e-4 * np.linalg.norm(expected)


def test_sub_mixes_encoded_by_the_trainer_are_those_encoded_ahead(prepared, model, tmp_path):
  root, out = prepared("folder")
  catalogue = scan("folder", root)
  prepare_set(model, catalogue, tmp_path, **OPTIONS | ONLINE)
  cached, waved = (open_records(folder / "train") for folder in (out, tmp_path))
  encode = encoder(model.vae, materialize(model.vae_params))
  statistics = cached.index.statistics  # the other's are wider, by the deviations
  options = dict(statistics=statistics, batch_size=16, seed=1)
  tokens = functools.partial(model.tokenizer.encode, length=96)
  encoded = 0
  with (
    contextlib.closing(pipeline.batches(cached, tokens, **options)) as ahead,
    contextlib.closing(pipeline.batches(waved, tokens, **options)) as stepwise,
  ):
    for (_, one), (_, other) in itertools.islice(zip(ahead, stepwise, strict=True), 20):
      encoded += len(other.get("submixes", ()))
      found = dit.encode_submixes(encode, statistics, other)
      assert found.keys() == one.keys()
      np.testing.assert_allclose(found["context"], one["context"], atol=5e-3)
  assert encoded > 3
  for before, after in zip(cached, waved, strict=True):
    np.testing.assert_array_equal(before.latents, after.latents)
    assert before.masks == after.masks
    assert (after.deviations > 0).all()


def test_preparing_again_changes_nothing_and_reads_nothing(prepared, model, tmp_path):
  root, out = prepared("slakh")
  shutil.copytree(out, tmp_path / "out")
  before = {p: p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file()}
  catalogue = scan("slakh", root)
  shutil.move(root, root.with_name("away"))
  try:
    prepare_set(model, catalogue, tmp_path / "out", **OPTIONS)
  finally:
    shutil.move(root.with_name("away"), root)
  assert before == {p: p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file()}


def test_hosts_share_the_work_once_the_set_is_checked(prepared, model, tmp_path):
  root, out = prepared("musdb")
  catalogue = scan("musdb", root)
  with pytest.raises(UsageError, match="check it once, on one host, with --check-only"):
    prepare_set(model, catalogue, tmp_path, host=0, hosts=2, **OPTIONS)
  prepare_set(None, catalogue, tmp_path, encode=False, **OPTIONS)
  for host in (1, 0):
    prepare_set(model, catalogue, tmp_path, host=host, hosts=2, **OPTIONS)
  for part in ("train", "held_out", "test"):
    for path in (out / part).iterdir():
      assert path.read_bytes() == (tmp_path / part / path.name).read_bytes()


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"init_from": ""}, "name the model they were prepared with"),
    ({"train_vae.only": "decoder"}, "records have no waveforms; name their data set"),
    ({"seconds": 2.0}, "was prepared with frames = 50, the config has 25"),
    ({"data.whole_mixes": True}, "was prepared with whole_mixes = False, the config has True"),
    ({"data.submix": "online"}, "was prepared with submix = 'cached', the config has 'online'"),
    ({"data.posterior": "sample"}, "was prepared with posterior = 'mean', the config has 'sample'"),
  ],
)
def test_records_that_the_config_does_not_go_with_are_refused(prepared, model, changes, message):
  config = c_ii.get_config("tiny")
  config.data.records, config.init_from = str(prepared("folder")[1]), str(model.directory)
  config.update_from_flattened_dict(changes)
  with pytest.raises((UsageError, MismatchError), match=message):
    check_records(config, 3584)


def test_records_of_another_autoencoder_are_refused(prepared, tmp_path):
  config = c_ii.get_config("tiny")
  config.data.records = str(prepared("folder")[1])
  vae = tiny.parts()["vae_params"]
  config.vae.update(tiny.CONFIG["vae"])
  save_params(tmp_path / "vae.safetensors", vae)
  with pytest.raises(MismatchError, match="encoded by another autoencoder"):
    prepare(config, tmp_path)


def test_the_autoencoder_trains_on_stretches_of_the_same_mixes(prepared, tmp_path):
  root, _ = prepared("moisesdb")
  catalogue = scan("moisesdb", root)
  corpora = checked(catalogue, tmp_path, Rules(44_100, 3584), held_out=1, max_bad=0.0, processes=1)
  mixes = corpora.parts["train"]
  assert isinstance(mixes, Checked)
  stretches = Windows(mixes, 2.0)
  assert len(stretches) == 3 * len(mixes)
  whole, stretch = mixes[1], stretches[4]  # the second stretch of the second mix
  assert stretch.id == whole.id
  for name, stem in whole.stems.items():
    np.testing.assert_array_equal(stretch.stems[name].audio, stem.audio[2 * 44_100 : 4 * 44_100])
  config = c_ii.get_config("tiny")
  config.data.update(source="moisesdb", root=str(root), held_out=1, estimate_tempo=False)
  config.data.processes = 1  # others take seconds to start
  train, unseen = waveforms(config, tmp_path / "again", 3584)
  assert {mix.id for mix in unseen}.isdisjoint(train[i].id for i in range(len(train)))


@pytest.mark.parametrize(
  ("samples", "starts"), [(10, [0]), (14, [0]), (15, [0, 5]), (20, [0, 10]), (28, [0, 10, 18])]
)
def test_mixes_are_cut_from_end_to_end(samples, starts):
  assert windows(samples, 10) == starts


def test_to_evaluate_all_of_a_set_is_its_test_part(prepared, model, tmp_path):
  root, _ = prepared("folder")
  for path in sorted(root.rglob("*.wav"))[::2]:  # the first third of these stems sounds
    audio, rate = soundfile.read(path)
    audio[len(audio) // 3 :] = 0
    (tmp_path / path.relative_to(root)).parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(tmp_path / path.relative_to(root), audio, rate)
  for path in sorted(root.rglob("*.wav"))[1::2]:
    (tmp_path / path.relative_to(root)).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, tmp_path / path.relative_to(root))
  catalogue = scan("folder", tmp_path)
  prepare_set(model, catalogue, tmp_path / "out", evaluate=True, **OPTIONS)
  assert {path.name for path in (tmp_path / "out").iterdir() if path.is_dir()} == {"test"}
  found = list(open_records(tmp_path / "out" / "test"))
  assert all((segment.activity.mean(1) >= 0.5).all() for segment in found)
  listed = {entry.id: len(entry.parts) for entry in catalogue.entries}
  assert any(len(segment.names) < listed[segment.id.partition("@")[0]] for segment in found)


def rows(*splits):
  return [{"id": str(i), "split": part} for i, part in enumerate(splits)]


def test_the_split_of_a_set_is_kept():
  parts = split(rows("train", "valid", "test", "", "test"), held_out=9)
  found = {name: [row["id"] for row in chosen] for name, chosen in parts.items()}
  assert found == {"train": ["0", "3"], "held_out": ["1"], "test": ["2", "4"]}


def test_without_a_validation_part_a_few_are_held_out_and_stay_so():
  few, more = (split(rows(*[""] * n), held_out=3) for n in (40, 41))
  assert [len(few[name]) for name in ("train", "held_out")] == [37, 3]
  assert sum(row in more["held_out"] for row in few["held_out"]) >= 2
  assert len(split(rows("", ""), held_out=64)["held_out"]) == 1
  assert split(rows("", ""), held_out=0) == {"train": rows("", "")}
  with pytest.raises(DataError, match=r"1 usable mixes are too few.*or hold none out"):
    split(rows("train"), held_out=3)


def test_composed_pieces_are_cut_anywhere_in_four_bars():
  """Else sections would begin where the tempo alone tells, and stems seem to know of each other."""
  slowest = min(style.bpm[0] for style in STYLES.values())
  assert 16 * 60 / slowest <= SPARE
