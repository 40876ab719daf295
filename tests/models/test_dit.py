"""The velocity network: rows never meet, every condition reaches it, it follows the template."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from stemphonic_jax.errors import UsageError
from stemphonic_jax.models.conditioning import (
  NOT_GIVEN,
  Conditions,
  TextEncoder,
  null_conditions,
)
from stemphonic_jax.models.dit import REMAT, Block, DiT, for_sampling, for_this_machine
from stemphonic_jax.models.layers import rotary_table
from stemphonic_jax.weights.architecture import build_dit
from tests import tiny

KEY = jax.random.key(2)
B, T, C, S = 5, 12, 8, 6
DIT = DiT(
  channels=C, width=32, depth=3, heads=2, text_width=16, text_encoder=TextEncoder(11, 16, 1, 2)
)


def conditions() -> Conditions:
  keys = jax.random.split(KEY, 3)
  return Conditions(
    text=jax.random.randint(keys[0], (B, S), 1, 11),
    text_mask=jnp.arange(S) < jnp.array([6, 4, 3, 5, 1])[:, None],
    bpm=jnp.array([60.0, 90.0, 120.0, 150.0, jnp.nan]),
    context=jax.random.normal(keys[1], (B, T, C)),
    activity=jax.random.randint(keys[2], (B, T), 0, 2, jnp.int8),
  )


X = jax.random.normal(jax.random.fold_in(KEY, 9), (B, T, C))
TIME = jnp.array([0.1, 0.3, 0.5, 0.7, 0.9])


@functools.cache
def params(dit: DiT = DIT):
  """Parameters away from their zero initialisation, so that every path carries something."""
  shapes = jax.eval_shape(dit.init, KEY, X, TIME, conditions())
  return _moved(tiny.random_params(shapes))


def _moved(tree):
  """The tree, every leaf of it with noise of its own; factors, which multiply up, of noise alone.

  Drawn by numpy: nothing compiles.
  """
  rng, leaves = np.random.default_rng(2), traverse_util.flatten_dict(tree)
  for name, leaf in leaves.items():
    noise = rng.standard_normal(leaf.shape, np.float32)
    leaves[name] = jnp.asarray(0.05 * noise if "modulation" in name else leaf + 0.2 * noise)
  return traverse_util.unflatten_dict(leaves)


def velocity(x=X, t=TIME, given=None, dit=DIT):
  return np.asarray(_apply(dit, params(dit), x, t, conditions() if given is None else given))


@functools.partial(jax.jit, static_argnums=0, static_argnames="method")
def _apply(dit, *args, method=None):
  return dit.apply(*args, method=method)


def _prepare(dit, variables, given):
  return _apply(dit, variables, given, method="prepare")


COUNTING = DIT.clone(heads=1, frame_rate=4.0)
each = pytest.mark.parametrize(
  "dit", [DIT, DIT.clone(modulation=True), COUNTING], ids=["plain", "modulated", "beats"]
)


def assert_close(got, expected):
  """To the rounding of sums in another order: velocities of these parameters are around 30."""
  np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def rows(tree, index):
  return jax.tree.map(lambda a: a[index], tree)


@each
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_a_stem_does_not_depend_on_the_other_stems(count, dit):
  some = velocity(X[:count], TIME[:count], rows(conditions(), slice(count)), dit)
  assert_close(some, velocity(dit=dit)[:count])


@each
def test_permuted_stems_give_permuted_velocities(dit):
  order = jnp.array([3, 0, 4, 1, 2])
  moved = velocity(X[order], TIME[order], rows(conditions(), order), dit)
  assert_close(moved, velocity(dit=dit)[order])


@each
@pytest.mark.parametrize(
  ("field", "value"),
  [
    ("text", lambda c: c.text.at[:, 0].set(5 - c.text[:, 0] % 5 + c.text[:, 0])),
    ("text_mask", lambda c: c.text_mask.at[:, 0].set(False)),
    ("bpm", lambda c: jnp.where(jnp.isnan(c.bpm), 100.0, c.bpm + 10)),
    ("context", lambda c: c.context + 1),
    ("activity", lambda c: 1 - c.activity),
    ("activity", lambda c: jnp.full_like(c.activity, NOT_GIVEN)),
  ],
)
def test_every_condition_changes_the_velocity_of_every_row(field, value, dit):
  c = conditions()
  given = c.replace(**{field: (value(c) % 11 if field == "text" else value(c)).astype(
    getattr(c, field).dtype)})  # fmt: skip
  difference = np.abs(velocity(given=given, dit=dit) - velocity(dit=dit)).max((1, 2))
  assert (difference > 1e-3).all()


def test_from_scratch_is_a_context_of_zeros():
  c = conditions()
  null = null_conditions(c)
  np.testing.assert_array_equal(null.context, jnp.zeros_like(c.context))


@each
def test_nulls_give_one_velocity_whatever_was_given(dit):
  c = conditions()
  other = c.replace(text=(c.text + 1) % 11, context=2 * c.context, bpm=c.bpm + 7)
  a, b = (velocity(given=null_conditions(given), dit=dit) for given in (c, other))
  np.testing.assert_array_equal(a, b)


def test_activity_acts_frame_by_frame():
  """Before attention mixes frames, a lane touches its own frames only."""
  c = conditions()
  lane = c.replace(activity=c.activity.at[:, 4].set(1 - c.activity[:, 4]))
  prepare = functools.partial(_prepare, DIT, params())
  changed = np.asarray(prepare(lane).frames != prepare(c).frames).any(2)
  np.testing.assert_array_equal(changed, np.tile(np.arange(T) == 4, (B, 1)))


def test_time_and_latents_enter():
  assert not np.allclose(velocity(t=TIME[::-1]), velocity(), atol=1e-3)
  assert not np.allclose(velocity(x=X + 1), velocity(), atol=1e-3)


@each
def test_prepared_once_equals_called_whole(dit):
  prepared = _prepare(dit, params(dit), conditions())
  stepped = _apply(dit, params(dit), X, TIME, prepared, method="velocity")
  assert_close(stepped, velocity(dit=dit))


def test_a_modulation_of_zero_is_none():
  plain, modulated = Block(32, 2, 2), Block(32, 2, 2, modulated=True)
  x = jax.random.normal(KEY, (B, T, 32))
  fresh = jax.jit(functools.partial(modulated.init, method="touch"))(KEY, x, x[:, :S])
  moved = {name: _moved(part) for name, part in fresh["params"].items() if name != "modulation"}
  memory = plain.apply({"params": moved}, x[:, :S], method="memory")
  inputs = (x, memory, rotary_table(T, 16), x[:, 0])
  expected = plain.apply({"params": moved}, *inputs)
  whole = {**moved, "modulation": fresh["params"]["modulation"]}
  np.testing.assert_allclose(modulated.apply({"params": whole}, *inputs), expected, rtol=1e-6)
  assert not np.allclose(modulated.apply({"params": _moved(whole)}, *inputs), expected, atol=1e-2)


def test_each_word_adds_a_vector_of_its_own_to_the_token():
  """In any order, once however often it is there, undiluted by others; padding adds nothing."""
  dit = DIT.clone(modulation=True)
  moved = dict(params(dit)["params"])
  moved["mean_projection"] = jax.tree.map(jnp.zeros_like, moved["mean_projection"])
  given = conditions().replace(
    text=jnp.array([[1, 2, 3], [3, 1, 0], [4, 1, 4], [1, 0, 0], [1, 9, 9]]),
    text_mask=jnp.arange(3) < jnp.array([3, 2, 3, 1, 1])[:, None],
    bpm=jnp.full(B, 90.0),
  )
  token = _prepare(dit, {"params": moved}, given).token
  vectors = moved["words"]["embedding"]
  np.testing.assert_allclose(token[0] - token[1], vectors[2], atol=1e-5)
  np.testing.assert_allclose(token[2] - token[3], vectors[4], atol=1e-5)
  np.testing.assert_array_equal(token[3], token[4])


def test_the_tempo_says_how_many_beats_lie_between_frames():
  """Told to attention alone, without the embeddings of the tempo."""
  variables, c = params(COUNTING), conditions()
  prepared = _prepare(COUNTING, variables, c)
  np.testing.assert_allclose(prepared.beats, [60 / 240, 90 / 240, 120 / 240, 150 / 240, 0], 1e-6)
  slower = prepared.replace(beats=prepared.beats / 2)
  run = functools.partial(_apply, COUNTING, variables, X, TIME, method="velocity")
  moved = np.abs(run(slower) - run(prepared)).max((1, 2))
  assert (moved[:-1] > 1e-3).all()
  assert moved[-1] == 0


@each
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_parameters_for_sampling_give_the_same_velocity(dtype, dit):
  variables = params(dit)
  dit = dit.clone(dtype=dtype)
  laid_out = for_sampling(variables["params"], dtype)
  assert laid_out["blocks"][0]["feed_forward"]["in"]["kernel"].dtype == dtype
  whole, blocks = (
    _apply(dit, given, X, TIME, conditions()) for given in (variables, {"params": laid_out})
  )
  error = jnp.linalg.norm(whole - blocks) / jnp.linalg.norm(whole)
  assert error < (1e-5 if dtype == jnp.float32 else 2e-2)


@pytest.mark.parametrize("remat", ["products", "blocks"])
def test_rematerialised_gradients_are_the_same(remat):
  plain, again = gradient("none"), gradient(remat)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), plain, again)


@functools.cache
def gradient(remat):
  dit = DIT.clone(remat=remat)
  loss = lambda p: jnp.mean(jnp.square(dit.apply(p, X, TIME, conditions())))  # noqa: E731
  return jax.jit(jax.grad(loss))(params())


def test_rematerialisation_keeps_what_its_name_says():
  def kept(remat):
    """Widths of what all blocks keep of each frame for the backward pass."""
    network = functools.partial(DIT.clone(remat=remat).apply, x=X, t=TIME, conditions=conditions())
    # A function that pulls gradients back is a tree, whose leaves are what it keeps.
    leaves = jax.tree.leaves(jax.eval_shape(lambda p: jax.vjp(network, p)[1], params()))
    widths = [leaf.shape[3:] for leaf in leaves if leaf.shape[:3] == (DIT.depth, B, T + 1)]
    return sorted(width for (width,) in widths)

  # What went in; and results of the two attentions, of the queries, of qkv and of SwiGLU's halves.
  assert kept("blocks") == [32]
  assert kept("products") == [32, 32, 32, 32, 96, 256]
  assert len(kept("none")) > 6


def test_models_from_before_there_was_a_choice_of_it_go_on_loading():
  def built(**remat):
    return build_dit(tiny.CONFIG["dit"] | remat, tiny.CONFIG["text"], 8, 12.3).remat

  given = {True: "blocks", False: "none"} | {name: name for name in REMAT}
  assert {value: built(remat=value) for value in given} == given
  with pytest.raises(UsageError, match=r"dit.remat: got 'all', expected one of none, products"):
    built(remat="all")


def test_an_unknown_rematerialisation_is_refused():
  with pytest.raises(ValueError, match="remat: got 'some', expected one of none, products, blocks"):
    DIT.clone(remat="some").apply(params(), X, TIME, conditions())


def test_bfloat16_products_stay_close():
  coarse = DIT.clone(dtype=jnp.bfloat16, text_encoder=DIT.text_encoder.clone(dtype=jnp.bfloat16))
  out = np.asarray(_apply(coarse, params(), X, TIME, conditions()))
  error = np.sqrt(np.mean((out - velocity()) ** 2) / np.mean(velocity() ** 2))
  assert 0 < error < 3e-2


def test_embeddings_of_a_frozen_encoder_take_the_place_of_tokens():
  frozen = DIT.clone(text_encoder=None)
  c = conditions()
  text = jax.random.normal(KEY, (B, S, 16))
  variables = random_params(frozen)
  padded = jnp.where(c.text_mask[..., None], text, 99.0)
  a, b = (_prepare(frozen, variables, c.replace(text=t)).memory for t in (text, padded))
  jax.tree.map(np.testing.assert_array_equal, a, b)


def test_full_size_is_the_billion_of_the_paper():
  dit = DiT(channels=64, width=1536, depth=24, heads=24, text_width=4096)
  c = rows(conditions(), slice(1)).replace(
    text=jnp.zeros((1, S, 4096)), context=jnp.zeros((1, T, 64))
  )
  shapes = jax.eval_shape(dit.init, KEY, jnp.zeros((1, T, 64)), jnp.ones(1), c)["params"]
  count = sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(shapes))
  assert shapes["in_projection"]["kernel"].shape == (144, 1536)
  assert 1.14e9 < count < 1.16e9


def test_a_machine_that_emulates_bfloat16_gets_all_products_in_float32(monkeypatch):
  half = DIT.clone(dtype=jnp.bfloat16, text_encoder=DIT.text_encoder.clone(dtype=jnp.bfloat16))
  monkeypatch.setattr("stemphonic_jax.models.dit.dtype_here", lambda dtype: jnp.float32)
  whole = for_this_machine(half)
  assert (whole.dtype, whole.text_encoder.dtype) == (jnp.float32, jnp.float32)
  assert for_this_machine(half.clone(text_encoder=None)).dtype == jnp.float32
  monkeypatch.setattr("stemphonic_jax.models.dit.dtype_here", lambda dtype: dtype)
  assert for_this_machine(half) == half


# ---- What an imported model has besides


def embedded() -> Conditions:
  """Conditions with embedded text; the last row has none, and its tempo is unknown."""
  c = conditions()
  seconds = jnp.stack([jnp.linspace(0.0, 40.0, B), jnp.linspace(47.0, 190.0, B)], 1)
  mask = c.text_mask.at[-1].set(False)
  return c.replace(text=jax.random.normal(KEY, (B, S, 16)), text_mask=mask, seconds=seconds)


@functools.cache
def random_params(dit: DiT):
  """As `params`, of any other model, drawn by numpy: nothing compiles."""
  rng = np.random.default_rng(0)
  shapes = jax.eval_shape(dit.init, KEY, X, TIME, embedded())
  return jax.tree.map(lambda s: jnp.asarray(0.3 * rng.standard_normal(s.shape), s.dtype), shapes)


FROZEN = DIT.clone(text_encoder=None)
TIMED = FROZEN.clone(timing=True)


@pytest.mark.parametrize(("heads", "groups"), [(4, 1), (4, 2)])
def test_grouped_queries_are_full_heads_with_repeated_kernels(heads, groups):
  grouped = FROZEN.clone(heads=heads, memory_width=24, memory_heads=groups)
  grouped_params = random_params(grouped)
  kernel = grouped_params["params"]["blocks"]["cross_attention"]["key_value"]["kernel"]
  assert kernel.shape == (3, 24, 2 * groups * 32 // heads)
  assert grouped_params["params"]["text_projection"]["out"]["kernel"].shape == (24, 24)

  # Layout of the columns: keys before values, then heads, then the width of a head.
  repeated = kernel.reshape(3, 24, 2, groups, -1).repeat(heads // groups, 3).reshape(3, 24, -1)
  flat = traverse_util.flatten_dict(grouped_params, sep="/")
  flat["params/blocks/cross_attention/key_value/kernel"] = repeated
  full_params = traverse_util.unflatten_dict(flat, sep="/")
  full = grouped.clone(memory_heads=0)
  got = _apply(grouped, grouped_params, X, TIME, embedded())
  expected = _apply(full, full_params, X, TIME, embedded())
  assert np.abs(got - expected).max() < 1e-5 * np.abs(expected).max()


def prepared(dit, **changes):
  return _prepare(dit, random_params(dit), embedded().replace(**changes))


def changed_rows(a, b):
  """Rows [B] in which two keys (or values, or tokens) differ."""
  rows = np.moveaxis(np.asarray(a != b), -4 if a.ndim > 2 else 0, 0)
  return rows.reshape(B, -1).any(1).tolist()


@pytest.mark.parametrize("column", [0, 1])
def test_seconds_reach_the_token_of_every_row_and_the_memory_where_there_is_text(column):
  before = prepared(TIMED)
  after = prepared(TIMED, seconds=embedded().seconds.at[:, column].add(5.0))
  assert changed_rows(before.token, after.token) == [True] * B
  for a, b in zip(before.memory, after.memory, strict=True):
    assert changed_rows(a, b) == [True] * (B - 1) + [False]


def test_null_text_is_a_memory_of_zeros():
  """Of the timing tokens too, so that an imported model sees the null it was trained with."""
  for part in prepared(TIMED).memory:
    np.testing.assert_array_equal(part[:, -1], np.zeros_like(part[:, -1]))
    assert (np.abs(part[:, :-1]).max((0, 2, 3, 4)) > 0).all()


def test_with_timing_the_tempo_reaches_the_token_alone():
  before, after = prepared(TIMED), prepared(TIMED, bpm=embedded().bpm + 7)
  assert changed_rows(before.token, after.token) == [True] * (B - 1) + [False]
  jax.tree.map(np.testing.assert_array_equal, before.memory, after.memory)
  assert before.memory[0].shape[2] == S + 2, "text, start, total"
  assert prepared(FROZEN).memory[0].shape[2] == S + 1, "text, tempo"


def test_nulls_make_no_nan_with_timing_and_in_no_gradient():
  c = null_conditions(embedded())

  def loss(p):
    return jnp.mean(jnp.square(TIMED.apply(p, X, TIME, c)))

  value, gradient = jax.jit(jax.value_and_grad(loss))(random_params(TIMED))
  assert np.isfinite(value)
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def test_a_prediction_of_v_is_the_map_of_the_raw_network():
  """At t = 0.5 as at the ends, where the map turns data into noise and noise into data."""
  time = jnp.array([0.0, 0.3, 0.5, 0.7, 1.0])
  v_params, c = random_params(FROZEN), embedded()
  got = _apply(FROZEN.clone(prediction="v"), v_params, X, time, c)

  length = np.hypot(1 - time, time)[:, None, None]
  alpha, sigma = (1 - time)[:, None, None] / length, time[:, None, None] / length
  seen = _apply(FROZEN, v_params, X / length, 2 / np.pi * jnp.arctan2(time, 1 - time), c)
  expected = (alpha - sigma) * X / length - (alpha + sigma) * seen
  assert np.abs(got - expected).max() < 1e-5 * np.abs(expected).max()
