"""Numbers of a config that are shares, as how often something is dropped; of all systems."""

import json
from fnmatch import fnmatch

from ml_collections import ConfigDict

from stemphonic_jax.errors import UsageError
from stemphonic_jax.training.run.identity import flat

SHARES = ("dropout.*", "*_dropout", "*.share", "*_share", "*.share_noise", "data.known.*")
SHARES += ("data.max_bad", "*.smoothing", "*.ema_decay", "*.decay_to", "*.betas")


def check(config: ConfigDict) -> None:
  """UsageError for the first share of a config that is below 0 or above 1."""
  for name, value in flat(json.loads(config.to_json())).items():
    if any(fnmatch(name, share) for share in SHARES):
      for share in value if isinstance(value, list) else [value]:
        if not 0 <= share <= 1:  # nor is NaN
          raise UsageError(f"{name}: got {share}, expected a share from 0 to 1")
