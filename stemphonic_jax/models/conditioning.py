"""What a stem is generated from, and how each condition is left out.

Every condition has a null value *in its own domain*, so leaving one out is data, not a switch:

    text       all positions masked      (embeds to zeros, as in Stable Audio)
    bpm        NaN                       (embeds to zeros)
    context    zeros                     (also what a from-scratch row carries, Sec. 3.1)
    activity   NOT_GIVEN                 (the third row of the activity embedding, Sec. 3.3)

Where there is a `negative` text, that is what stands for one that is left out. Beside the four can
be left out: words that are said to one stem alone, and the other stems of an ensemble.

Seconds, which only models with timing have, are never left out (as in Stable Audio). Nor are the
frames that are known, of which an ensemble (stems.py) is told and which others are shown (sampler),
and which rows belong together.
"""

from collections.abc import Collection, Mapping

import flax
import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int, Key

from stemphonic_jax.models.layers import (
  Dense,
  FeedForward,
  LayerNorm,
  SelfAttention,
  rotary_table,
)
from stemphonic_jax.models.machine import Machine

CONDITIONS = ("text", "bpm", "context", "activity")
# Bound of `sum_of_words` in models that name none, as those from before there was one. Prompts of
# version 1 of the corpus reached 5.5; two words again and again, 18, made samples of 1e16.
MOST_WORDS = 7.0
NOT_GIVEN = 2  # activity value of a frame for which neither 0 (silent) nor 1 (active) is asked


# Token ids, or embeddings of a frozen encoder, and which of them are no padding.
Text = tuple[Int[Array, "B S"] | Float[Array, "B S E"], Bool[Array, "B S"]]


@flax.struct.dataclass
class Conditions:
  """Conditions of B stems as the data pipeline and the user give them (Sec. 3, C_k)."""

  text: Int[Array, "B S"] | Float[Array, "B S E"]  # token ids, or embeddings of a frozen encoder
  text_mask: Bool[Array, "B S"]
  bpm: Float[Array, "B"]
  context: Float[Array, "B T C"]
  activity: Int[Array, "B T"]
  seconds: Float[Array, "B 2"] | None = None  # where in the piece the frames start; its length
  group: Int[Array, "B"] | None = None  # rows of an equal one hear each other; None: no row others
  known: Bool[Array, "B T"] | None = None  # frames whose latents are `clean`; None: there are none
  clean: Float[Array, "B T C"] | None = None
  negative: Text | None = None  # the text of rows of which it is left out; None: they have none
  bare: Text | None = None  # the text without the words for one stem; None: it has none


def mask_conditions(conditions: Conditions, dropped: Mapping[str, Bool[Array, "B"]]) -> Conditions:
  """Replaces conditions by their null value in the rows where `dropped[name]` is true."""

  def null(name: str, given: Array, value: Array | float | bool) -> Array:
    rows = dropped[name].reshape(-1, *(1,) * (given.ndim - 1))
    return jnp.where(rows, jnp.asarray(value, given.dtype), given)

  if conditions.negative is not None:
    pairs = zip((conditions.text, conditions.text_mask), conditions.negative, strict=True)
    text, mask = (null("text", given, other) for given, other in pairs)
    conditions = conditions.replace(text=text, text_mask=mask)
  else:
    conditions = conditions.replace(text_mask=null("text", conditions.text_mask, False))
  return conditions.replace(
    bpm=null("bpm", conditions.bpm, jnp.nan),
    context=null("context", conditions.context, 0),
    activity=null("activity", conditions.activity, NOT_GIVEN),
  )


def leave_out(conditions: Conditions, names: Collection[str]) -> Conditions:
  """Leaves out some conditions of all rows: CONDITIONS, "stem_words", or "others" (the stems)."""
  if "stem_words" in names and conditions.bare is not None:
    text, mask = conditions.bare
    conditions = conditions.replace(text=text, text_mask=mask)
  if "others" in names:
    conditions = conditions.replace(group=jnp.arange(len(conditions.bpm), dtype=jnp.int32))
  dropped = {name: jnp.full_like(conditions.bpm, name in names, bool) for name in CONDITIONS}
  return mask_conditions(conditions, dropped)


