"""The network of MusicGen and MusicGen-Stem: a causal transformer over columns of K codes.

A column is the sum of an embedding of each of its codes and of a sinusoid of its place, cosines
first. Blocks are pre-norm: attention to earlier columns, attention to the text, a GELU perceptron;
there are no biases but those of norms and of the text's projection. Each stream has a head of its
own. Which column holds what is the delay pattern (tokens/delay.py).

A text that is left out is all zeros, for which cross-attention adds exactly zero. In the public
models padding is zeros too, and takes part in the softmax, as they were trained in audiocraft; with
`masks_text` it does not, as Hugging Face's code has it.

To generate, a column goes in at a time, and the keys and values of those before come from a cache.
Then every weight is read once for one or two rows, and reading is all the time it takes, so that
`for_decoding` lays weights out for that.

Letters: B rows, K streams, N columns, V entries of a codebook, S text tokens, E text width, D model
width, H heads, W head width, C columns that there is room for in the cache.
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from stemphonic_jax.models.conditioning import TextEncoder
from stemphonic_jax.models.dit import REMAT
from stemphonic_jax.models.layers import Dense, attend, product
from stemphonic_jax.models.machine import Machine, here

EPSILON = 1e-5  # of norms
BASE = 10_000.0  # of positions
FEW = 4  # rows up to which a CPU reads the weights fastest row by row
BLOCK = 256  # rows of weights that stay in its cache meanwhile

# Keys and values: of some columns, of those before, or of the text.
Pair = tuple[Float[Array, "B N H W"], Float[Array, "B N H W"]]
Kept = tuple[Float[Array, "B H C W"], Float[Array, "B H C W"]]
Words = tuple[Float[Array, "B H S W"], Float[Array, "B H S W"]]
Memory = list[Words]  # of each block
Cache = list[Kept]


def sinusoid(first: Int[Array, ""] | int, count: int, width: int) -> Float[Array, "N D"]:
  """Places first, first + 1, …: cosines, then sines, of frequencies from 1 to 1/BASE."""
  half = width // 2
  frequency = BASE ** (-jnp.arange(half, dtype=jnp.float32) / (half - 1))
  angle = (first + jnp.arange(count, dtype=jnp.float32))[:, None] * frequency
  return jnp.concatenate([jnp.cos(angle), jnp.sin(angle)], -1)


def truncated_normal(key: Array, shape: tuple[int, ...], dtype: DTypeLike = jnp.float32) -> Array:
  """Of deviation 1/√inputs, cut off at three of them (audiocraft's initialisation)."""
  inputs = shape[-2]
  return jax.random.truncated_normal(key, -3, 3, shape, dtype) / math.sqrt(inputs)


def of_rows(key: Array, shape: tuple[int, ...], dtype: DTypeLike = jnp.float32) -> Array:
  """The same for a table, whose rows are what it gives."""
  return jax.random.truncated_normal(key, -3, 3, shape, dtype) / math.sqrt(shape[-1])


class Linear(nn.Module):
  """Linear map without bias; its parameter is `kernel` [I, O] or, for decoding, `rows` [O, I]."""

  features: int
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: Float[Array, "... I"]) -> Float[Array, "... O"]:
    if self.has_variable("params", "rows"):
      return _by_rows(x, self.get_variable("params", "rows"))
    kernel = self.param("kernel", truncated_normal, (x.shape[-1], self.features))
    return product(x, kernel, self.dtype)


