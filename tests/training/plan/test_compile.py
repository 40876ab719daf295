"""Programs for TPUs are compiled without one, and lowered for GPUs."""

import re

import jax
import jax.export
import pytest
from jax.experimental.compilation_cache import compilation_cache

from configs import c_ii, demo, stable_audio
from stemphonic_jax.errors import MissingError, UsageError
from stemphonic_jax.models.machine import Machine
from stemphonic_jax.training.plan import compile as planned

TINY = {"c_ii": c_ii, "demo": demo, "stable_audio": stable_audio}


@pytest.fixture
def libtpu(monkeypatch):
  """The compiler, set up as for --mode=compile, in a process that goes on with other tests."""
  pytest.importorskip("libtpu", reason="there is no libtpu for this machine")
  for name, value in planned.ENVIRONMENT.items():
    monkeypatch.setenv(name, value)
  planned.set_up()
  compilation_cache.reset_cache()  # looks at its setting once
  yield
  jax.config.update("jax_enable_compilation_cache", True)
  compilation_cache.reset_cache()


@pytest.mark.parametrize("name", TINY)
def test_tiny_configs_are_lowered_for_gpus(name):
  config = TINY[name].get_config("tiny")
  gpu = Machine("gpu")
  for function, arguments in (
    planned.train_step(config, gpu),
    planned.sampler(config, gpu, stems=2),
  ):
    program = jax.export.export(function, platforms=["cuda"])(*arguments)
    assert program.platforms == ("cuda",)
    assert program.out_avals


def test_a_tiny_config_compiles_for_tpus(libtpu):
  config = c_ii.get_config("tiny")
  config.mesh.update(data=2, fsdp=2)
  config.sample.interval = (1, 4)  # one phase instead of three, to compile faster
  report = planned.report(config, "v5e:2x2")
  head, step, generation = report.split("\n\n")
  assert head == "v5e:2x2: 4 x v5e, 16 GB each"
  assert step.startswith("a training step: mesh 2 x 2 x 1 (data x fsdp x tensor), 8 rows in micro-")
  assert generation.startswith("a generation of 6 stems of 4 s in one pass, on one chip\n")
  for part in (step, generation):
    assert re.search(r"^  memory     fits: 0\.\d\d GB on each device", part, re.MULTILINE)
  # Each of them sums its gradients with the others'; a generation talks to nobody.
  assert re.search(r"^  all-reduce +\d+ a step", step, re.MULTILINE)
  assert "all-" not in generation


def test_lowering_for_tpus_does_not_need_one(libtpu):
  """With parts that c_ii has not: modulation, beats, timing, cut-up rows."""
  (device, *_) = devices = planned.slice_of("v5e:2x2")
  for config in (demo.get_config("tiny"), stable_audio.get_config("tiny")):
    mesh = planned.places.make_mesh(4, 1, 1, devices=devices)
    step, arguments = planned.train_step(config, planned.TPU, mesh)
    assert "num_partitions = 4" in step.lower(*arguments).as_text()
    run, arguments = planned.sampler(config, planned.TPU, 2, device)
    assert "stablehlo.while" in run.lower(*arguments).as_text()


def test_chips_and_hosts_are_those_of_the_slice(libtpu):
  devices = planned.slice_of("v5e:4x4")
  assert (len(devices), len({device.process_index for device in devices})) == (16, 4)
  assert planned.cost.chip_of(devices[0].device_kind).name == "v5e"
  mesh = planned.places.make_mesh(-1, 2, 2, devices=devices)
  assert dict(mesh.shape) == {"data": 4, "fsdp": 2, "tensor": 2}
  with pytest.raises(UsageError, match="tensor size that divides the devices of one host, 4;"):
    planned.places.make_mesh(2, 1, 8, devices=devices)
  with pytest.raises(UsageError, match="number of devices, 16"):
    planned.places.make_mesh(3, 1, 1, devices=devices)


def test_the_two_cores_of_a_v4_are_one_device(libtpu):
  devices = planned.slice_of("v4:2x2x1")
  assert len(devices) == 4
  assert dict(planned.places.make_mesh(devices=devices).shape)["data"] == 4


@pytest.mark.parametrize("topology", ["v5e", "v5e:3x5", "v9:2x2", "H100:8", ""])
def test_a_slice_that_is_none_is_one_line(topology, libtpu):
  with pytest.raises(
    UsageError, match=r"--topology: got '.*', expected .* such as v5e:8x8"
  ) as told:
    planned.slice_of(topology)
  assert "\n" not in str(told.value)


def test_without_the_compiler_it_is_said_how_to_install_it(monkeypatch):
  monkeypatch.setattr(planned.importlib.util, "find_spec", lambda name: None)
  with pytest.raises(MissingError, match=r"pip install 'stemphonic-jax\[tpu\]'"):
    planned.set_up()


@pytest.mark.parametrize(
  ("message", "needed"),
  [
    ("Ran out of memory in memory space hbm. Used 20.50G of 15.75G hbm.", 20.5 * 2**30),
    (
      "RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required for HLO temporaries"
      " (8.46G) exceeds available HBM (5.86G).",
      8.46 * 2**30,
    ),
    ("UNIMPLEMENTED: 3 of 4", None),
  ],
)
def test_what_does_not_fit_says_what_it_needs(message, needed):
  assert planned._needed(message) == needed
