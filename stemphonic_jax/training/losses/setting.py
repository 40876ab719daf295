"""The loss that a config asks for."""

from ml_collections import ConfigDict

from stemphonic_jax.errors import UsageError
from stemphonic_jax.models.dit import DiT
from stemphonic_jax.training.losses.distilled import distilled_loss
from stemphonic_jax.training.losses.velocity import velocity_loss
from stemphonic_jax.training.run import state


def loss_of(config: ConfigDict, dit: DiT) -> state.Loss:
  """The loss of a diffusion transformer by the numbers of a config; UsageError for wrong ones."""
  if config.distil.to:
    try:
      options = dict(dropout=config.dropout.to_dict(), seconds=config.seconds)
      return distilled_loss(dit, **config.distil, **options, share=config.sample.noise_share)
    except ValueError as error:
      raise UsageError(str(error)) from None
  return velocity_loss(
    dit,
    dropout=config.dropout.to_dict(),
    time_mean=config.timestep.mean,
    time_std=config.timestep.std,
    seconds=config.seconds,
    # Of a network whose rows never meet, the vector `group` says it.
    share=float(config.data.share_noise) if dit.ensemble else 1.0,
  )
