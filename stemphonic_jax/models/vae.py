"""What every autoencoder here has in common: the posterior, and coding long audio in windows.

`oobleck.Oobleck` and `spectral.Spectral` have the same face (N samples, T = ceil(N / hop) frames):

    encode(audio [B, N, 2])   -> Posterior of [B, T, C]     N is padded with zeros to T·hop
    decode(latents [B, T, C]) -> audio [B, T·hop, 2]
    hop     samples per latent frame
    halo    latent frames on each side that one encoded frame can see, and one decoded frame ahead
    reach   the same of one decoded frame; None where it sees all that precede it

A window that is that much wider on each side than what is kept of it gives what the whole would:
`encode_chunked`, `decode_chunked`.
"""

from collections.abc import Callable
from typing import Any

import flax
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key


@flax.struct.dataclass
class Posterior:
  """Diagonal Gaussian over latents; deviation softplus(scale) + 1e-4 (stable-audio-tools)."""

  mean: Float[Array, "B T C"]
  scale: Float[Array, "B T C"]

  @property
  def deviation(self) -> Float[Array, "B T C"]:
    """Standard deviation of each latent."""
    return jax.nn.softplus(self.scale) + 1e-4

  def sample(self, key: Key[Array, ""]) -> Float[Array, "B T C"]:
    """Draws latents: mean + deviation · ε."""
    return self.mean + self.deviation * jax.random.normal(key, self.mean.shape)

  def kl(self) -> Float[Array, ""]:
    """Twice the divergence from N(0, 1), summed over channels, mean over frames.

    The factor 2 and the sum are those of stable-audio-tools, so that its weight 1e-4 carries over.
    """
    variance = jnp.square(self.deviation)
    divergence = jnp.square(self.mean) + variance - jnp.log(variance) - 1
    return jnp.mean(jnp.sum(divergence, -1))


def pad_to_frames(audio: Float[Array, "B N A"], hop: int) -> Float[Array, "B M A"]:
  """Appends zeros up to the next multiple of `hop` samples."""
  return jnp.pad(audio, ((0, 0), (0, -audio.shape[1] % hop), (0, 0)))


def encode_chunked(
  encode: Callable[[Float[Array, "B M 2"]], Posterior],
  audio: Float[Array, "B N 2"],
  *,
  hop: int,
  halo: int,
  window: int,
) -> Posterior:
  """Encodes window by window (`window` latent frames) what `encode` would encode at once.

  All windows have one length, so a jitted `encode` compiles once. Raises ValueError where a window
  leaves nothing to keep.
  """
  audio = pad_to_frames(audio, hop)
  return in_windows(encode, audio, inputs=hop, outputs=1, halo=halo, window=window)


def decode_chunked(
  decode: Callable[[Float[Array, "B W C"]], Float[Array, "B M 2"]],
  latents: Float[Array, "B T C"],
  *,
  hop: int,
  reach: int | None,
  window: int,
) -> Float[Array, "B N 2"]:
  """Decodes window by window (`window` latent frames) what `decode` would decode at once.

  It sees `reach` frames on each side; where that is None, it does decode at once. All windows have
  one length, so a jitted `decode` compiles once. Raises ValueError where a window leaves nothing to
  keep.
  """
  if reach is None:
    return decode(latents)
  return in_windows(decode, latents, inputs=1, outputs=hop, halo=reach, window=window)


def in_windows(
  function: Callable[[Float[Array, "B N ..."]], Any],
  x: Float[Array, "B N ..."],
  *,
  inputs: int,
  outputs: int,
  halo: int,
  window: int,
) -> Any:
  """What `function` makes of x, window by window (`window` frames): an array, or a tree of them.

  A frame is `inputs` entries of x, of which the last may have fewer, and `outputs` of the result;
  it depends on `halo` frames on each side. Raises ValueError as `decode_chunked` does.
  """
  pieces = []
  for start, keep in _windows(-(-x.shape[1] // inputs), window, halo):
    made = function(x[:, start * inputs : (start + window) * inputs])
    kept = slice(keep.start * outputs, keep.stop * outputs)
    pieces.append(jax.tree.map(lambda part, kept=kept: part[:, kept], made))
  return jax.tree.map(lambda *parts: jnp.concatenate(parts, 1), *pieces)


def _windows(frames: int, window: int, halo: int) -> list[tuple[int, slice]]:
  """(first frame, frames kept) of each window, in order; what is kept covers `frames` once.

  The last window is moved back to end with the signal instead of being shortened. A signal that
  fits one window is a window of its own length.
  """
  if window >= frames:
    return [(0, slice(0, frames))]
  if window <= 2 * halo:
    raise ValueError(f"window of {window} frames: expected more than {2 * halo}, twice the halo")
  windows, kept = [], 0
  while kept < frames:
    start = min(max(kept - halo, 0), frames - window)
    stop = frames if start + window == frames else start + window - halo
    windows.append((start, slice(kept - start, stop - start)))
    kept = stop
  return windows
