"""PyTorch files, read without it: to the bit, or refused in one line; nothing in them is run."""

import random
import sys
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from stemphonic_jax.errors import DataError, MissingError
from stemphonic_jax.weights.checkpoint import open_checkpoint
from stemphonic_jax.weights.torch_file import open_torch
from tests.weights.torch_files import archive, mapping, number, stream, tensor, text, whole

DRAWN = np.random.default_rng(0)
ARRAYS = {
  "features.0.weight": DRAWN.standard_normal((4, 3), np.float32),
  "turned": DRAWN.standard_normal((5, 2)).T,
  "count": np.array(7),
}
STORAGES = {str(i): np.ascontiguousarray(a.T) for i, a in enumerate(ARRAYS.values())}
STORAGES["0"] = ARRAYS["features.0.weight"]
CONTAINERS = pytest.mark.parametrize("container", [archive, stream])
SLACK = 300_000  # bytes that Python takes besides, for modules of its own


@pytest.fixture
def given(tmp_path):
  def write(content: bytes) -> Path:
    path = tmp_path / "model.pt"
    path.write_bytes(content)
    return path

  return write


@CONTAINERS
def test_every_tensor_is_read_to_the_bit(given, container):
  found = open_torch(given(container(whole(ARRAYS), STORAGES)))
  assert list(found) == list(ARRAYS)
  for name, array in ARRAYS.items():
    np.testing.assert_array_equal(found[name].read(), array, strict=True)
    assert (found[name].shape, found[name].dtype) == (array.shape, array.dtype)


@CONTAINERS
def test_what_lies_beside_tensors_is_plain_or_left_unread(given, container):
  program = mapping(
    {
      "epoch": number(3),
      "lr": b"cnumpy._core.multiarray\nscalar\n(cnumpy\ndtype\n(" + text("f8") + b"\x89\x88tR"
      b"c_codecs\nencode\n(" + text("\x00\x01") + text("latin1") + b"tRtR",
      "betas": b"G?\xf0\0\0\0\0\0\0N\x86",
      "state_dict": whole(ARRAYS),
    }
  )
  path = given(container(program, STORAGES))
  found = open_torch(path)
  assert (found["epoch"], found["betas"]) == (3, (1.0, None))
  assert found["lr"].name == "numpy._core.multiarray.scalar"
  assert list(open_checkpoint(path)) == list(ARRAYS)


def asking(name: str) -> bytes:
  return b"c" + name.replace(".", "\n", 1).encode() + b"\n(" + text("touch ran") + b"tR"


VIEW = {
  "key": "0",
  "kind": "FloatStorage",
  "count": 12,
  "offset": 0,
  "shape": (12,),
  "strides": (1,),
}


def tower(height: int) -> bytes:
  """A tuple of two of a tuple of two: a few bytes that take 2 ** height steps to go through."""
  return b")" + b"".join(b"q%ch%c\x86" % (i, i) for i in range(height))


HOSTILE = {
  "asks for posix.system": asking("posix.system"),
  "asks for builtins.eval": asking("builtins.eval"),
  "asks for watched.run": asking("watched.run"),
  "asks for watched.os.system": b"\x8c\x07watched\x8c\x09os.system\x93)R",
  "asks for 'torch\\\\nx.y'": text("torch\nx") + text("y") + b"\x93",
  "the operation INST": b"(" + text("touch ran") + b"iposix\nsystem\n",
  "the operation OBJ": b"(ctorch\nSize\no",
  "the operation NEWOBJ": b"ccollections\nOrderedDict\n)\x81",
  "the operation EXT1": b"\x82\1",
  "the operation NEXT_BUFFER": b"\x97",
  "a call of torch.FloatStorage": b"ctorch\nFloatStorage\n" + number(1 << 40) + b"\x85R",
  "larger than its storage": {**VIEW, "shape": (10**7, 10**7), "strides": (0, 0)},
  r"shape \(13,\) is larger": {**VIEW, "shape": (13,)},
  r"shape \(2, 6\) is larger": {**VIEW, "shape": (2, 6), "strides": (7, 1)},
  r"shape \(12,\) is larger": {**VIEW, "offset": 1},
  "a int that is no size": {**VIEW, "offset": -1},
  "int that is no size": {**VIEW, "shape": (-3,)},
  "that is no size": {**VIEW, "count": 1 << 63},
  "too many axes": {**VIEW, "shape": (1,) * 40, "strides": (1,) * 40},
  "of no shape": {**VIEW, "strides": (1, 1)},
  "storage of no type": {**VIEW, "kind": "Size"},
  "a tuple as a name": b"}" + tower(60) + b"Ns",
  "a list where another": b"(l(u",
  "longer than that of a checkpoint": b"](" + 680_000 * b"]" + b"e",
  "not a checkpoint of PyTorch": b"h\0",
}


