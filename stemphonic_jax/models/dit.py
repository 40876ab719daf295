"""The velocity network: a diffusion transformer on the Stable Audio Open template.

Dimension key, used in signatures and einsums all over the project:

    B rows (stems)   T latent frames   C latent channels   S text tokens   E text width
    D model width    H heads           K head width        L groups
    M memory width   G memory heads

One row is one stem. It enters as [noised latents | sub-mix latents | activity embedding] on the
channel axis (64 + 64 + 16 = 144, Sec. 3.1 and 3.3). Timestep and tempo form one token that is
prepended to the frames and cut off at the end; text and tempo are attended to by cross-attention.
Nothing in the paper's network mixes rows: synchrony comes from the noise the rows share. In an
ensemble, which is not the paper's, stems hear each other (stems.py).
"""

import functools
from collections.abc import Sequence
from typing import Any, TypeVar

import flax
import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from stemphonic_jax.models.conditioning import (
  Conditions,
  NumberEmbedding,
  TextEncoder,
  sum_of_words,
)
from stemphonic_jax.models.layers import (
  PRODUCT,
  Dense,
  FeedForward,
  LayerNorm,
  Projection,
  SelfAttention,
  attend,
  rotary_table,
)
from stemphonic_jax.models.machine import Machine, dtype_here
from stemphonic_jax.models.prediction import velocity_of_v
from stemphonic_jax.models.stems import StemAttention

BPM_RANGE = (20.0, 400.0)

SECONDS_RANGE = (0.0, 512.0)  # Stable Audio's

Network = TypeVar("Network", bound=nn.Module)

# What the backward pass finds of a block, by name: everything; only what went into the block, the
# rest being computed again; or that and the results of its linear maps, so that attention, norms
# and activation functions alone are computed again. The lower, the less memory; "blocks" costs a
# third more arithmetic, "products" next to none.
REMAT = {
  "none": lambda block: block,
  "products": functools.partial(
    jax.checkpoint, policy=jax.checkpoint_policies.save_only_these_names(PRODUCT)
  ),
  "blocks": jax.checkpoint,
}

Memory = tuple[Float[Array, "*depth B S G K"], Float[Array, "*depth B S G K"]]
Rotary = tuple[Float[Array, "*B T R"], Float[Array, "*B T R"]]


class CrossAttention(nn.Module):
  """Attention of the frames to the text; keys and values come from `memory`, made once.

  With fewer `memory_heads` than `heads`, neighbouring queries share keys and values (grouped-query
  attention).
  """

  width: int
  heads: int
  memory_heads: int
  dtype: DTypeLike = jnp.float32
  machine: Machine | None = None

  def setup(self):
    self.query = Dense(self.width, dtype=self.dtype)
    memory_width = 2 * self.width // self.heads * self.memory_heads
    self.key_value = Dense(memory_width, parts=2, dtype=self.dtype)
    self.out = Dense(self.width, zero=True, dtype=self.dtype)

  def memory(self, text: Float[Array, "B S M"]) -> Memory:
    """Keys and values of the text, which no step of a generation changes."""
    B, S, _ = text.shape
    keys, values = self.key_value(text)
    return keys.reshape(B, S, self.memory_heads, -1), values.reshape(B, S, self.memory_heads, -1)

  def __call__(self, x: Float[Array, "B T D"], memory: Memory) -> Float[Array, "B T D"]:
    query = self.query(x).reshape(*x.shape[:2], self.heads, -1)
    return self.out(attend(query, *memory, self.dtype, machine=self.machine))