def _by_rows(x: Float[Array, "... I"], rows: Float[Array, "O I"]) -> Float[Array, "... O"]:
  """The product for weights that lie the other way.

  On a CPU a product of several vectors packs the matrix first, which takes several times as long as
  reading it. One vector after the other, and in blocks that stay in the cache, it is read once.
  """
  flat = x.reshape(-1, x.shape[-1]).astype(rows.dtype)
  if len(flat) > FEW:
    over = (((1,), (1,)), ((), ()))
    y = jax.lax.dot_general(flat, rows, over, preferred_element_type=jnp.float32)
  else:
    blocks = rows.reshape(math.gcd(len(rows), len(rows) // BLOCK or 1), -1, x.shape[-1])
    over = (((1,), (2,)), ((0,), (0,)))
    y = jnp.stack(
      [
        jax.lax.dot_general(
          jnp.broadcast_to(vector, (len(blocks), x.shape[-1])),
          blocks,
          over,
          preferred_element_type=jnp.float32,
        ).reshape(-1)
        for vector in flat
      ]
    )
  return y.reshape(*x.shape[:-1], len(rows))


def for_decoding(
  params: Any, dtype: DTypeLike = jnp.float32, machine: Machine | None = None
) -> Any:
  """The parameters as decoding reads them: a tree for each block, weights in `dtype` already.

  On a CPU they are turned to rows as well. Parameters that are so already stay as they are.
  """
  if isinstance(params["blocks"], list | tuple):
    return params
  turned = (machine or here()).platform == "cpu"

  def prepared(tree: Any) -> Any:
    if not isinstance(tree, dict):
      return tree
    if set(tree) == {"kernel"}:
      kernel = tree["kernel"].astype(dtype)
      return {"rows": kernel.T} if turned else {"kernel": kernel}
    return {name: prepared(part) for name, part in tree.items()}

  depth = len(jax.tree.leaves(params["blocks"])[0])
  blocks = [
    prepared(jax.tree.map(lambda leaf, i=i: leaf[i], params["blocks"])) for i in range(depth)
  ]
  return params | {"out_projection": prepared(params["out_projection"]), "blocks": blocks}


def look(
  query: Float[Array, "B 1 H W"],
  keys: Float[Array, "B H C W"],
  values: Float[Array, "B H C W"],
  mask: Bool[Array, "#B C"] | None,
) -> Float[Array, "B 1 D"]:
  """Attention of one query, heads side by side; products in the type of the keys.

  Keys of a head lie together, so that a CPU reads them at the speed of its memory: 20 times as fast
  as with heads side by side.
  """
  B, _, H, W = query.shape
  q = (query * W**-0.5).astype(keys.dtype).reshape(B, H, W)
  logits = jnp.einsum("bhw,bhcw->bhc", q, keys, preferred_element_type=jnp.float32)
  if mask is not None:
    logits = jnp.where(mask[:, None], logits, jnp.finfo(jnp.float32).min)
  weights = jax.nn.softmax(logits).astype(values.dtype)
  y = jnp.einsum("bhc,bhcw->bhw", weights, values, preferred_element_type=jnp.float32)
  return y.reshape(B, 1, H * W)


class Block(nn.Module):
  """Attention to earlier columns, to the text, and a perceptron, each on normed inputs."""

  width: int
  heads: int
  hidden: int
  dtype: DTypeLike = jnp.float32
  machine: Machine | None = None

  def setup(self):
    self.self_norm, self.cross_norm, self.feed_norm = (
      nn.LayerNorm(EPSILON, use_fast_variance=False) for _ in range(3)
    )
    self.qkv = Linear(3 * self.width, self.dtype)
    self.self_out = Linear(self.width, self.dtype)
    self.query = Linear(self.width, self.dtype)
    self.key_value = Linear(2 * self.width, self.dtype)
    self.cross_out = Linear(self.width, self.dtype)
    self.feed_in = Linear(self.hidden, self.dtype)
    self.feed_out = Linear(self.width, self.dtype)

  def _heads(self, x: Float[Array, "B N D"], parts: int) -> list[Float[Array, "B N H W"]]:
    return [y.reshape(*x.shape[:2], self.heads, -1) for y in jnp.split(x, parts, -1)]

  def memory(self, text: Float[Array, "B S D"]) -> Pair:
    """Keys and values of the text, which no column changes."""
    return tuple(self._heads(self.key_value(text), 2))

  def read(
    self, x: Float[Array, "B N D"], text: Float[Array, "B S D"], mask: Bool[Array, "B S"] | None
  ) -> tuple[Float[Array, "B N D"], Pair]:
    """Columns from the first on, all at once, and their keys and values."""
    q, k, v = self._heads(self.qkv(self.self_norm(x)), 3)
    y = attend(q, k, v, self.dtype, machine=self.machine, causal=True)
    x = x + self.self_out(y)
    (q,), words = self._heads(self.query(self.cross_norm(x)), 1), self.memory(text)
    y = attend(q, *words, self.dtype, mask, self.machine)
    return self._feed(x + self.cross_out(y)), (k, v)

  def step(
    self,
    x: Float[Array, "B 1 D"],
    place: Int[Array, ""] | int,
    kept: Kept,
    words: Words,
    mask: Bool[Array, "B S"] | None,
  ) -> tuple[Float[Array, "B 1 D"], Kept]:
    """The column at `place`, which from then on is kept as well."""
    q, k, v = self._heads(self.qkv(self.self_norm(x)), 3)
    keys, values = (
      jax.lax.dynamic_update_slice_in_dim(
        before, jnp.moveaxis(new, 1, 2).astype(before.dtype), place, 2
      )
      for before, new in zip(kept, (k, v), strict=True)
    )
    x = x + self.self_out(look(q, keys, values, jnp.arange(keys.shape[2])[None] <= place))
    (q,) = self._heads(self.query(self.cross_norm(x)), 1)
    return self._feed(x + self.cross_out(look(q, *words, mask))), (keys, values)

  def _feed(self, x: Float[Array, "B N D"]) -> Float[Array, "B N D"]:
    hidden = nn.gelu(self.feed_in(self.feed_norm(x)), approximate=False)
    return x + self.feed_out(hidden)

  def touch(self, x: Float[Array, "B N D"]) -> None:
    """Visits every parameter, so that one init call makes them all."""
    self.read(x, x, None)


class MusicGen(nn.Module):
  """Logits [B, N, K, V] of what follows each column of codes, under a text.

  Entry V of each stream's table is the special one, of places without a code. With a `text_encoder`
  the text comes as token ids and is learned along; without one as embeddings [B, S, E] of a frozen
  encoder such as T5. It is made for this machine, or for the one that `machine` tells of.
  """

  streams: int
  vocabulary: int
  width: int
  depth: int
  heads: int
  text_width: int
  hidden: int = 0  # of the perceptron; 0 is four times the width
  masks_text: bool = False
  text_encoder: TextEncoder | None = None
  dtype: DTypeLike = jnp.float32
  remat: str = "none"
  machine: Machine | None = None

  def setup(self):
    table = (self.streams, self.vocabulary + 1, self.width)
    self.embedding = self.param("embedding", of_rows, table)
    self.text_projection = Dense(self.width, bias=True, dtype=self.dtype)
    self.out_norm = nn.LayerNorm(EPSILON, use_fast_variance=False)
    self.out_projection = Linear(self.streams * self.vocabulary, self.dtype)
    fresh = self.is_initializing()
    self.blocks = (
      self.param("blocks", self._init_blocks) if fresh else self.get_variable("params", "blocks")
    )

  @property
  def special(self) -> int:
    """The code of places that hold none."""
    return self.vocabulary

  @property
  def _block(self) -> Block:
    hidden = self.hidden or 4 * self.width
    return Block(self.width, self.heads, hidden, self.dtype, self.machine, parent=None)

  def _init_blocks(self, key: Array) -> dict:
    """Parameters on a leading `depth` axis; kernels of block n, from 1 on, by 1/√(2n) smaller."""
    init = functools.partial(self._block.init, method=Block.touch)
    x = jnp.zeros((1, 1, self.width))
    fresh = jax.vmap(lambda k: init(k, x)["params"])(jax.random.split(key, self.depth))
    less = jax.lax.rsqrt(2.0 + 2 * jnp.arange(self.depth))[:, None, None]

    def scaled(path: tuple, leaf: Array) -> Array:
      return leaf * less if path[-1].key == "kernel" else leaf

    return jax.tree_util.tree_map_with_path(scaled, fresh)

  def _layers(self) -> list[Any]:
    """The parameters of each block."""
    if isinstance(self.blocks, list | tuple):
      return list(self.blocks)
    return [jax.tree.map(lambda leaf, i=i: leaf[i], self.blocks) for i in range(self.depth)]

  def listen(
    self, text: Int[Array, "B S"] | Float[Array, "B S E"], mask: Bool[Array, "B S"]
  ) -> Float[Array, "B S D"]:
    """The text as blocks attend to it, zeros where `mask` is False."""
    if self.text_encoder is not None:
      text = self.text_encoder(text, mask)
    return jnp.where(mask[..., None], self.text_projection(text), 0)

  def memory(self, text: Float[Array, "B S D"]) -> Memory:
    """Keys and values in each block of a text that was listened to, made once."""
    method = Block.memory
    pairs = (self._block.apply({"params": p}, text, method=method) for p in self._layers())
    return [tuple(jnp.moveaxis(part, 1, 2).astype(self.dtype) for part in pair) for pair in pairs]

  def _embed(
    self, codes: Int[Array, "B K N"], first: Int[Array, ""] | int
  ) -> Float[Array, "B N D"]:
    found = sum(jnp.take(self.embedding[k], codes[:, k], 0) for k in range(self.streams))
    return found + sinusoid(first, codes.shape[2], self.width)

  def _logits(self, x: Float[Array, "B N D"]) -> Float[Array, "B N K V"]:
    return self.out_projection(self.out_norm(x)).reshape(*x.shape[:2], self.streams, -1)

  def _mask(self, mask: Bool[Array, "B S"]) -> Bool[Array, "B S"] | None:
    return mask if self.masks_text else None

  def __call__(
    self,
    codes: Int[Array, "B K N"],
    text: Int[Array, "B S"] | Float[Array, "B S E"],
    mask: Bool[Array, "B S"],
  ) -> Float[Array, "B N K V"]:
    """Logits of all columns at once, as in training."""
    text, seen = self.listen(text, mask), self._mask(mask)

    def apply_block(x: Array, layer: Any) -> tuple[Array, None]:
      return self._block.apply({"params": layer}, x, text, seen, method=Block.read)[0], None

    x, body = self._embed(codes, 0), REMAT[self.remat](apply_block)
    if isinstance(self.blocks, list | tuple):
      for layer in self.blocks:
        x, _ = body(x, layer)
    else:
      x, _ = jax.lax.scan(body, x, self.blocks)
    return self._logits(x)

  def begin(
    self, codes: Int[Array, "B K N"], text: Float[Array, "B S D"], mask: Bool[Array, "B S"]
  ) -> tuple[Float[Array, "B N K V"], Cache]:
    """Logits of the first columns, under a text that was listened to, and a cache of them."""
    x, cache = self._embed(codes, 0), []
    for layer in self._layers():
      x, pair = self._block.apply({"params": layer}, x, text, self._mask(mask), method=Block.read)
      cache.append(tuple(jnp.moveaxis(part, 1, 2).astype(self.dtype) for part in pair))
    return self._logits(x), cache

  def step(
    self,
    codes: Int[Array, "B K"],
    place: Int[Array, ""] | int,
    cache: Cache,
    memory: Memory,
    mask: Bool[Array, "B S"],
  ) -> tuple[Float[Array, "B K V"], Cache]:
    """Logits of the column at `place`, which the cache has room for, and the cache with it."""
    x, after = self._embed(codes[..., None], place), []
    for layer, words, kept in zip(self._layers(), memory, cache, strict=True):
      x, kept = self._block.apply(
        {"params": layer}, x, place, kept, words, self._mask(mask), method=Block.step
      )
      after.append(kept)
    return self._logits(x)[:, 0], after


def empty(model: MusicGen, rows: int, room: int) -> Cache:
  """A cache of no columns, with room for some."""
  shape = (rows, model.heads, room, model.width // model.heads)
  return [(jnp.zeros(shape, model.dtype), jnp.zeros(shape, model.dtype))] * model.depth


def grow(cache: Any, room: int) -> Any:
  """The same cache with room for so many columns."""
  return jax.tree.map(
    lambda kept: jnp.pad(kept, ((0, 0), (0, 0), (0, room - kept.shape[2]), (0, 0))), cache
  )
