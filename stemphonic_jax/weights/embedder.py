"""Texts to embeddings by a frozen T5 on the devices, for records and for generation alike."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float32

from stemphonic_jax.data.tokenizer import Tokenizer
from stemphonic_jax.weights.t5 import TextWeights
from stemphonic_jax.weights.tensors import materialize

ROWS = 32  # texts at once on an accelerator


class Embedder:
  """Maps texts to embeddings [n, S, E], zero where padded, and the mask of their tokens.

  Always the same number of rows at once, so that it compiles once and a text's embedding does not
  depend on the texts beside it: to the bit on a CPU, where rows go one by one.
  """

  def __init__(self, weights: TextWeights, tokenizer: Tokenizer, length: int):
    half = weights.config["param_dtype"] == "bfloat16"
    model = weights.build(jnp.bfloat16 if half else jnp.float32)
    self._params = materialize(weights.params, jnp.asarray)
    self._apply = jax.jit(model.apply)
    self._tokenizer, self._length = tokenizer, length
    self._rows = 1 if jax.default_backend() == "cpu" else ROWS

  def __call__(
    self, texts: Sequence[str]
  ) -> tuple[Float32[np.ndarray, "n S E"], Bool[np.ndarray, "n S"]]:
    tokens, mask = self._tokenizer.encode(texts, self._length)
    padding = ((0, -len(texts) % self._rows), (0, 0))
    cuts = (np.pad(p, padding).reshape(-1, self._rows, self._length) for p in (tokens, mask))
    rows = [self._apply({"params": self._params}, *cut) for cut in zip(*cuts, strict=True)]
    return np.concatenate(rows)[: len(texts)], mask
