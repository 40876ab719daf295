"""Products are in the type that a machine multiplies by itself."""

import jax
import jax.numpy as jnp
import pytest

from stemphonic_jax.models import machine
from stemphonic_jax.models.machine import dtype_here


@pytest.mark.parametrize(
  ("flags", "fast"),
  [
    ("flags\t\t: fpu avx2 avx512f avx512_bf16", jnp.bfloat16),
    ("flags\t\t: fpu avx2 amx_bf16 amx_tile", jnp.bfloat16),
    ("flags\t\t: fpu avx2 fma", jnp.float32),
    ("Features\t: fp asimd", jnp.float32),
    (None, jnp.float32),
  ],
)
def test_bfloat16_stays_where_there_are_instructions_for_it(flags, fast, tmp_path, monkeypatch):
  if flags:
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\n{flags}\nbugs\t\t: none\n")
  monkeypatch.setattr(machine, "CPU_INFO", tmp_path / "cpuinfo")
  monkeypatch.setattr(machine, "_cpu_has_bfloat16", machine._cpu_has_bfloat16.__wrapped__)
  assert dtype_here(jnp.bfloat16) == fast
  assert dtype_here(jnp.float32) == jnp.float32
  monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
  assert dtype_here(jnp.bfloat16) == jnp.bfloat16
