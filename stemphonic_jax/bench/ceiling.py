"""What the products of a device can reach at most: the measure of everything built from them."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from stemphonic_jax.training.plan import cost

SIDE = {"cpu": 2048}  # of the square matrices; elsewhere 8192, enough to fill an accelerator


def product(dtype: DTypeLike) -> tuple[Callable[[], jax.Array], float]:
  """A large square product as the model has them, and its FLOPs.

  That is with operands in `dtype` and a float32 result, of which a GPU makes TF32 where it may.
  """
  side = SIDE.get(jax.default_backend(), 8192)
  a, b = jax.random.normal(jax.random.key(0), (2, side, side)).astype(dtype)
  multiply = jax.jit(lambda a, b: jnp.matmul(a, b, preferred_element_type=jnp.float32))
  return lambda: multiply(a, b), 2 * side**3


def in_turns(work: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, np.ndarray]:
  """Seconds of each round of each piece of work, after one round to compile.

  In turns, so that whatever else the machine does falls on all.
  """
  seconds: dict[str, list[float]] = {name: [] for name in work}
  for _ in range(repeats + 1):
    for name, call in work.items():
      begun = time.perf_counter()
      jax.block_until_ready(call())
      seconds[name].append(time.perf_counter() - begun)
  return {name: np.array(spent[1:]) for name, spent in seconds.items()}


def report(repeats: int) -> None:
  """Prints the FLOP/s of the fastest of `repeats` products on this device, in both types."""
  device = jax.devices()[0]
  sheet = cost.peak([device])
  print(f"{device.device_kind}, one of {jax.device_count()}; square products:")
  for dtype in (jnp.bfloat16, jnp.float32):
    work, flops = product(dtype)
    rate = flops / in_turns({"": work}, repeats)[""].min()
    of_sheet = f", {rate / sheet:.0%} of the bf16 data sheet" if sheet else ""
    print(f"  {np.dtype(dtype).name:10}{rate / 1e12:10.3f} TFLOP/s{of_sheet}")


HEAD = f"{'TFLOP/s':>10}{'of ceiling':>12}{'of sheet':>10}"


def columns(flops: float, seconds: np.ndarray, ceiling: float, products: np.ndarray) -> str:
  """A row under HEAD: FLOP/s, their share of the product's of the same round, and the MFU.

  `ceiling` is the product's FLOPs. Where the device's data sheet is unknown, there is no MFU.
  """
  rates = flops / seconds
  share = float(np.median(rates * products / ceiling))
  sheet = cost.peak(jax.devices()[:1])
  mfu = f"{np.median(rates) / sheet:.1%}" if sheet else "-"
  return f"{np.median(rates) / 1e12:10.3f}{share:12.0%}{mfu:>10}"
