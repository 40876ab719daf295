"""The door for research: one config, one workdir, one stage or all of them.

    python -m stemphonic_jax.main --config=configs/c_ii.py [--workdir=DIR] [--mode=MODE]

    train_vae   train the autoencoder or codecs     WORKDIR/vae, WORKDIR/vae.safetensors
    prepare     encode the corpus                   WORKDIR/records, WORKDIR/tokenizer.model
    train       train the network                   WORKDIR/dit, WORKDIR/model
    generate    songs from held-out captions        WORKDIR/songs
    describe    parameters, FLOPs, memory and time of a step, from shapes alone
    compile     what XLA says of a step and a generation on --topology, such as v5e:8x8,
                without a TPU (extra tpu)

A mode does first what it builds on, and nothing twice: what is finished is left, what was cut off
goes on from its last checkpoint. Several hosts run the same command on one file system
(training/distributed/cluster.py). Codecs are in WORKDIR/codecs, and their network is in a folder
with the name of its kind. What a mode does is in systems/, a file for each system.
"""

import contextlib
import functools
import json
import math
import os
import re
import sys
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import flags, logging
from ml_collections import ConfigDict, config_flags

from stemphonic_jax import door
from stemphonic_jax.errors import MismatchError, MissingError, OutputError, UsageError
from stemphonic_jax.systems.catalogue import system_of
from stemphonic_jax.training.run.identity import PLACES, differing, flat, lasting

# Numbers of a config that may be negative: -1 devices are all others, and times have any mean.
SIGNED = ("mesh.", "timestep.mean")
STAGES = ("train_vae", "prepare", "train")
MODES = (*STAGES, "generate", "describe", "compile")

_CONFIG = config_flags.DEFINE_config_file(
  "config", None, "A file of configs/, alone or with :small or :tiny."
)
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run; runs/NAME_OF_CONFIG if unset.")
_MODE = flags.DEFINE_enum("mode", "train", MODES, "What to do.")
_TOPOLOGY = flags.DEFINE_string("topology", "v5e:8x8", "Slice of TPUs for --mode=compile.")


def main() -> None:
  """Entry point of `python -m stemphonic_jax.main`."""
  from stemphonic_jax.training.distributed import cluster

  cluster.leave(door.run(run))


def run() -> None:
  """Parses the command line and runs a mode; raises StemphonicError."""
  if {"--help", "-h"} & set(sys.argv):
    print(__doc__)
    return
  config = _parse(sys.argv)
  system_of(config).check(config)
  if _MODE.value in ("describe", "compile"):
    print(describe(config) if _MODE.value == "describe" else compile_for(config, _TOPOLOGY.value))
    return
  from stemphonic_jax.training.distributed import cluster

  door.set_up()
  door.keep_memory()
  cluster.start()
  workdir = Path(_WORKDIR.value or Path("runs", config_name()))
  stages = STAGES[: STAGES.index(_MODE.value) + 1] if _MODE.value in STAGES else STAGES
  new = cluster.one_by_one(functools.partial(begin, config, workdir, stages))
  cluster.wait("claim")  # so that no host finds a workdir given back which the others have
  try:
    for stage in {
      "train_vae": (train_vae,),
      "prepare": (train_vae, prepare),
      "train": (train_vae, prepare, train),
      "generate": (train_vae, prepare, train, generate),
    }[_MODE.value]:
      stage(config, workdir)
  finally:
    if new:
      give_back(workdir)


def train_vae(config: ConfigDict, workdir: Path) -> None:
  """Stage 1: waveforms → what codes them: an autoencoder, or codecs."""
  system_of(config).train_vae(config, workdir)


def prepare(config: ConfigDict, workdir: Path) -> None:
  """Stage 2: mixes → records."""
  system_of(config).prepare(config, workdir)


