"""Our VGGish gives the numbers of the PyTorch port that measures with it, out of its own files."""

import numpy as np
import pytest

from stemphonic_jax.evaluation.judges import vggish

torch = pytest.importorskip("torch")

RATE = 16_000


class Peer(torch.nn.Module):
  """torchvggish without its last ReLU, narrower by a factor."""

  def __init__(self, factor: int):
    super().__init__()
    torch.manual_seed(0)
    widths = [width // factor for width in (64, 128, 256, 256, 512, 512, 4096, 4096, 128)]
    layers, before = [], 1
    for i, width in enumerate(widths[:6]):
      layers += [torch.nn.Conv2d(before, width, 3, padding=1), torch.nn.ReLU()]
      layers += [torch.nn.MaxPool2d(2, 2)] if i in (0, 1, 3, 5) else []
      before = width
    self.features = torch.nn.Sequential(*layers)
    first, second, last = widths[6:]
    self.embeddings = torch.nn.Sequential(
      torch.nn.Linear(24 * before, first), torch.nn.ReLU(),
      torch.nn.Linear(first, second), torch.nn.ReLU(),
      torch.nn.Linear(second, last),
    )  # fmt: skip
    for name, weight in self.named_parameters():
      if name.endswith("weight"):
        torch.nn.init.kaiming_normal_(weight)

  def forward(self, patches):
    x = self.features(torch.from_numpy(patches).double()[:, None])
    return self.embeddings(x.permute(0, 2, 3, 1).flatten(1))


@pytest.mark.parametrize("zipped", [True, False])
def test_embeddings_are_those_of_the_peer(tmp_path, warned, zipped):
  peer = Peer(16).eval()
  torch.save(peer.state_dict(), tmp_path / "v.pth", _use_new_zipfile_serialization=zipped)
  judge = vggish.open_judge(tmp_path / "v.pth")
  audio = np.random.default_rng(0).standard_normal((2, 9 * RATE, 2), np.float32)
  rows = np.concatenate([judge.patches(clip, RATE) for clip in audio])
  with torch.no_grad():
    expected = peer.double()(rows).numpy()  # in float32 it is further from this than ours
  assert (rows.shape, judge.size) == ((18, 96, 64), 8)
  np.testing.assert_allclose(judge.embed(audio, RATE), expected, atol=1e-6 * np.abs(expected).max())
  (warning,) = warned
  assert "Google's smoke test has 0.343" in warning


def test_names_and_shapes_are_those_of_the_published_file():
  """At full size, where there is no need of numbers."""
  from stemphonic_jax.models.vggish import VGGish
  from stemphonic_jax.weights.vggish import _our_name, _shapes, _theirs

  with torch.device("meta"):
    state = Peer(1).state_dict()
  found = {_our_name(name): tuple(tensor.shape) for name, tensor in state.items()}
  wanted = {name: _theirs(leaf).shape for name, leaf in _shapes(VGGish()).items()}
  assert found == wanted
  assert sum(np.prod(shape) for shape in found.values()) == 72_141_184
