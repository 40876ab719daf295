"""VGGish (Hershey et al. 2017): log-mel patches of 0.96 s to embeddings, those of the FAD.

B patches, F frames, M mel bands, D width of an embedding. Google's code today and the ports that
measure with it leave the last ReLU out, and PCA and quantiser off: so does this.
"""

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from stemphonic_jax.models.layers import Dense

POOLED = (0, 1, 3, 5)  # convolutions that a pooling follows


class VGGish(nn.Module):
  """Six convolutions of 3 x 3, four poolings, three dense layers.

  `widths` are the channels of the convolutions, then the features of the dense layers; `rectified`
  puts back the last ReLU, as Google's code of 2017 to 2019 had it.
  """

  widths: tuple[int, ...] = (64, 128, 256, 256, 512, 512, 4096, 4096, 128)
  rectified: bool = False
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: Float[Array, "B F M"]) -> Float[Array, "B D"]:
    x = x[..., None]
    convolutions, dense = self.widths[:6], self.widths[6:]
    for i, width in enumerate(convolutions):
      x = nn.relu(nn.Conv(width, (3, 3), dtype=self.dtype, name=f"conv_{i}")(x))
      if i in POOLED:
        x = nn.max_pool(x, (2, 2), (2, 2))
    x = x.reshape(len(x), -1)  # by frame, band, channel, as in TensorFlow
    for i, width in enumerate(dense):
      x = Dense(width, bias=True, dtype=self.dtype, name=f"dense_{i}")(x)
      if self.rectified or i < len(dense) - 1:
        x = nn.relu(x)
    return x
