"""Oobleck, the convolutional autoencoder of Stable Audio, for stereo audio of any length.

The tree of parameters is that of diffusers' AutoencoderOobleck with weight norm folded into the
kernels, so public weights map one to one (`block.0` is `block_0`, a 1×1 kernel is [in, out]):

    encoder   conv1 · block_i (res_unit1..3, snake1, conv1 strided)      · snake1 · conv2
    decoder   conv1 · block_i (snake1, conv_t1 transposed, res_unit1..3) · snake1 · conv2

Two things differ from the reference. Transposed convolutions give s·T samples for odd strides s
too (PyTorch's give one less, `output_padding` being 0), so a hop of 3584 = 2·4·8·8·7 is exact. And
the arithmetic is channels-last, with 1×1 convolutions as products, transposed ones in polyphase
form and sin² as a polynomial, which together take about 0.75 of tuned PyTorch's time on a CPU.
"""

import math

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from stemphonic_jax.models.layers import Dense
from stemphonic_jax.models.vae import Posterior, pad_to_frames

KERNEL = 7  # width of the convolutions that keep the rate
DILATIONS = (1, 3, 9)  # of the three residual units of a block
PI_HIGH = 3.140625  # n · PI_HIGH is exact in float32 up to n = 2^16
PI_LOW = math.pi - PI_HIGH
SINE = [(-1) ** k / math.factorial(2 * k + 1) for k in range(6)]  # Taylor, in r²; see below


@jax.custom_jvp
def sin_squared(x: Float[Array, "..."]) -> Float[Array, "..."]:
  """sin²(x) for |x| up to 2e5, about 4 times as fast as through jnp.sin.

  The period is π, so x is brought to |r| <= π/2, where the polynomial is exact to 6e-8.
  """
  turns = jnp.round(x / math.pi)
  r = (x - turns * PI_HIGH) - turns * PI_LOW
  r2 = jnp.square(r)
  sine = SINE[-1]
  for coefficient in reversed(SINE[:-1]):
    sine = sine * r2 + coefficient
  return jnp.square(r * sine)


@sin_squared.defjvp
def _sin_squared_jvp(primals, tangents):
  (x,), (dx,) = primals, tangents
  # sin(2x) = 2 sin²(x + π/4) − 1, so the backward pass keeps x and no term of the polynomial.
  return sin_squared(x), (2 * sin_squared(x + math.pi / 4) - 1) * dx


