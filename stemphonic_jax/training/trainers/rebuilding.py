"""What trainings on waveforms share, of autoencoders and codecs: crops, an opponent, what is left.

Both rebuild what they hear, alone or against a discriminator that is trained along with them.
"""

import contextlib
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from grain import DatasetIterator
from jax.tree_util import Partial
from ml_collections import ConfigDict

from stemphonic_jax.audio.figures import spectrogram_figure
from stemphonic_jax.audio.files import check_samples, write_wav
from stemphonic_jax.data.batching.crops import Crops, Kind, crops
from stemphonic_jax.data.stems import Mix
from stemphonic_jax.errors import UsageError
from stemphonic_jax.flow import named_key
from stemphonic_jax.models.discriminator import Discriminator, init_discriminator
from stemphonic_jax.training.distributed import cluster, mesh
from stemphonic_jax.training.run import loop, state
from stemphonic_jax.training.run.optimizer import adamw, build_optimizer
from stemphonic_jax.training.trainers import stage

HELD_OUT_CROPS = 8
START_CROPS = 128  # that what is computed from waveforms, before the first step, is computed from
OPPONENT = "discriminator"


@dataclass(frozen=True, eq=False)
class Learner:
  """What is trained, as `train` needs to know it.

  `name` is that of its parameters where an opponent's are beside them; `trainable` are patterns of
  those that have a gradient, the others stay, or `follow` the batches. `make` returns them all,
  given the waveforms [n, samples, 2] of a start where it `starts_from_waveforms`, else None. `loss`
  is that without an opponent, `contest` that against one, which hears so many `channels`.

  `hear` is what of a mix is rebuilt in a preview, [N, A], by `rebuild` as [1, N, A]; `keep` puts
  the averaged parameters where the next stage finds them.
  """

  name: str
  trainable: Sequence[str]
  make: Partial
  starts_from_waveforms: bool
  loss: state.Loss
  contest: Callable[[Discriminator], state.Loss]
  channels: int
  hear: Callable[[Mix], np.ndarray]
  rebuild: Callable[[Any, Any], Any]
  keep: Callable[[Any], None]
  follow: Callable[[Any], Any] | None = None


def train(
  folder: Path,
  config: ConfigDict,
  learner: Learner,
  open_mixes: Callable[[], tuple[Sequence[Mix], Sequence[Mix]]],
  kinds: Sequence[Kind],
  run_key: jax.Array,
) -> None:
  """Trains by `config.train_vae` in `folder`, on crops of mixes, and is measured on other ones.

  Continues from the newest checkpoint where there is one. At every save the parameters are kept,
  and a held-out piece, original and reconstruction, is left in `folder/previews`.
  """
  c, name, loss = config.train_vae, learner.name, learner.loss
  opponent = build_discriminator(c)
  devices = mesh.make_mesh(**config.mesh)
  mesh.check_rows(devices, c.batch_size, 1)
  optimizer = build_optimizer(c)
  options = dict(ema_decay=c.ema_decay, follow=_following(learner, opponent))
  if opponent:
    optimizer = both_optimizers(name, optimizer, c)
    step = state.train_step(
      lambda params, batch, key: loss(params[name], batch, key),
      optimizer,
      then=(c.discriminator.start, learner.contest(opponent)),
      **options,
    )
  else:
    step = state.train_step(loss, optimizer, **options)

  pieces, unseen = open_mixes()
  cut = functools.partial(crops, samples=c.samples, seed=config.seed, kinds=kinds)
  held_out = _first(cut(unseen, batch_size=HELD_OUT_CROPS, ahead=1))
  measure, rebuild = jax.jit(loss), jax.jit(learner.rebuild)

  def average(current: state.TrainState) -> Any:
    return current.model[name] if opponent else current.model

  def evaluate(current: state.TrainState) -> state.Metrics:
    value, sums = measure(average(current), held_out, named_key(run_key, "held out"))
    metrics = {"loss": value} | state.means(sums)
    return {f"held_out_{name}": metric for name, metric in metrics.items()}

  def show(current: state.TrainState) -> None:
    params = cluster.gather(average(current))
    if cluster.is_first():
      learner.keep(params)
      preview(int(current.step), params)

  def preview(step: int, params: Any) -> None:
    original = learner.hear(unseen[0])
    rebuilt = np.asarray(rebuild(params, original[None]))[0, : len(original)]
    place = folder / "previews" / f"step_{step:06d}"
    place.mkdir(parents=True, exist_ok=True)
    rows = {"original": original, "reconstruction": rebuilt}
    for title, audio in rows.items():
      check_samples(f"{title} of step {step}", audio, config.sample_rate)
      write_wav(place / f"{title}.wav", audio, config.sample_rate)
    spectrogram_figure(place / "spectrograms.png", rows, config.sample_rate)

  def create(make: Partial, waveforms: jax.Array | None) -> state.TrainState:
    params, patterns = make(waveforms), learner.trainable
    if opponent:
      key = named_key(run_key, OPPONENT)
      params = {name: params, OPPONENT: init_discriminator(opponent, key, learner.channels)}
      patterns = (*(f"{name}/{pattern}" for pattern in patterns), f"{OPPONENT}/*")
    return state.create(*state.split(params, patterns), optimizer)

  def open_batches(start: int) -> DatasetIterator[tuple[int, Crops]]:
    hosts = dict(host=cluster.host(), hosts=cluster.hosts())
    return cut(pieces, batch_size=c.batch_size, start=start, **hosts)

  waveforms = None
  if learner.starts_from_waveforms:
    waveforms = jnp.asarray(_first(cut(pieces, batch_size=START_CROPS, ahead=1))["audio"])
  stage.run(
    folder,
    config,
    c,
    Partial(create, learner.make, waveforms),
    step,
    open_batches,
    mesh=devices,
    run_key=run_key,
    evaluate=evaluate,
    show=show,
    seconds_per_step=c.batch_size * c.samples / config.sample_rate,
  )


def _following(learner: Learner, opponent: Discriminator | None) -> state.Follow | None:
  """What the parameters without a gradient become after a batch, as a state holds them."""
  name, own = learner.name, learner.follow
  if not own or not opponent:
    return own
  return lambda params, batch, key: {name: own(params[name], batch, key)}


def _first(batches: DatasetIterator[tuple[int, Crops]]) -> Crops:
  """The first batch, without the names of its mixes."""
  with contextlib.closing(batches):
    return loop.arrays(next(batches)[1])


def build_discriminator(c: ConfigDict) -> Discriminator | None:
  """The discriminator of a `train_vae` section; None where its weight is zero.

  UsageError where crops are shorter than its windows.
  """
  d = c.discriminator
  if not d.weight:
    return None
  if c.samples < max(d.sizes):
    raise UsageError(
      f"train_vae.discriminator.sizes: a window of {max(d.sizes)} samples does not fit a crop of"
      f" {c.samples} (train_vae.samples)"
    )
  return Discriminator(d.filters, tuple(d.sizes), d.stride)


def both_optimizers(
  name: str, optimizer: optax.GradientTransformation, c: ConfigDict
) -> optax.GradientTransformation:
  """The learner's optimiser beside the discriminator's own, which begins when that is on."""
  d = c.discriminator
  own = adamw(d.learning_rate, clip=c.clip, betas=d.betas, weight_decay=d.weight_decay)
  if d.start:
    own = optax.transforms.conditionally_mask(own, lambda step: step >= d.start)
  names = {each: each for each in (name, OPPONENT)}
  return optax.multi_transform({name: optimizer, OPPONENT: own}, names)