class Block(nn.Module):
  """Pre-norm transformer block: self-attention, cross-attention, SwiGLU.

  In an `ensemble` attention between the stems of a group follows self-attention, in blocks of
  `rows`.

  A `modulated` one also scales and shifts what self-attention and SwiGLU read, and scales what they
  add, by linear maps of one vector for all frames (adaLN of DiT, Peebles and Xie 2023). The maps
  start at zero, where the block is as it would be without.
  """

  width: int
  heads: int
  memory_heads: int
  dtype: DTypeLike = jnp.float32
  modulated: bool = False
  ensemble: bool = False
  rows: int = 0
  machine: Machine | None = None

  def setup(self):
    self.self_norm, self.cross_norm, self.feed_norm = LayerNorm(), LayerNorm(), LayerNorm()
    self.self_attention = SelfAttention(self.heads, self.dtype, self.machine)
    self.cross_attention = CrossAttention(
      self.width, self.heads, self.memory_heads, self.dtype, self.machine
    )
    self.feed_forward = FeedForward(self.dtype)
    if self.ensemble:
      self.stem_norm = LayerNorm()
      self.stem_attention = StemAttention(self.heads, self.rows, self.dtype)
    if self.modulated:
      self.modulation = Dense(6 * self.width, parts=6, bias=True, zero=True, dtype=self.dtype)

  def memory(self, text: Float[Array, "B S M"]) -> Memory:
    """Keys and values of this block's cross-attention."""
    return self.cross_attention.memory(text)

  def __call__(
    self,
    x: Float[Array, "B T D"],
    memory: Memory,
    rotary: Rotary,
    signal: Float[Array, "B D"],
    group: Int[Array, "B"] | None = None,
  ) -> Float[Array, "B T D"]:
    scales, shifts = self._modulate(signal)
    x = x + scales[1] * self.self_attention(scales[0] * self.self_norm(x) + shifts[0], rotary)
    if self.ensemble:
      x = x + self.stem_attention(self.stem_norm(x), group)
    x = x + self.cross_attention(self.cross_norm(x), memory)
    return x + scales[3] * self.feed_forward(scales[2] * self.feed_norm(x) + shifts[1])

  def _modulate(self, signal: Float[Array, "B D"]) -> tuple[Sequence[Any], Sequence[Any]]:
    """Factors before and after self-attention and SwiGLU, and what is added before each."""
    if not self.modulated:
      return (1, 1, 1, 1), (0, 0)
    parts = [part[:, None] for part in self.modulation(signal)]
    return [1 + part for part in parts[:4]], parts[4:]

  def touch(self, x: Float[Array, "B T D"], text: Float[Array, "B S M"]) -> None:
    """Visits every parameter, so that one init call makes them all."""
    rotary = rotary_table(x.shape[1], self.width // self.heads)
    self(x, self.memory(text), rotary, x[:, 0], jnp.arange(len(x)))


def for_sampling(params: Any, dtype: DTypeLike) -> Any:
  """The parameters as a generation reads them: a tree for each block, kernels in `dtype` already.

  A scan copies the weights of each block out of the stack, and casts them, at every step: about a
  fifth of the time of one row on a CPU. In exchange every block is compiled by itself.
  """

  def cast(path: tuple, leaf: Array) -> Array:
    return leaf.astype(dtype) if path[-1].key == "kernel" else leaf

  blocks = params["blocks"]
  depth = len(jax.tree.leaves(blocks)[0])
  rows = [
    jax.tree_util.tree_map_with_path(lambda path, leaf, i=i: cast(path, leaf[i]), blocks)
    for i in range(depth)
  ]
  return params | {"blocks": rows}


def for_this_machine(network: Network) -> Network:
  """The network with its products in the type that this machine is fast in (`dtype_here`).

  It may be any with a dtype, and so may be its text encoder where it has one.
  """
  changes = {"dtype": dtype_here(network.dtype)}
  if encoder := getattr(network, "text_encoder", None):
    changes["text_encoder"] = encoder.clone(dtype=dtype_here(encoder.dtype))
  return network.clone(**changes)


def for_machine(dit: "DiT", machine: Machine) -> "DiT":
  """The network in the form that is compiled for another machine than this one."""
  encoder = dit.text_encoder and dit.text_encoder.clone(machine=machine)
  return dit.clone(machine=machine, text_encoder=encoder)


@flax.struct.dataclass
class Prepared:
  """Conditions after embedding: all that stays the same from step to step."""

  frames: Float[Array, "B T A"]  # sub-mix latents and activity embedding
  token: Float[Array, "B D"]  # tempo, timing and, for modulation, text; part of the prepended token
  memory: Memory  # cross-attention keys and values, [depth, B, S, G, K] each
  beats: Float[Array, "B"] | None  # from one frame to the next, 0 where the tempo is not known
  group: Int[Array, "B"]  # rows of an equal one hear each other, in an ensemble
  known: Bool[Array, "B T"] | None  # frames whose latents are given
  clean: Float[Array, "B T C"] | None  # and those


class DiT(nn.Module):
  """Velocity v(x(t), t, conditions) of B stems, each a row.

  Call it whole for training; for sampling call `prepare` once and `velocity` at every step.
  With a `text_encoder` the text comes as token ids and is learned along; without one it comes as
  embeddings [B, S, E] of a frozen encoder such as T5.

  What a model imported from Stable Audio Open has besides: a text of its own width M and fewer
  heads for it (`memory_width`, `memory_heads`; 0 is as many as the frames have); `timing`, the
  seconds at which the frames start and the piece ends; and a `prediction` of "v" (prediction.py).

  With `modulation`, which the paper does not have, the prepended token also modulates the blocks,
  and the mean of the text is part of it: what all frames share need not be attended to. Of a text
  that is learned along, so is a vector for each word, because a mean hides what one word decides,
  such as a key; they count together for `most_words` at most (0: MOST_WORDS, `sum_of_words`).

  It is made for this machine, or for the one that `machine` tells of (`for_machine`).

  In an `ensemble`, which is not the paper's either, rows of one group hear each other, in blocks of
  `rows` (0: all rows are one), and latents of frames that are `known` are given: a stem that is
  there is a row that is wholly known, a repair is one with a hole. One more input channel says
  which frames those are.

  With a `frame_rate`, in latent frames per second, attention knows besides positions in frames how
  many beats lie between them (`rotary_table`), which is not the paper's either.
  """

  channels: int
  width: int
  depth: int
  heads: int
  text_width: int
  activity_channels: int = 16
  text_encoder: TextEncoder | None = None
  memory_width: int = 0
  memory_heads: int = 0
  timing: bool = False
  prediction: str = "velocity"
  modulation: bool = False
  most_words: float = 0.0
  frame_rate: float = 0.0
  ensemble: bool = False
  rows: int = 0
  dtype: DTypeLike = jnp.float32
  remat: str = "none"
  machine: Machine | None = None

  def setup(self):
    if self.remat not in REMAT:
      raise ValueError(f"remat: got {self.remat!r}, expected one of {', '.join(REMAT)}")
    inputs = 2 * self.channels + self.activity_channels + self.ensemble
    self.tempo_embedding = NumberEmbedding(self.text_width, *BPM_RANGE)
    self.tempo_projection = Projection(self.width)
    self.text_projection = Projection(self.memory_width or self.width, self.dtype)
    if self.modulation:
      self.mean_projection = Projection(self.width)
      if self.text_encoder is not None:
        zeros = nn.initializers.zeros
        self.words = nn.Embed(self.text_encoder.vocabulary, self.width, embedding_init=zeros)
    if self.timing:
      self.start_embedding = NumberEmbedding(self.text_width, *SECONDS_RANGE)
      self.total_embedding = NumberEmbedding(self.text_width, *SECONDS_RANGE)
      self.timing_projection = Projection(self.width)
    self.activity_embedding = nn.Embed(3, self.activity_channels)
    self.time_frequency = self.param("time_frequency", nn.initializers.normal(1.0), (128,))
    self.time_hidden = Dense(self.width, bias=True)
    self.time_out = Dense(self.width, bias=True)
    self.in_residual = Dense(inputs, zero=True, dtype=self.dtype)
    self.in_projection = Dense(self.width, dtype=self.dtype)
    self.out_projection = Dense(self.channels, dtype=self.dtype)
    self.out_residual = Dense(self.channels, zero=True, dtype=self.dtype)
    # Read without comparison of shapes: the blocks of a trained model may hold adapters (lora.py).
    fresh = self.is_initializing()
    self.blocks = (
      self.param("blocks", self._init_blocks) if fresh else self.get_variable("params", "blocks")
    )

  @property
  def _block(self) -> Block:
    memory_heads = self.memory_heads or self.heads
    return Block(
      self.width,
      self.heads,
      memory_heads,
      self.dtype,
      self.modulation,
      self.ensemble,
      self.rows,
      self.machine,
      parent=None,
    )

  def _init_blocks(self, key: Array) -> dict:
    """One Block, initialised under vmap: its parameters stacked on a leading `depth` axis."""
    row, text = (jnp.zeros((1, 1, n)) for n in (self.width, self.memory_width or self.width))
    init = functools.partial(self._block.init, method=Block.touch)
    return jax.vmap(lambda k: init(k, row, text)["params"])(jax.random.split(key, self.depth))

  def prepare(self, conditions: Conditions) -> Prepared:
    """Embeds the conditions; the text's keys and values of every block are made here, once."""
    text, given = conditions.text, conditions.text_mask[..., None]
    if self.text_encoder is not None:
      text = self.text_encoder(text, conditions.text_mask)
    text = jnp.where(given, text, 0)
    tempo = self.tempo_embedding(conditions.bpm)
    token = self.tempo_projection(tempo)
    if self.modulation:
      count = jnp.maximum(given.sum(1), 1)
      token = token + self.mean_projection(text.sum(1, dtype=jnp.float32) / count)
      if self.text_encoder is not None:
        words = conditions.text, conditions.text_mask, self.words.embedding
        token = token + sum_of_words(*words, self.most_words)
    if self.timing:
      embeddings = (self.start_embedding, self.total_embedding)
      seconds = [embed(x) for embed, x in zip(embeddings, conditions.seconds.T, strict=True)]
      token = token + self.timing_projection(jnp.concatenate(seconds, -1))
      # Tempo is no token of its own here: one more would change what an imported model attends to.
      numbers = jnp.where(given.any(1, keepdims=True), jnp.stack(seconds, 1), 0)
    else:
      numbers = tempo[:, None]
    text = self.text_projection(jnp.concatenate([text, numbers], 1))

    def block_memory(params: Any) -> Memory:
      return self._block.apply({"params": params}, text, method=Block.memory)

    if not isinstance(self.blocks, list | tuple):
      memory = jax.lax.map(block_memory, self.blocks)
    else:
      memory = jax.tree.map(lambda *m: jnp.stack(m), *map(block_memory, self.blocks))
    frames = [conditions.context, self.activity_embedding(conditions.activity)]
    group, known, clean = conditions.group, None, None
    if self.ensemble:
      known, clean = conditions.known, conditions.clean
      if known is None:
        known = jnp.zeros(conditions.activity.shape, bool)
        clean = jnp.zeros_like(conditions.context)
      frames.append(known[..., None].astype(jnp.float32))
    return Prepared(
      frames=jnp.concatenate(frames, -1),
      token=token,
      memory=memory,
      beats=jnp.nan_to_num(conditions.bpm) / 60 / self.frame_rate if self.frame_rate else None,
      group=jnp.arange(len(token)) if group is None else group,
      known=known,
      clean=clean,
    )

  def velocity(
    self, x: Float[Array, "B T C"], t: Float[Array, "B"], prepared: Prepared
  ) -> Float[Array, "B T C"]:
    """Velocity at x(t) under prepared conditions."""
    network = functools.partial(self._network, prepared)
    return velocity_of_v(network, x, t) if self.prediction == "v" else network(x, t)

  def _network(
    self, prepared: Prepared, x: Float[Array, "B T C"], t: Float[Array, "B"]
  ) -> Float[Array, "B T C"]:
    angle = 2 * jnp.pi * t[:, None] * self.time_frequency
    time = jnp.concatenate([jnp.cos(angle), jnp.sin(angle)], -1)
    token = self.time_out(nn.silu(self.time_hidden(time))) + prepared.token

    if self.ensemble:
      x = jnp.where(prepared.known[..., None], prepared.clean, x)
    h = jnp.concatenate([x, prepared.frames], -1)
    h = self.in_projection(h + self.in_residual(h))
    h = jnp.concatenate([token[:, None], h], 1)
    rotary = rotary_table(h.shape[1], self.width // self.heads, prepared.beats)
    signal = nn.silu(token)

    def apply_block(h, scanned):
      params, memory = scanned
      return self._block.apply({"params": params}, h, memory, rotary, signal, prepared.group), None

    body = REMAT[self.remat](apply_block)
    if not isinstance(self.blocks, list | tuple):
      h, _ = jax.lax.scan(body, h, (self.blocks, prepared.memory))
    else:
      for i, params in enumerate(self.blocks):
        h, _ = body(h, (params, jax.tree.map(lambda m, i=i: m[i], prepared.memory)))
    v = self.out_projection(h[:, 1:])
    return v + self.out_residual(v)

  def __call__(
    self, x: Float[Array, "B T C"], t: Float[Array, "B"], conditions: Conditions
  ) -> Float[Array, "B T C"]:
    """Velocity of noised latents x at times t under raw conditions."""
    return self.velocity(x, t, self.prepare(conditions))
