"""A multi-scale STFT discriminator, which tells recordings from what an autoencoder makes of them.

Encodec's (Défossez et al. 2022), as stable-audio-tools has it: for each window length a stack of
weight-normed convolutions looks at the complex spectra of both channels, as an image of frames and
bins of four planes. So it hears phase, and how the channels differ, which the losses on magnitudes
(training/losses/spectral.py) leave out. Spectra are of windows that lie wholly in the signal.

    conv_0     3×9                                        2·channels → filters
    conv_1..3  3×9, dilated 1, 2, 4 in time, strided in frequency
    conv_4     3×3
    score      3×3                                        filters → 1, no activation

Letters: B rows, N samples, F frames, K bins, I and O planes; H×W is a kernel's size.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float, Key

from stemphonic_jax.models.stft import hann, windowed

DILATIONS = (1, 2, 4)  # in frames, of the convolutions in the middle
OVERLAP = 4  # windows that see a sample
SLOPE = 0.2  # of the leaky rectifier

Scores = Float[Array, "B F _ 1"]
Features = Float[Array, "B F _ O"]


def images(audio: Float[Array, "B N A"], sizes: Sequence[int]) -> list[Float[Array, "B F K I"]]:
  """What a discriminator looks at: spectra by window length, real and imaginary parts as planes.

  A window has energy one. ValueError where one is longer than the signal.
  """
  if audio.shape[1] < max(sizes):
    raise ValueError(f"{audio.shape[1]} samples: fewer than a window of {max(sizes)}")
  found = []
  for size in sizes:
    energy = np.sum(np.square(hann(size)))
    spectra = windowed(audio.transpose(0, 2, 1), size, size // OVERLAP) / np.sqrt(energy)
    found.append(jnp.concatenate([spectra.real, spectra.imag], 1).transpose(0, 2, 3, 1))
  return found


class Discriminator(nn.Module):
  """For each of `images`, a score for every place, high for recordings; and all features before.

  `sizes` are lengths of windows in samples, each a multiple of 4; `stride` is along frequency, 1 in
  stable-audio-tools and 2, at a third of the arithmetic, in Encodec.
  """

  filters: int = 64
  sizes: tuple[int, ...] = (2048, 1024, 512, 256, 128)
  stride: int = 1

  @nn.compact
  def __call__(self, images: list[Float[Array, "B _ _ I"]]) -> list[tuple[Scores, list[Features]]]:
    return [
      Scale(self.filters, self.stride, name=f"window_{size}")(image)
      for size, image in zip(self.sizes, images, strict=True)
    ]


def init_discriminator(
  discriminator: Discriminator, key: Key[Array, ""], channels: int = 2
) -> dict:
  """Fresh parameters of a discriminator of audio of so many channels."""
  silence = jnp.zeros((1, max(discriminator.sizes), channels))
  return discriminator.init(key, images(silence, discriminator.sizes))["params"]


class Scale(nn.Module):
  """The part of a discriminator that looks at one image."""

  filters: int
  stride: int

  @nn.compact
  def __call__(self, x: Float[Array, "B F K I"]) -> tuple[Scores, list[Features]]:
    features = []
    shapes = [((3, 9), 1, 1), *(((3, 9), self.stride, d) for d in DILATIONS), ((3, 3), 1, 1)]
    for i, (size, stride, dilation) in enumerate(shapes):
      x = nn.leaky_relu(Conv(self.filters, size, stride, dilation, name=f"conv_{i}")(x), SLOPE)
      features.append(x)
    return Conv(1, (3, 3), name="score")(x), features


class Conv(nn.Module):
  """Zero-padded convolution with weight norm: the kernel of each output is `gain` long."""

  features: int
  size: tuple[int, int]
  stride: int = 1
  dilation: int = 1

  @nn.compact
  def __call__(self, x: Float[Array, "B F K I"]) -> Float[Array, "B F M O"]:
    init = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")  # PyTorch's
    kernel = self.param("kernel", init, (*self.size, x.shape[-1], self.features))
    length = jnp.sqrt(jnp.sum(jnp.square(kernel), (0, 1, 2)))
    gain = self.param("gain", lambda key: length)
    bias = self.param("bias", nn.initializers.zeros, (self.features,))
    return convolve(x, kernel * (gain / length), self.stride, self.dilation) + bias


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def convolve(
  x: Float[Array, "B F K I"], kernel: Float[Array, "H W I O"], stride: int, dilation: int
) -> Float[Array, "B F M O"]:
  """Zero-padded convolution, dilated along F and strided along K; H and W are odd.

  Its gradients are spelt out as convolutions with axes in the same order, because XLA's CPU backend
  sorts axes only outside of loops and branches, and elsewhere takes 10 times as long. That by `x`
  has all phases of the stride as its outputs: one of a stretched gradient takes up to 14 times as
  long.
  """
  edges = _edges(kernel.shape, dilation)
  return _convolve(x, kernel, edges, strides=(1, stride), dilations=(dilation, 1))


def _convolve(x, kernel, padding, strides=(1, 1), dilations=(1, 1)):
  return jax.lax.conv_general_dilated(
    x, kernel, strides, padding, rhs_dilation=dilations, dimension_numbers=("NHWC", "HWIO", "NHWC")
  )


def _edges(shape, dilation):
  """Zeros before and after, along F and K, that keep the size."""
  frames, bins = dilation * (shape[0] // 2), shape[1] // 2
  return (frames, frames), (bins, bins)


def _forward(x, kernel, stride, dilation):
  return convolve(x, kernel, stride, dilation), (x, kernel)


def _backward(stride, dilation, saved, gradient):
  x, kernel = saved
  by_x = _gradient_by_x(gradient, kernel, x.shape[2], stride, dilation)
  return by_x, _gradient_by_kernel(gradient, x, kernel.shape, stride, dilation)


def _gradient_by_x(gradient, kernel, bins, stride, dilation):
  """Bin stride·m + r of x meets tap edge + r + stride·i of the kernel in output m − i."""
  height, width, planes, outputs = kernel.shape
  frames, (edge, _) = _edges(kernel.shape, dilation)
  before = -(-edge // stride)
  first = before * stride - edge
  taps = jnp.pad(kernel, ((0, 0), (first, -(first + width) % stride), (0, 0), (0, 0)))
  phases = taps.reshape(height, -1, stride, planes, outputs)[::-1, ::-1].transpose(0, 1, 4, 2, 3)
  phases = phases.reshape(height, -1, outputs, stride * planes)
  whole = -(-bins // stride)
  around = phases.shape[1] - 1 - before, whole - gradient.shape[2] + before
  y = _convolve(gradient, phases, (frames, around), dilations=(dilation, 1))
  return y.reshape(*y.shape[:2], whole * stride, planes)[:, :, :bins]


def _gradient_by_kernel(gradient, x, shape, stride, dilation):
  """Rows become what is summed over, planes of x the rows, and the gradient a large kernel."""
  frames, (edge, _) = _edges(shape, dilation)
  seen = (gradient.shape[2] - 1) * stride + 1  # bins that one tap meets
  around = edge, shape[1] - 1 - edge + seen - x.shape[2]
  rows, kernel = x.transpose(3, 1, 2, 0), gradient.transpose(1, 2, 0, 3)
  y = _convolve(rows, kernel, (frames, around), strides=(dilation, 1), dilations=(1, stride))
  return y.transpose(1, 2, 0, 3)


convolve.defvjp(_forward, _backward)
