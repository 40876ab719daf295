"""What the machine underneath can do, where that decides how something is computed."""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

CPU_INFO = Path("/proc/cpuinfo")  # where Linux says what a CPU can do
BFLOAT16 = {"amx_bf16", "avx512_bf16"}  # instructions, by the names in there, for products of it


@dataclass(frozen=True)
class Machine:
  """What a program is compiled for, which need not be the machine that compiles it.

  `platform` is jax's name of it: "cpu", "gpu" or "tpu"; `capability` is the compute capability of
  NVIDIA's GPUs, such as (9, 0), and empty elsewhere.
  """

  platform: str
  capability: tuple[int, ...] = ()


def here() -> Machine:
  """The machine that this process computes on."""
  capability = getattr(jax.local_devices()[0], "compute_capability", "")
  found = re.fullmatch(r"(\d+)\.(\d+)", str(capability))
  return Machine(jax.default_backend(), tuple(map(int, found.groups())) if found else ())


def dtype_here(dtype: DTypeLike) -> DTypeLike:
  """`dtype`, or float32 for bfloat16 on a CPU without instructions for it.

  There products are emulated and take 1.1 to 1.5 times as long as in float32, a training step 1.5
  times. With matrix units (AMX) they take half as long; AVX-512's instructions alone were not
  measured.
  """
  emulated = jax.default_backend() == "cpu" and not _cpu_has_bfloat16()
  return jnp.float32 if emulated and dtype == jnp.bfloat16 else dtype


@cache
def _cpu_has_bfloat16() -> bool:
  if not CPU_INFO.is_file():  # as on macOS
    return False
  flags = re.search(r"^flags\s*:(.*)$", CPU_INFO.read_text(), re.M)
  return bool(flags and BFLOAT16 & set(flags[1].split()))
