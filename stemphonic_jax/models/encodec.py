"""EnCodec at 32 kHz as MusicGen has it: mono audio as 50 columns of K codes a second, and back.

A convolutional autoencoder (SEANet) with an LSTM over frames, and residual vector quantisation:

    encoder   conv_in · (unit_i · down_i) per ratio · lstm · conv_out
    decoder   conv_in · lstm · (up_i · unit_i) per ratio · conv_out

with ELU before every convolution but the first. N samples are T = ceil(N / hop) frames. Arithmetic
is channels-last.

Convolutions look both ways, the LSTM looks back without end. So long audio is coded in three steps:
what is next to the samples in windows with a halo, the LSTM window after window with its state
handed on, and what is at the frame rate at once (`encode_chunked`, `decode_chunked`).

Letters: B rows, N samples, T frames, C latent channels, D channels, K levels, V entries.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from stemphonic_jax.models import quantiser
from stemphonic_jax.models.vae import in_windows

KERNEL = 7  # width of the first and the last convolution
UNIT = 3  # of the residual units
COMPRESS = 2  # by which they are narrower inside
PADDINGS = ("reflect", "constant")

State = tuple[Float[Array, "L B D"], Float[Array, "L B D"]]  # what an LSTM of L layers remembers


def elu(x: Float[Array, "..."]) -> Float[Array, "..."]:
  """x where it is positive, exp(x) − 1 elsewhere.

  With jax.nn's, whose expm1 is exact near 0, the encoder takes 1.1 times as long on a CPU.
  """
  return jnp.where(x > 0, x, jnp.exp(jnp.minimum(x, 0)) - 1)


def pad(x: Float[Array, "B N D"], kernel: int, stride: int, mode: str) -> Float[Array, "B M D"]:
  """x with what a convolution needs around it to give ceil(N / stride) samples.

  On the right half of it, rounded down, and what fills the last window. What is too short to be
  reflected is followed by zeros first, which are cut off the end again.
  """
  length, around = x.shape[1], kernel - stride
  right = around // 2
  left, right = around - right, right + -length % stride
  if mode == "constant":
    return jnp.pad(x, ((0, 0), (left, right), (0, 0)))
  more = max(0, max(left, right) - length + 1)
  x = jnp.pad(x, ((0, 0), (0, more), (0, 0)))
  return jnp.pad(x, ((0, 0), (left, right), (0, 0)), "reflect")[:, : left + length + right]


class Conv(nn.Module):
  """Convolution that divides the rate by `stride`; its kernel is as wide as `kernel`."""

  features: int
  kernel: int = KERNEL
  stride: int = 1
  mode: str = "reflect"

  @nn.compact
  def __call__(self, x: Float[Array, "B N I"]) -> Float[Array, "B M O"]:
    shape = (self.kernel, x.shape[-1], self.features)
    kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
    bias = self.param("bias", nn.initializers.zeros, (self.features,))
    x = pad(x, self.kernel, self.stride, self.mode)
    y = jax.lax.conv_general_dilated(
      x, kernel, (self.stride,), "VALID", dimension_numbers=("NWC", "WIO", "NWC")
    )
    return y + bias


class ConvTranspose(nn.Module):
  """Transposed convolution of kernel 2·s that multiplies the rate by `stride`, s.

  Sample q·s + r before cropping is x[q−1]·k[s+r] + x[q]·k[r]: one product of each frame with all
  taps, of which the second half is added one frame later.
  """

  features: int
  stride: int

  @nn.compact
  def __call__(self, x: Float[Array, "B N I"]) -> Float[Array, "B M O"]:
    (B, N, width), s = x.shape, self.stride
    # Of the 2·s taps only 2 meet in one sample: s times the variance that the fan-in suggests.
    init = nn.initializers.variance_scaling(s, "fan_in", "truncated_normal")
    kernel = self.param("kernel", init, (2 * s, width, self.features))
    bias = self.param("bias", nn.initializers.zeros, (self.features,))
    phases = jnp.moveaxis(kernel.reshape(2, s, width, self.features)[::-1], 1, 2)
    phases = phases.reshape(2, width, s * self.features)
    y = jax.lax.conv_general_dilated(
      x, phases, (1,), [(1, 1)], dimension_numbers=("NWC", "WIO", "NWC")
    )
    left = s - s // 2
    return y.reshape(B, (N + 1) * s, self.features)[:, left : left + N * s] + bias


class Unit(nn.Module):
  """x + conv 1 (ELU(conv 3 (ELU(x)))), half as wide inside."""

  mode: str

  @nn.compact
  def __call__(self, x: Float[Array, "B N D"]) -> Float[Array, "B N D"]:
    width = x.shape[-1]
    y = Conv(width // COMPRESS, UNIT, mode=self.mode, name="conv1")(elu(x))
    return x + Conv(width, 1, name="conv2")(elu(y))


class LSTM(nn.Module):
  """x plus what LSTM layers, one after the other, make of it; gates in the order i, f, g, o.

  Products with the input are made for all frames at once. `recurrent` is [4·D, D], as PyTorch has
  it: a row with one vector reads it in order, which takes half of the time.
  """

  layers: int

  @nn.compact
  def __call__(
    self, x: Float[Array, "B T D"], state: State | None = None
  ) -> tuple[Float[Array, "B T D"], State]:
    """The sum, and the state after the last frame; a state of None is one of zeros."""
    B, _, width = x.shape
    init = nn.initializers.lecun_normal()
    zeros = jnp.zeros((self.layers, B, width), x.dtype)
    hidden, cells = (zeros, zeros) if state is None else state
    y, ends = x, []
    for i in range(self.layers):
      kernel = self.param(f"kernel_{i}", init, (width, 4 * width))
      recurrent = self.param(f"recurrent_{i}", init, (4 * width, width))
      bias = self.param(f"bias_{i}", nn.initializers.zeros, (4 * width,))
      gates = (y.reshape(-1, width) @ kernel + bias).reshape(B, -1, 4 * width)

      def step(carry, gate, recurrent=recurrent):
        h, c = carry
        gate += jax.lax.dot_general(recurrent, h, (((1,), (1,)), ((), ()))).T
        i, f, g, o = jnp.split(gate, 4, -1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

      end, y = jax.lax.scan(step, (hidden[i], cells[i]), jnp.moveaxis(gates, 1, 0))
      y = jnp.moveaxis(y, 0, 1)
      ends.append(end)
    return x + y, tuple(jnp.stack(parts) for parts in zip(*ends, strict=True))


class Encoder(nn.Module):
  """Audio to latents; `widths` has one entry more than `ratios`, both from the audio on."""

  widths: tuple[int, ...]
  ratios: tuple[int, ...]
  latent: int
  layers: int
  mode: str

  def setup(self):
    self.conv_in = Conv(self.widths[0], mode=self.mode)
    self.unit = [Unit(self.mode) for _ in self.ratios]
    stages = zip(self.widths[1:], self.ratios, strict=True)
    self.down = [Conv(width, 2 * s, s, self.mode) for width, s in stages]
    self.lstm = LSTM(self.layers)
    self.conv_out = Conv(self.latent, mode=self.mode)

  def features(self, audio: Float[Array, "B N"]) -> Float[Array, "B T D"]:
    """All before the LSTM."""
    x = self.conv_in(audio[..., None])
    for unit, down in zip(self.unit, self.down, strict=True):
      x = down(elu(unit(x)))
    return x

  def latents(self, x: Float[Array, "B T D"]) -> Float[Array, "B T C"]:
    """All after it."""
    return self.conv_out(elu(x))


class Decoder(nn.Module):
  """Latents to audio; `widths` and `ratios` in the encoder's order."""

  widths: tuple[int, ...]
  ratios: tuple[int, ...]
  layers: int
  mode: str

  def setup(self):
    self.conv_in = Conv(self.widths[-1], mode=self.mode)
    self.lstm = LSTM(self.layers)
    stages = zip(self.widths[-2::-1], self.ratios[::-1], strict=True)
    self.up = [ConvTranspose(width, s) for width, s in stages]
    self.unit = [Unit(self.mode) for _ in self.ratios]
    self.conv_out = Conv(1, mode=self.mode)

  def audio(self, x: Float[Array, "B T D"]) -> Float[Array, "B N"]:
    """All after the LSTM."""
    for up, unit in zip(self.up, self.unit, strict=True):
      x = unit(up(elu(x)))
    return self.conv_out(elu(x))[..., 0]


