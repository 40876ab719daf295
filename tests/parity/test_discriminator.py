"""The discriminator against Encodec's, said once more in PyTorch, on equal weights.

It is as stable-audio-tools has it (models/encodec.py): torchaudio's normalised spectrogram without
centring, weight norm on every convolution.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stemphonic_jax.models.discriminator import Discriminator, images, init_discriminator

torch = pytest.importorskip("torch")

SIZES = (256, 128, 64)


class Peer(torch.nn.Module):
  def __init__(self, filters: int, size: int, stride: int):
    super().__init__()
    norm, conv = torch.nn.utils.parametrizations.weight_norm, torch.nn.Conv2d
    self.size = size
    self.convs = torch.nn.ModuleList([norm(conv(4, filters, (3, 9), padding=(1, 4)))])
    for d in (1, 2, 4):
      middle = conv(filters, filters, (3, 9), (1, stride), padding=(d, 4), dilation=(d, 1))
      self.convs.append(norm(middle))
    self.convs.append(norm(conv(filters, filters, (3, 3), padding=1)))
    self.score = norm(conv(filters, 1, (3, 3), padding=1))

  def forward(self, audio):  # [B, 2, N]
    window = torch.hann_window(self.size)
    spectra = torch.stft(
      audio.flatten(0, 1), self.size, self.size // 4, window=window, center=False,
      return_complex=True,
    )  # fmt: skip
    spectra = (spectra / window.square().sum().sqrt()).unflatten(0, audio.shape[:2])
    z = torch.cat([spectra.real, spectra.imag], 1).mT
    features = []
    for conv in self.convs:
      z = torch.nn.functional.leaky_relu(conv(z), 0.2)
      features.append(z)
    return self.score(z), features


def copy(conv, params):
  """Gives a convolution of theirs the weights of ours: kernels [H, W, in, out], gains [out]."""
  with torch.no_grad():
    length, direction = (
      conv.parametrizations.weight.original0,
      conv.parametrizations.weight.original1,
    )
    length.copy_(torch.from_numpy(np.array(params["gain"])).reshape(length.shape))
    direction.copy_(torch.from_numpy(np.array(params["kernel"])).permute(3, 2, 0, 1))
    conv.bias.copy_(torch.from_numpy(np.array(params["bias"])))


@pytest.mark.parametrize("stride", [1, 2])
def test_same_numbers_as_pytorch(stride):
  ours = Discriminator(filters=6, sizes=SIZES, stride=stride)
  rng = np.random.default_rng(0)
  params = jax.tree.map(
    lambda leaf: leaf + 0.1 * rng.standard_normal(leaf.shape, np.float32),
    jax.jit(functools.partial(init_discriminator, ours))(jax.random.key(0)),
  )
  audio = rng.standard_normal((2, 1000, 2), np.float32)
  judge = jax.jit(lambda audio: ours.apply({"params": params}, images(audio, SIZES)))
  judged = judge(jnp.asarray(audio))
  for size, (score, features) in zip(SIZES, judged, strict=True):
    peer, weights = Peer(6, size, stride), params[f"window_{size}"]
    for i, conv in enumerate(peer.convs):
      copy(conv, weights[f"conv_{i}"])
    copy(peer.score, weights["score"])
    with torch.no_grad():
      expected, expected_features = peer(torch.from_numpy(audio).mT)
    pairs = zip([score, *features], [expected, *expected_features], strict=True)
    for got, theirs in pairs:
      theirs = theirs.permute(0, 2, 3, 1).numpy()
      assert got.shape == theirs.shape
      np.testing.assert_allclose(got, theirs, atol=1e-4 * np.abs(theirs).max())