def null_conditions(conditions: Conditions) -> Conditions:
  """All conditions left out together, as the unconditional half of guidance needs (Sec. 4.1).

  Its rows hear each other, and none of the half that has its conditions.
  """
  null = leave_out(conditions, CONDITIONS)
  return null if null.group is None else null.replace(group=-1 - null.group)


def drop_conditions(
  key: Key[Array, ""],
  row: Int[Array, "B"],
  conditions: Conditions,
  rates: Mapping[str, float],
) -> Conditions:
  """Drops each condition of each row independently with probability `rates[name]` (Sec. 4.1)."""
  draw = jax.vmap(lambda r: jax.random.uniform(jax.random.fold_in(key, r), (len(CONDITIONS),)))
  uniform = draw(row)
  dropped = {name: uniform[:, i] < rates[name] for i, name in enumerate(CONDITIONS)}
  return mask_conditions(conditions, dropped)


def sum_of_words(
  tokens: Int[Array, "B S"],
  given: Bool[Array, "B S"],
  table: Float[Array, "V D"],
  most: float = 0.0,
) -> Float[Array, "B D"]:
  """The sum of a text's words, each once, shortened where it is over `most` times the longest.

  Without the one and the other, a text that repeats a word, or a very long one, is louder than any
  that was learned from.
  """
  earlier = jnp.tril(tokens[:, :, None] == tokens[:, None, :], -1).any(2)
  total = jnp.where((given & ~earlier)[..., None], table[tokens], 0).sum(1)
  longest = jnp.max(jnp.sum(jnp.square(table), 1))
  limit = jax.lax.stop_gradient((most or MOST_WORDS) ** 2 * longest)
  square = jnp.sum(jnp.square(total), 1, keepdims=True)
  over = square > limit  # not where all are zero, as at the start
  return total * jnp.where(over, jnp.sqrt(limit / jnp.where(over, square, 1)), 1)


class NumberEmbedding(nn.Module):
  """Embeds a number: clamped to `low..high`, scaled to 0..1, learned Fourier features, linear.

  Stable Audio's number conditioner; NaN (unknown) embeds to zeros.
  """

  features: int
  low: float
  high: float

  @nn.compact
  def __call__(self, number: Float[Array, "B"]) -> Float[Array, "B E"]:
    known = ~jnp.isnan(number)
    x = (jnp.clip(jnp.where(known, number, self.low), self.low, self.high) - self.low) / (
      self.high - self.low
    )
    frequency = self.param("frequency", nn.initializers.normal(1.0), (128,))
    angle = 2 * jnp.pi * x[:, None] * frequency
    features = jnp.concatenate([x[:, None], jnp.sin(angle), jnp.cos(angle)], -1)
    return jnp.where(known[:, None], Dense(self.features, bias=True, name="out")(features), 0)


class TextEncoder(nn.Module):
  """Small bidirectional transformer over token ids, trained together with the DiT.

  The embedded default where no frozen T5 is at hand. Outputs [B, S, E], zero where padded.
  """

  vocabulary: int
  features: int
  depth: int
  heads: int
  dtype: DTypeLike = jnp.float32
  machine: Machine | None = None

  @nn.compact
  def __call__(self, tokens: Int[Array, "B S"], mask: Bool[Array, "B S"]) -> Float[Array, "B S E"]:
    x = nn.Embed(self.vocabulary, self.features, name="tokens")(tokens)
    rotary = rotary_table(tokens.shape[1], self.features // self.heads)
    for i in range(self.depth):
      attention = SelfAttention(self.heads, self.dtype, self.machine, name=f"attention_{i}")
      x = x + attention(LayerNorm(name=f"attention_norm_{i}")(x), rotary, mask)
      feed_forward = FeedForward(self.dtype, name=f"feed_forward_{i}")
      x = x + feed_forward(LayerNorm(name=f"feed_forward_norm_{i}")(x))
    return jnp.where(mask[..., None], LayerNorm(name="norm")(x), 0)