def _padding(stride: int) -> int:
  """Zeros before and after a strided convolution of kernel 2·stride (stable-audio-tools)."""
  return -(-stride // 2)


def _convolve(
  x: Float[Array, "B N I"],
  kernel: Float[Array, "K I O"],
  padding: int,
  stride: int = 1,
  dilation: int = 1,
) -> Float[Array, "B M O"]:
  return jax.lax.conv_general_dilated(
    x,
    kernel,
    window_strides=(stride,),
    padding=[(padding, padding)],
    rhs_dilation=(dilation,),
    dimension_numbers=("NWC", "WIO", "NWC"),
  )


class Snake(nn.Module):
  """x + sin²(α·x) / β with α and β per channel, kept as logarithms ("SnakeBeta")."""

  @nn.compact
  def __call__(self, x: Float[Array, "B N D"]) -> Float[Array, "B N D"]:
    alpha = jnp.exp(self.param("alpha", nn.initializers.zeros, (x.shape[-1],)))
    beta = jnp.exp(self.param("beta", nn.initializers.zeros, (x.shape[-1],)))
    return x + sin_squared(alpha * x) / (beta + 1e-9)


class Conv(nn.Module):
  """Zero-padded convolution: keeps the rate, or with a stride s and kernel 2·s divides it by s."""

  features: int
  kernel: int = KERNEL
  stride: int = 1
  dilation: int = 1
  bias: bool = True

  @nn.compact
  def __call__(self, x: Float[Array, "B N I"]) -> Float[Array, "B M O"]:
    shape = (self.kernel, x.shape[-1], self.features)
    pad = _padding(self.stride) if self.stride > 1 else self.kernel // 2 * self.dilation
    kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
    y = _convolve(x, kernel, pad, self.stride, self.dilation)
    return y + self.param("bias", nn.initializers.zeros, (self.features,)) if self.bias else y


class ConvTranspose(nn.Module):
  """Transposed convolution of kernel 2·s that multiplies the rate by exactly s (`stride`).

  Sample q·s + r before cropping is x[q−1]·k[s+r] + x[q]·k[r]: a convolution of width 2 with all s
  phases r as its outputs. The kernel keeps PyTorch's order of taps.
  """

  features: int
  stride: int

  @nn.compact
  def __call__(self, x: Float[Array, "B N I"]) -> Float[Array, "B M O"]:
    (B, N, width), s = x.shape, self.stride
    # Of the 2·s taps only 2 meet in one sample: s times the variance that the fan-in suggests.
    init = nn.initializers.variance_scaling(s, "fan_in", "truncated_normal")
    kernel = self.param("kernel", init, (2 * s, width, self.features))
    phases = jnp.moveaxis(kernel.reshape(2, s, width, self.features)[::-1], 1, 2)
    y = _convolve(x, phases.reshape(2, width, s * self.features), padding=1)
    y = y.reshape(B, (N + 1) * s, self.features)[:, _padding(s) : _padding(s) + N * s]
    return y + self.param("bias", nn.initializers.zeros, (self.features,))


class ResidualUnit(nn.Module):
  """x + conv 1×1 (snake(dilated conv(snake(x))))."""

  dilation: int

  @nn.compact
  def __call__(self, x: Float[Array, "B N D"]) -> Float[Array, "B N D"]:
    width = x.shape[-1]
    y = Conv(width, dilation=self.dilation, name="conv1")(Snake(name="snake1")(x))
    return x + Dense(width, bias=True, zero=True, name="conv2")(Snake(name="snake2")(y))


class EncoderBlock(nn.Module):
  """Three residual units, then the rate divided by `stride`."""

  features: int
  stride: int

  @nn.compact
  def __call__(self, x: Float[Array, "B N I"]) -> Float[Array, "B M O"]:
    for i, dilation in enumerate(DILATIONS, 1):
      x = ResidualUnit(dilation, name=f"res_unit{i}")(x)
    x = Snake(name="snake1")(x)
    return Conv(self.features, 2 * self.stride, self.stride, name="conv1")(x)


class DecoderBlock(nn.Module):
  """The rate multiplied by `stride`, then three residual units."""

  features: int
  stride: int

  @nn.compact
  def __call__(self, x: Float[Array, "B N I"]) -> Float[Array, "B M O"]:
    x = ConvTranspose(self.features, self.stride, name="conv_t1")(Snake(name="snake1")(x))
    for i, dilation in enumerate(DILATIONS, 1):
      x = ResidualUnit(dilation, name=f"res_unit{i}")(x)
    return x


class Encoder(nn.Module):
  """Audio to `features` per latent frame; `widths` has one entry more than `strides`."""

  widths: tuple[int, ...]
  strides: tuple[int, ...]
  features: int

  @nn.compact
  def __call__(self, x: Float[Array, "B N 2"]) -> Float[Array, "B T O"]:
    x = Conv(self.widths[0], name="conv1")(x)
    for i, (width, stride) in enumerate(zip(self.widths[1:], self.strides, strict=True)):
      x = EncoderBlock(width, stride, name=f"block_{i}")(x)
    return Conv(self.features, kernel=3, name="conv2")(Snake(name="snake1")(x))


class Decoder(nn.Module):
  """Latents to stereo audio; `widths` and `strides` in the encoder's order."""

  widths: tuple[int, ...]
  strides: tuple[int, ...]

  @nn.compact
  def __call__(self, x: Float[Array, "B T C"]) -> Float[Array, "B N 2"]:
    x = Conv(self.widths[-1], name="conv1")(x)
    stages = zip(self.widths[-2::-1], self.strides[::-1], strict=True)
    for i, (width, stride) in enumerate(stages):
      x = DecoderBlock(width, stride, name=f"block_{i}")(x)
    return Conv(2, bias=False, name="conv2")(Snake(name="snake1")(x))


class Oobleck(nn.Module):
  """The autoencoder of Stable Audio Open at the hop of STEMPHONIC (150 M parameters).

  Stage i runs at `channels` · `multiples[i]` channels and divides the rate by `strides[i]`.
  Stable Audio Open itself has strides (2, 4, 4, 8, 8).
  """

  channels: int = 128
  multiples: tuple[int, ...] = (1, 2, 4, 8, 16)
  strides: tuple[int, ...] = (2, 4, 8, 8, 7)
  latent: int = 64

  def setup(self):
    widths = tuple(self.channels * multiple for multiple in (1, *self.multiples))
    self.encoder = Encoder(widths, tuple(self.strides), 2 * self.latent)
    self.decoder = Decoder(widths, tuple(self.strides))

  def __call__(self, audio: Float[Array, "B N 2"]) -> Float[Array, "B M 2"]:
    """Reconstruction from the posterior's mean; M is N rounded up to whole frames."""
    return self.decode(self.encode(audio).mean)

  def encode(self, audio: Float[Array, "B N 2"]) -> Posterior:
    """Posterior of [B, ceil(N / hop), C]."""
    return Posterior(*jnp.split(self.encoder(pad_to_frames(audio, self.hop)), 2, -1))

  def decode(self, latents: Float[Array, "B T C"]) -> Float[Array, "B N 2"]:
    """Audio of T·hop samples."""
    return self.decoder(latents)

  @property
  def hop(self) -> int:
    """Samples per latent frame."""
    return math.prod(self.strides)

  @property
  def halo(self) -> int:
    """Latent frames on each side that one encoded or one decoded frame can see.

    Followed from the output back to the input as an interval first..last of positions.
    """
    units, edge = KERNEL // 2 * sum(DILATIONS), KERNEL // 2
    first, last = -1, 1  # what the encoder's conv2 sees of frame 0
    for s in self.strides[::-1]:
      first, last = first * s - _padding(s) - units, (last + 2) * s - _padding(s) - 1 + units
    encode = max(-((first - edge) // self.hop), (last + edge) // self.hop)
    first, last = -edge, self.hop - 1 + edge  # what the decoder's conv2 sees of frame 0's samples
    for s in self.strides:
      first, last = (first - units + _padding(s)) // s - 1, (last + units + _padding(s)) // s
    return max(encode, edge - first, last + edge)

  @property
  def reach(self) -> int:
    """Latent frames on each side that one decoded frame can see."""
    return self.halo
