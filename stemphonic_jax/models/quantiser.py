"""Residual vector quantisation: a vector as a few numbers, each the nearest entry of a codebook.

Level k codes what levels 0..k−1 leave over, so the sum of the entries comes nearer with each:

    r_0 = x    code_k = argmin_v |r_k − e_k[v]|²    r_{k+1} = r_k − e_k[code_k]

Codebooks are learned without a gradient: they start as the means of clusters (`fit`), and then each
entry follows a moving average of the vectors that choose it (`update`, van den Oord et al. 2017,
appendix A.1). An entry that nobody chooses any more is put at a vector of the batch.

Letters: K levels, V entries of a codebook, C channels, M vectors.
"""

import flax
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

DECAY = 0.99  # of the averages
SMOOTHING = 1e-5  # of the sizes, so that an entry without vectors is no division by zero (Laplace)
DEAD = 2.0  # vectors per batch, on average, below which an entry is put elsewhere
ITERATIONS = 50  # of k-means


def encode(codebooks: Float[Array, "K V C"], x: Float[Array, "B T C"]) -> Int[Array, "B K T"]:
  """Codes of the vectors, coarsest level first; of equally near entries the first."""

  def level(rest, codebook):
    code = nearest(codebook, rest)
    return rest - codebook[code], code

  _, codes = jax.lax.scan(level, x, codebooks)
  return jnp.moveaxis(codes, 0, 1)


def decode(codebooks: Float[Array, "K V C"], codes: Int[Array, "B K T"]) -> Float[Array, "B T C"]:
  """The sum of the entries that the codes name."""
  return sum(codebook[codes[:, k]] for k, codebook in enumerate(codebooks))


def straight_through(
  codebooks: Float[Array, "K V C"], x: Float[Array, "B T C"], codes: Int[Array, "B K T"]
) -> tuple[Float[Array, "B T C"], Float[Array, ""]]:
  """What the codes of x stand for, with the gradient of x, and how far x is from it at each level.

  The second is the commitment loss, a mean over levels of |r_k − e_k[code_k]|²: entries are taken
  as they are, so it moves x alone.
  """
  rest, distance = x, 0.0
  for k, codebook in enumerate(codebooks):
    entry = jax.lax.stop_gradient(codebook[codes[:, k]])
    distance += jnp.mean(jnp.square(rest - entry))
    rest = rest - entry
  # rest is x less the sum of entries, and its gradient that of x.
  return x - jax.lax.stop_gradient(rest), distance / len(codebooks)


def nearest(codebook: Float[Array, "V C"], x: Float[Array, "*batch C"]) -> Int[Array, "*batch"]:
  """The entry nearest to each vector: |x − e|² less |x|², which is the same for all entries."""
  rows = x.reshape(-1, x.shape[-1])
  distance = jnp.sum(jnp.square(codebook), -1) - 2 * rows @ codebook.T
  return jnp.argmin(distance, -1).reshape(x.shape[:-1])


@flax.struct.dataclass
class Averages:
  """What codebooks are made of: how many vectors chose an entry in a batch, and their sum."""

  sizes: Float[Array, "K V"]
  sums: Float[Array, "K V C"]

  @property
  def codebooks(self) -> Float[Array, "K V C"]:
    """The entries: means of the vectors that chose them."""
    total = jnp.sum(self.sizes, -1, keepdims=True)
    entries = self.sizes.shape[-1]
    smoothed = (self.sizes + SMOOTHING) / (total + entries * SMOOTHING) * total
    return self.sums / smoothed[..., None]


def fit(
  key: Key[Array, ""],
  x: Float[Array, "M C"],
  levels: int,
  entries: int,
  iterations: int = ITERATIONS,
) -> Averages:
  """Codebooks by k-means, level after level; there should be several times more vectors than V."""

  def level(rest, key):
    averages = k_means(key, rest, entries, iterations)
    (codebook,) = averages.codebooks
    return rest - codebook[nearest(codebook, rest)], averages

  _, found = jax.lax.scan(level, x, jax.random.split(key, levels))
  return jax.tree.map(lambda a: a[:, 0], found)


def k_means(key: Key[Array, ""], x: Float[Array, "M C"], entries: int, iterations: int) -> Averages:
  """One level's codebook: Lloyd's iterations from vectors that are drawn.

  A cluster that nobody is in is put at a vector of x.
  """

  def iterate(codebook, key):
    count, total = _chosen(nearest(codebook, x), x, entries)
    means = total / jnp.maximum(count, 1)[:, None]
    return jnp.where(count[:, None] > 0, means, _drawn(key, x, entries)), None

  start, steps = jax.random.split(key)
  codebook, _ = jax.lax.scan(
    iterate, _drawn(start, x, entries), jax.random.split(steps, iterations)
  )
  # As if each entry had been chosen as often as it was here, whatever was drawn at the end.
  count, _ = _chosen(nearest(codebook, x), x, entries)
  count = jnp.maximum(count, DEAD)
  return Averages(count[None], (codebook * count[:, None])[None])


def update(
  key: Key[Array, ""],
  averages: Averages,
  x: Float[Array, "M C"],
  decay: float = DECAY,
  dead: float = DEAD,
) -> Averages:
  """The averages after one more batch of vectors.

  An entry whose size falls below `dead` becomes a drawn vector of what is left over at its level,
  with a size and a sum of its own: were the codebook alone changed, the averages would bring the
  old entry back at once.
  """
  entries = averages.sizes.shape[-1]

  def level(rest, given):
    key, codebook, sizes, sums = given
    code = nearest(codebook, rest)
    count, total = _chosen(code, rest, entries)
    sizes = decay * sizes + (1 - decay) * count
    sums = decay * sums + (1 - decay) * total
    gone = sizes < dead
    drawn = _drawn(key, rest, entries)
    sizes = jnp.where(gone, dead, sizes)
    sums = jnp.where(gone[:, None], dead * drawn, sums)
    return rest - codebook[code], Averages(sizes, sums)

  keys = jax.random.split(key, len(averages.sizes))
  return jax.lax.scan(level, x, (keys, averages.codebooks, averages.sizes, averages.sums))[1]


def perplexity(codes: Int[Array, "B K T"], entries: int) -> Float[Array, "K"]:
  """How many entries of each level are in use: the exponential of the entropy of the codes."""
  share = jax.nn.one_hot(codes, entries).mean((0, 2))
  return jnp.exp(jax.scipy.special.entr(share).sum(-1))


def _chosen(
  code: Int[Array, "M"], x: Float[Array, "M C"], entries: int
) -> tuple[Float[Array, "V"], Float[Array, "V C"]]:
  """How many vectors chose each entry, and their sum."""
  chosen = jax.nn.one_hot(code, entries)
  return jnp.sum(chosen, 0), chosen.T @ x


def _drawn(key: Key[Array, ""], x: Float[Array, "M C"], count: int) -> Float[Array, "V C"]:
  """Vectors of x, drawn without repetition where there are enough of them."""
  return jax.random.choice(key, x, (count,), replace=len(x) < count)
