"""The systems by the names that configs have for them.

Each is a module of this package with the same functions:

    check(config)                                 UsageError for what no stage could use
    check_places(config, workdir, stages)         errors for what a config names on disk, and those
                                                  stages of a new run ("train_vae", …) cannot use
    train_vae(config, workdir)                    what codes audio, trained
    prepare(config, workdir)                      records of the corpus, and the text side
    train(config, workdir, preview)               the network; `preview(step, model)` at each save
    songs(config, workdir, model, out, count)     of held-out pieces
    describe(config)                              parameters, and what a step takes
    compile_for(config, topology)                 what XLA says of it for TPUs

and `FOLDER`, the folder of a workdir in which its network is trained.
"""

import importlib
from types import ModuleType

from ml_collections import ConfigDict

from stemphonic_jax.errors import UsageError
from stemphonic_jax.weights.signed import MUSICGEN_STEM, STEMGEN, STEMPHONIC

SYSTEMS = {
  STEMPHONIC: "stemphonic_jax.systems.stemphonic",
  MUSICGEN_STEM: "stemphonic_jax.systems.musicgen_stem",
  STEMGEN: "stemphonic_jax.systems.stemgen",
}


def system_of(config: ConfigDict) -> ModuleType:
  """The module of a config's system; UsageError where it names none."""
  name = config.get("system", STEMPHONIC)
  if name not in SYSTEMS:
    raise UsageError(f"system: got {name!r}, expected one of {', '.join(SYSTEMS)}")
  return importlib.import_module(SYSTEMS[name])
