"""The state of a run: parameters, their moving average, the optimiser, the step. One step of it.

Gradients are accumulated over micro-batches by a scan. Because noise, timesteps and dropout are
functions of (step key, group or row id), cutting a batch into micro-batches changes neither: a
group that a cut goes through still shares its noise.

An update whose loss or gradient is not finite is left out and counted: parameters, average and
optimiser stay as they were, so that a state is finite whenever it is saved.

Parameters may be in two parts, trained and frozen. Frozen ones have no gradient, no average and no
optimiser state, which is what makes fine-tuning by adapters (models/lora.py) small. What learns by
a law of its own, as codebooks do (models/quantiser.py), is among them too.
"""

import functools
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import Any

import flax
import jax
import jax.numpy as jnp
import optax
from flax import traverse_util
from jax.tree_util import Partial

from stemphonic_jax.flow import named_key
from stemphonic_jax.training.distributed.mesh import shardings
from stemphonic_jax.weights.lazy import Lazy

Params = Any
Batch = Any
Metrics = dict[str, jax.Array]
# A loss returns a mean over its rows and, by name, sums with the number of rows they run over.
Sums = dict[str, tuple[jax.Array, jax.Array]]
Loss = Callable[[Params, Batch, jax.Array], tuple[jax.Array, Sums]]
# What frozen parameters become after a batch, from all parameters before it.
Follow = Callable[[Params, Batch, jax.Array], Params]


@flax.struct.dataclass
class TrainState:
  """All that a checkpoint holds of the model; the position in the data is saved beside it.

  `skipped` counts the updates that were left out, `in_a_row` those among the latest steps.
  """

  step: jax.Array
  params: Params
  ema: Params
  opt_state: optax.OptState
  frozen: Params
  skipped: jax.Array
  in_a_row: jax.Array

  @property
  def model(self) -> Params:
    """All parameters of the model, the trained ones averaged."""
    return join(self.ema, self.frozen)


def create(params: Params, frozen: Params, optimizer: optax.GradientTransformation) -> TrainState:
  """The state before the first step; the moving average starts at the parameters."""
  ema = jax.tree.map(jnp.copy, params)  # a copy: both are donated to the step
  zero = functools.partial(jnp.zeros, (), jnp.int32)
  return TrainState(zero(), params, ema, optimizer.init(params), frozen, zero(), zero())


def abstract(create: Callable[[], TrainState], mesh: jax.sharding.Mesh) -> TrainState:
  """Shapes, dtypes and places on the devices of the state that `create` would make."""
  shapes = jax.eval_shape(_call, _partial(create))

  def placed(shape: jax.ShapeDtypeStruct, sharding: jax.sharding.Sharding):
    return jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=sharding)

  return jax.tree.map(placed, shapes, shardings(mesh, shapes))


def initial(create: Callable[[], TrainState], mesh: jax.sharding.Mesh) -> TrainState:
  """The state that `create` makes, every part made where it belongs on the devices.

  What a jax.tree_util.Partial holds, as a model to start from, is an argument of what is compiled;
  tensors on disk are read now.
  """
  create = _partial(create)
  make = jax.jit(_call, out_shardings=shardings(mesh, jax.eval_shape(_call, create)))
  return make(jax.tree.map(lambda leaf: leaf.read() if isinstance(leaf, Lazy) else leaf, create))


def _call(create: Callable[[], TrainState]) -> TrainState:
  return create()


def _partial(create: Callable[[], TrainState]) -> Partial:
  """A function as jax takes an argument; another Partial around one would hide what it holds."""
  return create if isinstance(create, Partial) else Partial(create)


def split(params: Params, trainable: Sequence[str]) -> tuple[Params, Params]:
  """(trained, frozen) parameters: trained are those whose path fits one of the shell patterns.

  ValueError where a pattern fits no parameter.
  """
  flat = traverse_util.flatten_dict(params, sep="/")
  for pattern in trainable:
    if not any(fnmatchcase(path, pattern) for path in flat):
      raise ValueError(f"no parameter fits {pattern!r}; there are {', '.join(flat)}")
  parts: tuple[dict, dict] = {}, {}
  for path, leaf in flat.items():
    parts[not any(fnmatchcase(path, pattern) for pattern in trainable)][path] = leaf
  trained, frozen = (traverse_util.unflatten_dict(part, sep="/") for part in parts)
  return trained, frozen


def join(trained: Params, frozen: Params) -> Params:
  """One tree of parameters from the two parts of `split`."""
  flat = traverse_util.flatten_dict(trained) | traverse_util.flatten_dict(frozen)
  return traverse_util.unflatten_dict(flat)


def deal(x: jax.Array, hands: int, block: int = 1) -> jax.Array:
  """[rows, ...] → [hands, rows / hands, ...]: block i of rows goes to hand i mod `hands`."""
  rest = x.shape[1:]
  return x.reshape(-1, hands, block, *rest).swapaxes(0, 1).reshape(hands, -1, *rest)