class EnCodec(nn.Module):
  """MusicGen's codec by default: 640 samples are a column of 4 codes below 2048.

  Stage i of the encoder divides the rate by `ratios[-1 - i]` (the decoder multiplies it in their
  order) and doubles the width, which begins at `filters`. `padding` is what is around a signal.
  """

  filters: int = 64
  ratios: tuple[int, ...] = (8, 5, 4, 4)
  latent: int = 128
  levels: int = 4
  entries: int = 2048
  layers: int = 2
  padding: str = "reflect"

  def setup(self):
    if self.padding not in PADDINGS:
      raise ValueError(f"padding {self.padding!r}: expected one of {', '.join(PADDINGS)}")
    if self.filters < COMPRESS:
      raise ValueError(f"filters {self.filters}: expected {COMPRESS} or more")
    ratios = tuple(self.ratios[::-1])
    widths = tuple(self.filters << i for i in range(len(ratios) + 1))
    self.encoder = Encoder(widths, ratios, self.latent, self.layers, self.padding)
    self.decoder = Decoder(widths, ratios, self.layers, self.padding)
    shape = (self.levels, self.entries, self.latent)
    self.codebooks = self.param("codebooks", nn.initializers.normal(1.0), shape)

  def __call__(self, audio: Float[Array, "B N"]) -> Float[Array, "B M"]:
    """Reconstruction; M is N rounded up to whole frames."""
    return self.decode(self.encode(audio))

  def encode(self, audio: Float[Array, "B N"]) -> Int[Array, "B K T"]:
    """Codes of ceil(N / hop) frames."""
    return quantiser.encode(self.codebooks, self.latents(audio))

  def latents(self, audio: Float[Array, "B N"]) -> Float[Array, "B T C"]:
    """What is quantised."""
    return self.encoder.latents(self.remember(self.features(audio))[0])

  def decode(self, codes: Int[Array, "B K T"]) -> Float[Array, "B N"]:
    """Audio of T·hop samples."""
    return self.audio(self.recall(self.frames(codes))[0])

  def learn(
    self, audio: Float[Array, "B N"]
  ) -> tuple[Float[Array, "B M"], Int[Array, "B K T"], Float[Array, ""]]:
    """Reconstruction whose gradient passes the quantiser, its codes, and the commitment loss."""
    latents = self.latents(audio)
    codes = jax.lax.stop_gradient(quantiser.encode(self.codebooks, latents))
    quantised, distance = quantiser.straight_through(self.codebooks, latents, codes)
    return self.audio(self.recall(self.decoder.conv_in(quantised))[0]), codes, distance

  def features(self, audio: Float[Array, "B N"]) -> Float[Array, "B T D"]:
    """First step of encoding: sees `halo` frames on each side."""
    return self.encoder.features(audio)

  def remember(
    self, x: Float[Array, "B T D"], state: State | None = None
  ) -> tuple[Float[Array, "B T D"], State]:
    """Second step: the LSTM, and its state after these frames."""
    return self.encoder.lstm(x, state)

  def codes(self, x: Float[Array, "B T D"]) -> Int[Array, "B K T"]:
    """Third step."""
    return quantiser.encode(self.codebooks, self.encoder.latents(x))

  def frames(self, codes: Int[Array, "B K T"]) -> Float[Array, "B T D"]:
    """First step of decoding."""
    return self.decoder.conv_in(quantiser.decode(self.codebooks, codes))

  def recall(
    self, x: Float[Array, "B T D"], state: State | None = None
  ) -> tuple[Float[Array, "B T D"], State]:
    """Second step: the LSTM, and its state after these frames."""
    return self.decoder.lstm(x, state)

  def audio(self, x: Float[Array, "B T D"]) -> Float[Array, "B N"]:
    """Third step: sees `halo` frames on each side."""
    return self.decoder.audio(x)

  def encode_chunked(
    self, apply: Callable[..., Any], audio: Float[Array, "B N"], window: int
  ) -> Int[Array, "B K T"]:
    """Codes of long audio, `window` frames at a time, as `encode` would give them at once.

    `apply(*arguments, method=name)` applies the codec with its parameters, jitted as a rule: it
    compiles once for all windows, and once for what is left. Raises ValueError where a window is
    not wider than two halos.
    """
    step = functools.partial(apply, method="features")
    sizes = {"inputs": self.hop, "outputs": 1, "halo": self.halo, "window": window}
    x = in_windows(step, audio, **sizes)
    return apply(self._handed_on(apply, "remember", x, window), method="codes")

  def decode_chunked(
    self, apply: Callable[..., Any], codes: Int[Array, "B K T"], window: int
  ) -> Float[Array, "B N"]:
    """Audio of many codes, `window` frames at a time; as `encode_chunked`."""
    x = self._handed_on(apply, "recall", apply(codes, method="frames"), window)
    step = functools.partial(apply, method="audio")
    return in_windows(step, x, inputs=1, outputs=self.hop, halo=self.halo, window=window)

  def _handed_on(
    self, apply: Callable[..., Any], method: str, x: Float[Array, "B T D"], window: int
  ) -> Float[Array, "B T D"]:
    """The LSTM over x, from window to window; zeros after the end change nothing before it."""
    frames = x.shape[1]
    if frames > window:
      x = jnp.pad(x, ((0, 0), (0, -frames % window), (0, 0)))
    zeros = jnp.zeros((self.layers, len(x), x.shape[-1]))
    state, pieces = (zeros, zeros), []
    for start in range(0, frames, window):
      piece, state = apply(x[:, start : start + window], state, method=method)
      pieces.append(piece)
    return jnp.concatenate(pieces, 1)[:, :frames]

  @property
  def hop(self) -> int:
    """Samples per frame."""
    return math.prod(self.ratios)

  @property
  def halo(self) -> int:
    """Frames on each side that the first step of encoding and the last of decoding can see.

    Followed from the output back to the input as an interval first..last of positions.
    """
    unit, edge = UNIT // 2, KERNEL // 2
    first, last = 0, 0
    for s in self.ratios:
      left = s - s // 2
      first, last = first * s - left - unit, (last + 2) * s - 1 - left + unit
    encode = max(-((first - edge) // self.hop), (last + edge) // self.hop)
    first, last = -edge, self.hop - 1 + edge
    for s in self.ratios[::-1]:
      left = s - s // 2
      first, last = (first - unit + left) // s - 1, (last + unit + left) // s
    return max(encode, -first, last)
