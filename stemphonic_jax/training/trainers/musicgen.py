"""Trains MusicGen-Stem's transformer on records of codes of bass, drums and other."""

import functools
from collections.abc import Callable
from pathlib import Path

from ml_collections import ConfigDict

from stemphonic_jax.audio.lengths import frames_of
from stemphonic_jax.data.batching import songs
from stemphonic_jax.errors import MismatchError
from stemphonic_jax.training.inputs import text
from stemphonic_jax.training.inputs.prepare import records_of
from stemphonic_jax.training.losses.codes import loss_of
from stemphonic_jax.training.plan.codes import musicgen_flops
from stemphonic_jax.training.trainers import coded
from stemphonic_jax.weights.networks import build_musicgen, init_musicgen


def train(config: ConfigDict, workdir: Path, preview: Callable[[int, Path], None]) -> None:
  """Trains up to `config.train.steps`, from the newest checkpoint in `workdir` where there is one.

  At every save the averaged model is written to `workdir/model`, and `preview(step, model folder)`
  makes of it whatever shows how far the run is.
  """
  found = coded.open_run(config, workdir, "musicgen", seconds=config.data.segment)
  if found is None:
    return
  tokenizer, encode_text = text.reader(config, workdir, records_of(config, workdir))
  if found.start and found.start.tokenizer.model != tokenizer.model:
    raise MismatchError(
      f"{workdir / 'tokenizer.model'}: is not that of {found.start.directory}, whose texts the"
      f" model to start from reads; begin in a new workdir"
    )
  described = config.text.to_dict() | {"vocabulary": len(tokenizer)}
  model = coded.here(config, build_musicgen(config.network, described, found.models))
  frames = frames_of(config.seconds, config.sample_rate, found.records.index.hop)
  loss, length = loss_of(config, model, found.models, frames)
  content = {
    "text": described,
    "types": ["other"],
    "editing": config.editing.to_dict(),
    # Of what requests may ask: the tempo is part of the text, and nothing says when stems play.
    "dropout": {"text": config.dropout.text, "bpm": 0.0, "context": 0.0, "activity": 1.0},
    "sample": config.sample.to_dict() | {"steps": 1, "share_noise": True},
  }
  coded.train(
    found,
    functools.partial(init_musicgen, model),
    loss,
    functools.partial(
      songs.batches,
      encode_text=encode_text,
      frames=frames,
      levels=[codec.levels for codec in found.models.values()],
      tempo_dropout=config.dropout.bpm,
    ),
    content,
    preview,
    flops=lambda params: musicgen_flops(model, params, length, config.text.length),
    tokenizer=tokenizer,
  )