def _in_place(state: TrainState) -> TrainState:
  """The state where the mesh has it; left to itself, XLA moves what is used near other things."""
  devices = jax.typeof(state.step).sharding.mesh
  if devices.size <= 1:
    return state
  return jax.lax.with_sharding_constraint(state, shardings(devices, state))


def means(sums: Sums) -> Metrics:
  """Sums over rows → means; NaN where there was no row."""
  return {name: total / count for name, (total, count) in sums.items()}


def train_step(
  loss: Loss,
  optimizer: optax.GradientTransformation,
  *,
  ema_decay: float,
  micro_batches: int = 1,
  block: int = 1,
  then: tuple[int, Loss] | None = None,
  follow: Follow | None = None,
) -> Callable[[TrainState, Batch, jax.Array], tuple[TrainState, Metrics]]:
  """Builds the jitted update: (state, batch, run key) → (state, metrics).

  The batch's leading axis must be a multiple of `micro_batches`. Row i goes to micro-batch
  i mod `micro_batches`: neighbours, which are on one device, are dealt out there, and none moves.
  With a `block`, so many neighbours are dealt out together.

  With `then`, another loss takes over at that step; metrics that only it has are NaN before. With
  `follow`, frozen parameters are what it makes of them.
  """
  loss_at = _taken_over(loss, *then) if then else lambda number, *rest: loss(*rest)

  def whole_loss(params: Params, frozen: Params, micro: Batch, key: jax.Array, number: jax.Array):
    return loss_at(number, join(params, frozen), micro, key)

  gradient = jax.value_and_grad(whole_loss, has_aux=True)

  def step(state: TrainState, batch: Batch, run_key: jax.Array) -> tuple[TrainState, Metrics]:
    number = state.step
    key = jax.random.fold_in(run_key, number)

    def of(micro: Batch) -> Any:
      return gradient(state.params, state.frozen, micro, key, number)

    # Not a loop of one: in loops, gradients of convolutions take XLA three times as long on a CPU.
    found = of(batch) if micro_batches == 1 else _sum_over(of, batch, micro_batches, block)
    (total, sums), grads = found
    grads = jax.tree.map(lambda g: g / micro_batches, grads)

    value, norm = total / micro_batches, optax.tree.norm(grads)
    finite = jnp.isfinite(value) & jnp.isfinite(norm)

    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    # A running average that starts short: early averages would otherwise be mostly initialisation.
    decay = jnp.minimum(ema_decay, (1 + state.step) / (10 + state.step))
    ema = jax.tree.map(lambda e, p: decay * e + (1 - decay) * p, state.ema, params)
    new, old = (params, ema, opt_state), (state.params, state.ema, state.opt_state)
    if follow:
      everything = join(state.params, state.frozen)
      new, old = (*new, follow(everything, batch, named_key(key, "follow"))), (*old, state.frozen)
    params, ema, opt_state, *followed = jax.tree.map(
      lambda new, old: jnp.where(finite, new, old), new, old
    )
    frozen = followed[0] if follow else state.frozen
    skipped = state.skipped + ~finite
    in_a_row = jnp.where(finite, 0, state.in_a_row + 1)
    metrics = means(sums) | {
      "loss": value,
      "gradient_norm": norm,
      "skipped": skipped,
      "skipped_in_a_row": in_a_row,
    }
    after = TrainState(state.step + 1, params, ema, opt_state, frozen, skipped, in_a_row)
    return _in_place(after), metrics

  return jax.jit(step, donate_argnums=0)


def _sum_over(function: Callable[[Batch], Any], batch: Batch, count: int, block: int) -> Any:
  """The sum of what a function makes of `count` micro-batches, one after the other."""
  function = jax.jit(function)  # traced once for its shapes and the loop
  cut = jax.tree.map(lambda x: deal(x, count, block), batch)
  shapes = jax.eval_shape(function, jax.tree.map(lambda x: x[0], cut))
  zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)

  def accumulate(total: Any, micro: Batch) -> tuple[Any, None]:
    return jax.tree.map(jnp.add, total, function(micro)), None

  return jax.lax.scan(accumulate, zeros, cut)[0]


def _taken_over(loss: Loss, start: int, later: Loss) -> Callable[..., tuple[jax.Array, Sums]]:
  """A function of (step, *arguments of a loss): `loss` before step `start`, then `later`.

  Only one of them is computed, and both have the metrics of both.
  """
  if not start:
    return lambda number, *arguments: later(*arguments)
  loss, later = jax.jit(loss), jax.jit(later)  # traced once for their metrics and the branch

  def loss_at(number: jax.Array, *arguments: Any) -> tuple[jax.Array, Sums]:
    shapes = {}
    for one in (loss, later):
      shapes |= jax.eval_shape(one, *arguments)[1]
    nothing = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)

    def all_metrics(one: Loss) -> Loss:
      def padded(*arguments: Any) -> tuple[jax.Array, Sums]:
        value, sums = one(*arguments)
        return value, nothing | sums

      return padded

    return jax.lax.cond(number >= start, all_metrics(later), all_metrics(loss), *arguments)

  return loss_at
