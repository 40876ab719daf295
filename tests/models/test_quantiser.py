import jax
import jax.numpy as jnp
import numpy as np

from stemphonic_jax.models import quantiser
from stemphonic_jax.models.quantiser import Averages

K, V, C = 3, 8, 4
FIT = jax.jit(quantiser.fit, static_argnums=(2, 3, 4))
UPDATE = jax.jit(quantiser.update, static_argnames=("decay", "dead"))
ENCODE = jax.jit(quantiser.encode)


def vectors(count, seed=0):
  return jax.random.normal(jax.random.key(seed), (count, C))


def test_each_level_codes_what_those_before_it_leave_over():
  books = jnp.array([[[0.0, 0], [10, 0], [10, 0]], [[0, 0], [1, 1], [1, 1]]])
  x = jnp.array([[[11.0, 1.2], [-1, 0.3]]])
  codes = ENCODE(books, x)
  np.testing.assert_array_equal(codes, [[[1, 0], [1, 0]]])  # of two equal entries the first
  np.testing.assert_array_equal(quantiser.decode(books, codes), [[[11, 1], [0, 0]]])


def test_entries_are_their_own_codes():
  books = vectors(K * V).reshape(K, V, C) * jnp.array([100.0, 10, 1])[:, None, None]
  codes = jax.random.randint(jax.random.key(1), (2, K, 5), 0, V)
  np.testing.assert_array_equal(ENCODE(books, quantiser.decode(books, codes)), codes)


def test_k_means_finds_clusters_and_every_level_lowers_the_error():
  centres = 10 * vectors(V)
  x = (centres[:, None] + 0.1 * vectors(V * 40, 1).reshape(V, 40, C)).reshape(-1, C)
  books = FIT(jax.random.key(2), x, K, V, 12).codebooks
  codes = ENCODE(books, x[None])
  error = [
    float(jnp.mean(jnp.square(quantiser.decode(books[:k], codes[:, :k])[0] - x)))
    for k in range(1, K + 1)
  ]
  assert error[0] < 0.05 * float(jnp.var(x))
  assert error[0] > error[1] > error[2]
  assert quantiser.perplexity(codes, V)[0] > 5


def test_an_average_follows_the_vectors_that_choose_it():
  """In the limit of no memory, entries are the means of one batch (k-means' own step)."""
  x = vectors(200)
  averages = FIT(jax.random.key(0), x, 1, V, 3)
  (code,) = ENCODE(averages.codebooks, x[None])[0]
  after = UPDATE(jax.random.key(1), averages, x, decay=0.0, dead=0.0)
  means = jnp.stack([x[code == v].mean(0) for v in range(V)])
  np.testing.assert_allclose(after.codebooks[0], means, rtol=1e-3, atol=1e-3)
  half = UPDATE(jax.random.key(1), averages, x, decay=0.5, dead=0.0)
  np.testing.assert_allclose(half.sizes, (averages.sizes + after.sizes) / 2, rtol=1e-6)


def test_a_dead_entry_is_put_at_a_vector_and_stays_there():
  """Its average goes with it: without that, the same update would bring the old entry back."""
  x = vectors(200)
  averages = FIT(jax.random.key(0), x, 1, V, 3)
  far = Averages(averages.sizes.at[0, 2].set(0.5), averages.sums.at[0, 2].set(50.0))
  assert not (ENCODE(far.codebooks, x[None]) == 2).any(), "nobody chooses it"
  after = UPDATE(jax.random.key(1), far, x)
  near = jnp.linalg.norm(x - after.codebooks[0, 2], axis=-1).min()
  assert near < 1e-2, "it is one of the batch"
  assert (ENCODE(after.codebooks, x[None]) == 2).any(), "which chooses it from now on"
  later = UPDATE(jax.random.key(2), after, x)
  assert jnp.linalg.norm(later.codebooks[0, 2] - after.codebooks[0, 2]) < 0.5


def test_the_gradient_passes_the_quantiser_and_commitment_draws_to_entries():
  books, x = vectors(K * V).reshape(K, V, C), vectors(6, 3)[None]
  codes = ENCODE(books, x)
  out, pull = jax.vjp(lambda x, books: quantiser.straight_through(books, x, codes), x, books)
  np.testing.assert_allclose(out[0], quantiser.decode(books, codes), atol=1e-5)
  to_x, to_books = pull((jnp.ones_like(x), jnp.zeros(())))
  np.testing.assert_array_equal(to_x, jnp.ones_like(x))
  np.testing.assert_array_equal(to_books, jnp.zeros_like(books))
  rests = [x - quantiser.decode(books[:k], codes[:, :k]) for k in range(1, K + 1)]
  np.testing.assert_allclose(out[1], np.mean(np.square(rests)), rtol=1e-4)
  to_x, to_books = pull((jnp.zeros_like(x), jnp.ones(())))
  np.testing.assert_allclose(to_x, 2 * sum(rests) / (K * x.size), rtol=1e-4, atol=1e-7)
  np.testing.assert_array_equal(to_books, jnp.zeros_like(books))