def train(config: ConfigDict, workdir: Path) -> None:
  """Stage 3: records → network; each save leaves a song of a held-out piece."""
  from stemphonic_jax.training.distributed import cluster

  system = system_of(config)
  previews = workdir / system.FOLDER / "previews"

  def preview(step: int, model: Path) -> None:
    system.songs(config, workdir, model, previews / f"step_{step:06d}", 1)

  system.train(config, workdir, preview)
  cluster.one_by_one(functools.partial(_check_model, workdir, system.FOLDER))
  if cluster.is_first():
    logging.info("the model is in %s; name it to generate: --model %s", workdir / "model", workdir)


def generate(config: ConfigDict, workdir: Path) -> None:
  """Stage 4: songs from the captions, stem types and tempi of held-out pieces."""
  from stemphonic_jax.training.distributed import cluster

  if cluster.is_first():
    model, songs = workdir / "model", workdir / "songs"
    system_of(config).songs(config, workdir, model, songs, config.generate.songs)


def describe(config: ConfigDict) -> str:
  """The table of parameters, and what a training step takes on some machines."""
  return system_of(config).describe(config)


def compile_for(config: ConfigDict, topology: str) -> str:
  """What XLA says of a training step and a generation on a slice of TPUs."""
  return system_of(config).compile_for(config, topology)


def _check_model(workdir: Path, folder: str) -> None:
  """MissingError where files of the model went away after the training in `folder` had ended."""
  from stemphonic_jax.weights.signed import missing

  model = workdir / "model"
  if names := missing(model):
    raise MissingError(
      f"{model}: {', '.join(names)} missing; put a copy there, or remove the newest folder of"
      f" {workdir / folder / 'checkpoints'} and start again: the model is written at its end"
    )


def begin(config: ConfigDict, workdir: Path, stages: Sequence[str] = STAGES) -> bool:
  """Claims the workdir, a new one after a look at all that the config names on disk for `stages`.

  So what a later stage would refuse is said while the workdir is anybody's. Whether it is new.
  """
  if not (workdir / "config.json").is_file():
    system_of(config).check_places(config, workdir, stages)
  return claim(config, workdir)


def claim(config: ConfigDict, workdir: Path) -> bool:
  """Writes the config to a new workdir, or checks that the workdir is this config's own.

  Whether it is new. Paths may differ where what is there is the same. MismatchError with the first
  difference where it is another's; OutputError where it cannot be written, or is a song.
  """
  if (workdir / "song.json").is_file():
    raise OutputError(f"{workdir}: is the folder of a song; take another --workdir")
  path = workdir / "config.json"
  if not path.is_file() and _write(config, path):
    return True
  try:
    _check_own(config, json.loads(path.read_text()), workdir)
  except (ValueError, TypeError, AttributeError, RecursionError):
    raise MismatchError(
      f"{path}: is damaged, or of something else than a run; take another --workdir"
    ) from None
  return False


def _check_own(config: ConfigDict, then: Mapping[str, Any], workdir: Path) -> None:
  """MismatchError where `then`, of the workdir's config.json, is the config of another run."""
  from stemphonic_jax.training.run import places

  now = json.loads(config.to_json())
  ours, theirs = lasting(now), lasting(then)
  # The system first: of another one, many entries differ.
  for name in sorted(differing(ours, theirs), key=lambda name: name != "system"):
    raise MismatchError(
      f"{workdir}: was made with {name} = {theirs.get(name)!r}, now it is {ours.get(name)!r};"
      f" {_instead(workdir)}"
    )
  for name in PLACES:
    if not places.is_same(name, now, then):
      raise MismatchError(
        f"{workdir}: was made with {name} = {flat(then).get(name)!r}, of which"
        f" {flat(now).get(name)!r} is no copy; {_instead(workdir)}"
      )


def _instead(workdir: Path) -> str:
  """What to do about a workdir of another config: a run that was killed at once left only that."""
  other = "take another --workdir"
  if os.listdir(workdir) != ["config.json"]:
    return other
  return f"nothing was made in it: if no run is on, remove {workdir / 'config.json'}, or {other}"