@CONTAINERS
@pytest.mark.parametrize("message", HOSTILE)
def test_a_hostile_program_is_refused_in_one_line(given, watched, container, message):
  program = HOSTILE[message]
  made = program if isinstance(program, bytes) else tensor(**program)
  path = given(container(mapping({"a": made}), STORAGES))
  with pytest.raises(DataError, match=message) as caught:
    open_torch(path)
  assert "\n" not in str(caught.value)
  assert not watched()


@pytest.fixture
def watched(tmp_path, monkeypatch):
  """Says whether a program has been run: a shell, or a module that writes when it is imported."""
  monkeypatch.chdir(tmp_path)
  (tmp_path / "watched.py").write_text("open('ran', 'w').close()\nimport os\n")
  monkeypatch.syspath_prepend(tmp_path)
  return lambda: (tmp_path / "ran").exists() or "watched" in sys.modules


def test_claims_of_a_container_are_compared_with_its_bytes(given):
  program = whole(ARRAYS)
  short = STORAGES | {"0": STORAGES["0"][1:]}
  more = STORAGES | {"9": STORAGES["0"]}
  twice = mapping({"a": tensor(**VIEW), "b": tensor(**VIEW | {"count": 6, "shape": (6,)})})
  for content, message in (
    (archive(program, short), "storage 0 is missing or of another size"),
    (archive(program, {"0": STORAGES["0"]}), "storage 1 is missing or of another size"),
    (archive(program, STORAGES, zipfile.ZIP_DEFLATED), "is compressed"),
    (stream(program, short), "storage 0 is of another size"),
    (stream(program, {"0": STORAGES["0"]}), "some of its storages are cut off"),
    (stream(program, more), "not a checkpoint"),
    (stream(program, STORAGES, little=False), "not little-endian"),
    (stream(program, STORAGES)[:-1], "some of its storages are cut off"),
    (archive(twice, STORAGES), "storage 0 is claimed in two ways"),
  ):
    with pytest.raises(DataError, match=message):
      open_torch(given(content))
  with pytest.raises(MissingError, match="no such checkpoint"):
    open_torch(Path("absent.pt"))


def refusal(path: Path) -> str:
  """What is said of a file whose tensors cannot all be read."""
  try:
    for leaf in open_checkpoint(path).values():
      assert leaf.read().shape == leaf.shape
  except DataError as error:
    return str(error)
  return ""


def test_500_damaged_files_are_read_or_refused_in_one_line_and_in_their_own_memory(given, watched):
  """Bytes changed, moved, repeated and cut off; where checksums see it, nothing else is read."""
  draw, refused, sizes = random.Random(0), 0, []
  names = [b"posix\nsystem", b"watched\nrun", b"builtins\neval", b"\xff\xff\xff\x7f", b"\x8a\xff"]
  for number_of in range(500):
    content = bytearray((archive, stream)[number_of % 2](whole(ARRAYS), STORAGES))
    for _ in range(draw.randint(1, 3)):
      place, length = draw.randrange(len(content)), draw.randint(1, 12)
      kind = draw.randrange(5)
      if kind == 0:
        content[place] ^= 1 << draw.randrange(8)
      elif kind == 1:
        content[place : place + length] = draw.randbytes(length)
      elif kind == 2:
        content[place:place] = draw.choice(names)
      elif kind == 3:
        content[place:place] = content[place : place + 4 * length]
      else:
        del content[place : place + draw.choice((length, len(content)))]
    path = given(bytes(content or b"\0"))
    tracemalloc.start()
    message = refusal(path)
    refused += bool(message)
    assert "\n" not in message
    sizes.append(tracemalloc.get_traced_memory()[1] - len(content))
    tracemalloc.stop()
  assert not watched()
  assert refused > 350
  assert max(sizes) < SLACK
