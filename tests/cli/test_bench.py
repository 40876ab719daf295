"""`stemphonic bench`: options reach the benchmarks, and what they need is said in one line."""

import pytest


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    ((), "name what to measure: generation, sampler, train, vae, data, evaluate, or --pe"),
    (("vae", "--peer", "torch"), "--peer torch has a table of its own; leave out 'vae'"),
    (("everything",), "invalid choice: 'everything'"),
    (("data", "--model", "m"), "--model is an option of `stemphonic bench generation` and `vae`"),
    (("vae", "--full"), "--full is an option of `stemphonic bench generation`, `sampler` and `tr"),
    (("data", "--repeats", "3"), "bench data: takes no --repeats"),
    (("vae", "--repeats", "0"), "expected a whole number from 1 on"),
  ],
)
def test_a_benchmark_says_what_it_needs(stemphonic, arguments, message):
  code, out, err = stemphonic("bench", *arguments)
  assert (code, out) == (2, "")
  assert message in err


def test_benchmarks_get_what_the_command_says(stemphonic, monkeypatch):
  from stemphonic_jax import bench

  calls = []
  for name in (
    "generation",
    "sampler",
    "train",
    "vae",
    "reconstruction",
    "data",
    "evaluate",
    "peer",
  ):
    module = getattr(bench, name)
    monkeypatch.setattr(module, "run", lambda *a, _name=name, **o: calls.append((_name, a, o)))
  for arguments in (
    ("generation", "--model", "m", "--full", "--repeats", "2"),
    ("sampler",),
    ("train", "--full"),
    ("vae",),
    ("vae", "--model", "demo"),
    ("data",),
    ("evaluate", "--repeats", "2"),
    ("--peer", "torch", "--repeats", "3"),
  ):
    assert stemphonic("bench", *arguments)[0] == 0
  assert calls == [
    ("generation", ("m", True, 2), {}),
    ("sampler", (False, 5), {}),
    ("train", (True, 5), {}),
    ("vae", (), {"repeats": 5}),
    ("reconstruction", ("demo",), {"repeats": 5}),
    ("data", (), {}),
    ("evaluate", (2,), {}),
    ("peer", (3,), {}),
  ]
