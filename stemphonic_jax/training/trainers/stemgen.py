"""Trains StemGen's network on records of codes of stems and sub-mixes."""

import functools
from collections.abc import Callable
from pathlib import Path

from ml_collections import ConfigDict

from stemphonic_jax.audio.lengths import frames_of
from stemphonic_jax.data.batching import listening
from stemphonic_jax.errors import MismatchError
from stemphonic_jax.training.losses.unmasking import unmasking_loss_of
from stemphonic_jax.training.plan.codes import stemgen_flops
from stemphonic_jax.training.trainers import coded
from stemphonic_jax.weights.networks import build_stemgen, categories, init_stemgen


def train(config: ConfigDict, workdir: Path, preview: Callable[[int, Path], None]) -> None:
  """Trains up to `config.train.steps`, from the newest checkpoint in `workdir` where there is one.

  At every save the averaged model is written to `workdir/model`, and `preview(step, model folder)`
  makes of it whatever shows how far the run is.
  """
  found = coded.open_run(config, workdir, "stemgen", seconds=config.data.segment)
  if found is None:
    return
  (codec,) = found.models.values()
  types = found.records.index.notes.get("types", [])
  if found.start and (theirs := found.start.config["types"]) != types:
    raise MismatchError(
      f"init_from: {found.start.directory} has the types {', '.join(theirs) or 'none'} beside the"
      f" eleven, these records {', '.join(types) or 'none'}; prepare stems of the same types"
    )
  frames = frames_of(config.seconds, config.sample_rate, codec.hop)
  model = coded.here(config, build_stemgen(config.network, codec, len(categories(types))))
  content = {
    "types": types,
    # What requests may ask: it hears a context, and nothing else.
    "dropout": {"text": 1.0, "bpm": 1.0, "activity": 1.0, "context": config.dropout.conditions},
    "sample": config.sample.to_dict() | {"share_noise": False},
  }
  coded.train(
    found,
    functools.partial(init_stemgen, model),
    unmasking_loss_of(config, model),
    functools.partial(listening.batches, frames=frames, types=categories(types)),
    content,
    preview,
    flops=lambda params: stemgen_flops(model, params, frames),
  )
