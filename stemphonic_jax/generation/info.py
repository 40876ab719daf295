"""What song.json says of a song that was generated, beside its steps (session.py)."""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from stemphonic_jax.generation.context import Context
from stemphonic_jax.generation.request import Request

if TYPE_CHECKING:
  from stemphonic_jax.generation.pipeline import StemPipeline
  from stemphonic_jax.weights.known import Known


def guided_steps(model: Mapping[str, Any], request: Request) -> tuple[int, int] | None:
  """The guided steps; None where there is nothing to guide."""
  config = model["sample"]
  if request.guidance == 1 or "interval" not in config:
    return None
  from stemphonic_jax.sampler import rescale_interval  # with jax, which a check is without

  return rescale_interval(tuple(config["interval"]), config["steps"], request.steps)


def info_of(
  pipe: "StemPipeline | Known",
  request: Request,
  given: Context,
  variation: int,
  silent: Collection[str],
  timings: Mapping[str, float],
) -> dict[str, Any]:
  """What song.json says; `silent` are stems that were to sound and do not."""
  return {
    "request": {
      "prompt": request.prompt,
      "stems": list(request.stems),
      "words": request.words,
      "negative": request.negative,
      "context": list(given.audio),
      "bpm": request.bpm,
      "metre": request.metre,
      "seed": request.seed,
      "variation": request.first + variation,
      "duration": request.seconds,
      "activity": request.activity,
    },
    "sampler": {
      "steps": request.steps,
      "guidance": request.guidance,
      "guidance_in_turn": request.in_turn,
      "guided_steps": guided_steps(pipe.config, request),
      "passes": request.passes,
      "share_noise": request.share_noise,
      "align_noise": bool(pipe.config["sample"].get("align_noise")),
    },
    "model": pipe.fingerprint,
    "sample_rate": pipe.rate,
    "hop": pipe.hop,
    "stems": {
      **{name: {"type": given.types.get(name), "given": True} for name in given.audio},
      **{
        name: {"type": kind, "given": False} | ({"silent": True} if name in silent else {})
        for name, kind in request.stems.items()
      },
    },
    "latents": "latents.safetensors",
    "timings": {name: round(seconds, 3) for name, seconds in timings.items()},
  }