def _write(config: ConfigDict, path: Path) -> bool:
  """Writes config.json, whole; False where another process, started at once, was faster."""
  from stemphonic_jax.training.run import places

  content = json.loads(config.to_json())
  content[places.KEY] = places.digests(content)
  partial = path.with_name(f"config.{uuid.uuid4().hex}.partial")
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial.write_text(json.dumps(content, indent=2) + "\n")
    try:
      os.link(partial, path)  # unlike a renaming, it replaces nothing
      partial.unlink()
    except FileExistsError:
      partial.unlink()
      if path.is_file():
        return False
      raise
    except OSError:  # some file systems have no links
      os.replace(partial, path)
  except OSError as error:
    raise OutputError(f"{path.parent}: cannot be written ({error.strerror})") from None
  return True


def give_back(workdir: Path) -> None:
  """Removes the config of a workdir in which nothing was made: another one may have it.

  What a stage refuses, as a path with nothing there, is mended with another config.
  """
  with contextlib.suppress(OSError):
    if os.listdir(workdir) == ["config.json"]:
      (workdir / "config.json").unlink()


def _named(arguments: list[str]) -> str | None:
  """What --config=FILE names last, without the size behind it; None where it names nothing."""
  named = [word for word in arguments if word.startswith("--config=")]
  return named[-1].removeprefix("--config=").partition(":")[0] if named else None


def _unknown(error: Exception) -> str:
  """What a --config.NAME=VALUE names that a config has not, and what is near it; "" for others."""
  text = " ".join(str(arg) for arg in error.args)  # 'NAME'\nDid you mean "NEAR" …, quoted again
  found = re.match(
    r"""["'\\]*(\w+)["'\\]+(?:(?:\\n|\s)*Did you mean "(\w+)".*)?$""", text, re.DOTALL
  )
  if found is None:
    return ""
  return repr(found[1]) + (f", did you mean {found[2]!r}?" if found[2] else "")


def config_name() -> str:
  """The name of a run without --workdir: c_ii_tiny for --config=configs/c_ii.py:tiny."""
  path, _, size = config_flags.get_config_filename(flags.FLAGS["config"]).partition(":")
  return "_".join(part for part in (Path(path).stem, size) if part)


def _parse(arguments: list[str]) -> ConfigDict:
  """The config of a command line; UsageError for whatever is wrong with it."""
  try:
    rest = flags.FLAGS(arguments)
    config = _CONFIG.value
    if config is not None:
      config.is_locked  # noqa: B018  a file that is not there is reported on first use only
  except Exception as error:  # a config file is code and can fail in any way
    name, word = _named(arguments), _unknown(error)
    if name is not None and not Path(name).is_file():
      raise UsageError(f"--config={name}: no such file; name one of configs/") from None
    if word:
      raise UsageError(
        f"the config has no entry {word}; what it has is in {name or 'its file'}, and in what that"
        f" takes of configs/base.py"
      ) from None
    # A failing config file is reported with its traceback, of which the last line says what.
    lines = " ".join(str(arg) for arg in error.args).strip().splitlines()
    raise UsageError(lines[-1] if "Traceback" in " ".join(lines) else " ".join(lines)) from None
  if len(rest) > 1:
    raise UsageError(f"unexpected argument {rest[1]!r}; flags begin with --")
  if config is None:
    raise UsageError("--config is missing; name a file, as in --config=configs/demo.py")
  _check_numbers(config)
  return config


def _check_numbers(config: ConfigDict) -> None:
  """UsageError for a number that is not finite, or negative where none can be."""
  for name, value in flat(json.loads(config.to_json())).items():
    numbers = [n for n in (value if isinstance(value, list) else [value]) if _is_number(n)]
    low = -math.inf if name.startswith(SIGNED) else 0
    if wrong := [n for n in numbers if not (math.isfinite(n) and n >= low)]:
      expected = "a finite number" + (" from 0 on" if low == 0 else "")
      raise UsageError(f"{name}: got {wrong[0]}, expected {expected}")


def _is_number(value: object) -> bool:
  return isinstance(value, (int, float))


if __name__ == "__main__":
  main()
