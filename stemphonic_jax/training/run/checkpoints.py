"""Training checkpoints: the whole state and the position in the data, saved together by Orbax.

A checkpoint becomes visible when it is complete, by one rename, and brings its manifest along. The
newest whole one is what a run resumes, on any mesh: one that was damaged since is set aside. On
several hosts all of them call every method; the first one decides what all then do.
"""

import json
import logging as python_logging
import math
import os
import shutil
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging
from jax.experimental import multihost_utils
from orbax.checkpoint import checkpoint_managers as policies

from stemphonic_jax.errors import (
  DataError,
  MismatchError,
  OutputError,
  StemphonicError,
)
from stemphonic_jax.training.run import disk, manifest
from stemphonic_jax.training.run.identity import differing, lasting
from stemphonic_jax.training.run.state import TrainState

TRASH, DAMAGED = "trash", "damaged"
MOST_FAILURES = 3  # of saves in a row
ROOM = 2.2  # sizes of a checkpoint: a new one, beside the one that it replaces
SLICE = 1 << 20  # bytes of an array from which on its replicas write a part of it each
_HELD_OUT = "held_out_loss"


class Checkpoints:
  """The checkpoints of one run in `directory`: the newest `keep`, and the `keep_best` best.

  The best have the lowest held-out loss. `fingerprint`, of JSON's types, is what makes a run this
  one. Raises OutputError where the directory cannot be made.
  """

  def __init__(
    self,
    directory: Path,
    *,
    keep: int = 2,
    keep_best: int = 0,
    fingerprint: Mapping[str, Any],
  ):
    self._directory = directory.absolute()
    self._fingerprint = lasting(json.loads(json.dumps(fingerprint)))
    self._saving: int | None = None
    self._failures = 0
    self._tried = self._lost = False
    self._tidying = threading.Thread()
    try:
      self._directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
      raise OutputError(f"{directory}: cannot be made ({error.strerror})") from None
    if jax.process_index() == 0:
      self._empty_trash()
      self._set_aside_unreadable()
    _agreed(0)  # that is, when the first host has done it
    self._reports = _Reports()
    logging.get_absl_logger().addFilter(self._reports)
    python_logging.getLogger("asyncio").addFilter(_no_orphan)

    arrays = ocp.type_handlers.ArrayHandler(min_slice_bytes_for_replica_parallel=SLICE)
    registry = ocp.type_handlers.create_type_handler_registry((jax.Array, arrays))
    trees = ocp.PyTreeCheckpointHandler(type_handler_registry=registry)
    handlers = ocp.handlers.DefaultCheckpointHandlerRegistry()
    for args in (ocp.args.PyTreeSave, ocp.args.PyTreeRestore):
      handlers.add("state", args, trees)
    for args in (ocp.args.JsonSave, ocp.args.JsonRestore):
      handlers.add("run", args, ocp.JsonCheckpointHandler())
    best = policies.BestN(
      get_metric_fn=_held_out, reverse=True, n=keep_best, keep_checkpoints_without_metrics=False
    )
    self._manager = ocp.CheckpointManager(
      self._directory,
      handler_registry=handlers,
      options=ocp.CheckpointManagerOptions(
        preservation_policy=policies.AnyPreservationPolicy([policies.LatestN(keep), best]),
        best_fn=_held_out,
        # Old steps are renamed before they are deleted, so a kill cannot leave a hollow one listed.
        todelete_subdir=TRASH,
        cleanup_tmp_directories=True,
        async_options=ocp.AsyncOptions(
          # Runs when all files are written and before the rename that makes them a checkpoint.
          post_finalization_callback=self._write_manifest,
          # Where folders cannot be made, threads that wait for them keep the process from ending.
          create_directories_asynchronously=False,
        ),
      ),
    )

  def latest_step(self) -> int | None:
    """Number of the newest whole checkpoint, by the sizes of its files, or None."""
    return _agreed(_latest(self._directory))

  def save(self, state: TrainState, position: int, held_out: float | None = None) -> None:
    """Saves the state and the position of its next batch; the write goes on in the background.

    A step that is saved already is left. Raises OutputError as `check` does, and where the first
    checkpoint has no room.
    """
    self._settle()
    self._join()
    step = int(state.step)
    if step == self.latest_step():
      return
    if not self._tried:
      self._check_room(state)
    finite = held_out is not None and math.isfinite(held_out)
    metrics = {_HELD_OUT: float(held_out)} if finite else {}
    run = {"position": position, "fingerprint": self._fingerprint} | metrics
    items = ocp.args.Composite(state=ocp.args.PyTreeSave(state), run=ocp.args.JsonSave(run))
    self._saving, self._reports.failure = step, None
    try:
      self._manager.save(step, args=items, metrics=metrics, force=True)
    except (OSError, ValueError) as error:  # the folders are made in the foreground
      self._failed(error)

  def restore(self, abstract: TrainState) -> tuple[TrainState, int] | None:
    """The newest whole checkpoint and the position of its next batch; None where there is none.

    `abstract` says shapes, dtypes and places: of any mesh (state.abstract). Damaged checkpoints are
    set aside with a warning. Raises MismatchError, before arrays are read, where the checkpoint is
    of another model or run; DataError where only damaged ones are left; OutputError where there is
    no room for the next ones.
    """
    self._check_room(abstract)
    while (step := _agreed(max(_steps(self._directory), default=None))) is not None:
      if damage := self._damage(step):
        self._set_aside(step, damage)
        continue
      run = self._manager.restore(step, args=ocp.args.Composite(run=ocp.args.JsonRestore()))["run"]
      theirs, ours = lasting(run["fingerprint"]), self._fingerprint
      self._refuse(step, "is of another run", theirs, ours, differing(ours, theirs))
      saved, wanted = _shapes(self._manager.item_metadata(step)["state"].tree), _shapes(abstract)
      names = [name for name in sorted(saved | wanted) if saved.get(name) != wanted.get(name)]
      self._refuse(step, "holds another model", saved, wanted, names)
      places = ocp.checkpoint_utils.construct_restore_args(abstract)
      items = ocp.args.Composite(state=ocp.args.PyTreeRestore(abstract, restore_args=places))
      return self._manager.restore(step, args=items)["state"], run["position"]
    aside = self._directory / DAMAGED
    if _agreed(int(aside.is_dir())):
      raise DataError(
        f"{self._directory}: no whole checkpoint is left; damaged ones are in {aside}: put back"
        f" copies of them, or remove that folder to begin anew"
      )
    return None

  def check(self) -> None:
    """Looks after the save in the background; cheap enough for every step.

    A failed one is cleared away, with one line of log, and the next one tries again. Raises
    OutputError after three in a row; on several hosts after one, for the others wait for this one.
    """
    if self._saving is None:
      return
    if jax.process_count() > 1 and self._reports.failure:
      self._failed(self._reports.failure)
    if not self._manager.is_saving_in_progress():
      self._settle()

  def wait(self) -> None:
    """Returns when the save under way, or the last one, is on disk; OutputError where it is not."""
    self._settle()
    self._join()
    if self._failures:
      raise OutputError(f"{self._directory}: the last checkpoint could not be written")

  def close(self) -> None:
    """Lets the write under way end, unless other hosts wait for ever in it for this one."""
    if self._lost:
      return
    try:
      self._settle()
      self._join()
    finally:
      self._manager.close()
      logging.get_absl_logger().removeFilter(self._reports)

  def _check_room(self, state: TrainState) -> None:
    """OutputError where the folder cannot be written, or has no room for what is yet to come.

    The first checkpoint has another one beside it before it is deleted; later ones replace one.
    """
    self._tried = True
    leaves = jax.tree.leaves(state)
    size = sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in leaves)
    _check_room(self._directory, size, ROOM if self.latest_step() is None else ROOM / 2)

  def _settle(self) -> None:
    """Waits for the save under way and sees what became of it."""
    if self._saving is None:
      return
    step = self._saving
    try:
      self._manager.wait_until_finished()
    except Exception as error:  # of whatever wrote in the background
      self._failed(error)
      return
    self._saving, self._failures = None, 0
    if jax.process_index() == 0:
      self._tidying = threading.Thread(target=self._tidy, args=(step,), name="tidy")
      self._tidying.start()

  def _join(self) -> None:
    """Waits for the thread that tidies up."""
    if self._tidying.ident is not None:
      self._tidying.join()

  def _failed(self, error: BaseException) -> None:
    """Clears away what is left of a failed save, and says so once.

    Its other writers may still be at work and put a file back: `_tidy` of the next one sees to it.
    """
    step, self._saving = self._saving, None
    self._failures += 1
    shutil.rmtree(self._directory / _partial(step), ignore_errors=True)
    what = f"{self._directory}: checkpoint {step} could not be written ({disk.reason(error)})"
    self._lost = jax.process_count() > 1
    if self._lost:  # the others wait for this one; all are to be started again
      raise StemphonicError(f"{what}; older ones are as they were")
    if self._failures == MOST_FAILURES:
      raise OutputError(f"{what}, which was failure {self._failures}; older ones are as they were")
    self._manager.reload()  # the old steps that it meant to delete are still there
    logging.warning("%s; older ones are as they were, the next save tries again", what)

  def _write_manifest(self) -> None:
    """Writes the manifest of the save under way, in Orbax's thread."""
    manifest.write(self._directory / _partial(self._saving))

  def _tidy(self, step: int) -> None:
    """What need not be waited for: the last lines of a manifest, the deletion of old steps."""
    try:
      manifest.seal(self._directory / str(step))
      self._empty_trash()
      descriptor = os.open(self._directory, os.O_RDONLY)
      os.fsync(descriptor)  # of the rename that made the checkpoint visible
      os.close(descriptor)
    except (OSError, ValueError) as error:
      logging.warning(
        "%s: could not tidy up after checkpoint %d (%s)", self._directory, step, error
      )

  def _empty_trash(self) -> None:
    """Deletes old steps and the remains of saves that failed, when none is under way."""
    for pattern in (f"{TRASH}/*", _partial("*")):
      for old in self._directory.glob(pattern):
        shutil.rmtree(old, ignore_errors=True)

  def _damage(self, step: int) -> str:
    """What is wrong with a checkpoint, or nothing; each host reads a share of it."""
    share = jax.process_index(), jax.process_count()
    found = manifest.findings(self._directory / str(step), contents=True, share=share)
    counts = multihost_utils.process_allgather(np.array(len(found), np.int32))
    return "; ".join(found[:3]) or ("seen by another host" if np.any(counts) else "")

  def _set_aside_unreadable(self) -> None:
    """Sets aside what Orbax's manager, which reads the small files of all steps, would fail on."""
    for step in _steps(self._directory):
      folder = self._directory / str(step)
      if damage := manifest.findings(folder, contents=True, only=manifest.SMALL):
        self._move_aside(step, "; ".join(damage[:3]), "others are as they were")

  def _set_aside(self, step: int, damage: str) -> None:
    """Moves a damaged checkpoint out of the way, for its number will be needed again."""
    if jax.process_index() == 0:
      self._move_aside(step, damage, "the one before it is taken")
    _agreed(step)  # that is, when the first host has done it
    self._manager.reload()

  def _move_aside(self, step: int, damage: str, then: str) -> None:
    aside = self._directory / DAMAGED
    aside.mkdir(exist_ok=True)
    taken = sum(path.stem == str(step) for path in aside.iterdir())  # damaged again and again
    os.replace(self._directory / str(step), aside / (f"{step}.{taken}" if taken else f"{step}"))
    logging.warning(
      "%s: checkpoint %d is damaged (%s); it is in %s now, and %s",
      self._directory, step, damage, aside, then,
    )  # fmt: skip

  def _refuse(
    self, step: int, what: str, saved: Mapping, wanted: Mapping, names: Sequence[str]
  ) -> None:
    """MismatchError where there are `names` of differences: Orbax's own messages hide the cause."""
    rows = [
      f"{name}: checkpoint {saved.get(name, 'absent')}, now {wanted.get(name, 'absent')}"
      for name in names[:5]
    ]
    if rows:
      raise MismatchError(
        f"checkpoint {step} in {self._directory} {what} "
        f"({len(names)} differences): " + "; ".join(rows)
      )


class _Reports(python_logging.Filter):
  """Keeps Orbax's tracebacks of a failed write out of the log, where `_failed` has a line on it.

  The log is also where Orbax tells at once: its caller hears when all hosts agree on the failure,
  which they cannot while they wait for the one that failed.
  """

  failure: BaseException | None = None

  def filter(self, record: python_logging.LogRecord) -> bool:
    if (
      "orbax" not in record.pathname or not record.exc_info or record.levelno < python_logging.ERROR
    ):
      return True
    self.failure = record.exc_info[1]
    return False


def _no_orphan(record: python_logging.LogRecord) -> bool:
  """Not the other parts of a write that failed, which asyncio tells of when they are collected."""
  return "orbax" not in record.getMessage()


def reached(directory: Path, step: int) -> bool:
  """Whether a run has a checkpoint of this step or a later one, so that nothing is left to do."""
  return _agreed(_latest(directory) or 0) >= step


def verify(directory: Path) -> dict[int, list[str]]:
  """For each checkpoint of a run, oldest first, what is wrong with its files: nothing, if whole.

  Those that were set aside are among them no more.
  """
  return {
    step: manifest.findings(directory / str(step), contents=True) for step in _steps(directory)
  }


def _steps(directory: Path) -> list[int]:
  """Numbers of the checkpoints in a folder, damaged or not, in order."""
  paths = directory.iterdir() if directory.is_dir() else ()
  return sorted(int(path.name) for path in paths if path.name.isdecimal() and path.is_dir())


def _latest(directory: Path) -> int | None:
  """Number of the newest checkpoint whose files are there and as long as they should be."""
  for step in reversed(_steps(directory)):
    if not manifest.findings(directory / str(step), contents=False):
      return step
  return None


def _agreed(number: int | None) -> int | None:
  """What the first host says, on all of them."""
  code = np.array(-1 if number is None else number, np.int32)
  agreed = int(multihost_utils.broadcast_one_to_all(code))
  return None if agreed < 0 else agreed


def _partial(step: int | str) -> str:
  """The folder that Orbax writes a checkpoint in, before it is one."""
  return f"{step}{ocp.path.atomicity.TMP_DIR_SUFFIX}"


def _check_room(directory: Path, size: int, times: float) -> None:
  """OutputError where the folder cannot be written, or lacks room for `times` the bytes `size`."""
  problem = disk.no_room(directory, size, times) if jax.process_index() == 0 else ""
  if _agreed(int(bool(problem))):
    raise OutputError(problem or f"{directory}: the first host cannot save checkpoints here")


def _held_out(metrics: Mapping[str, float]) -> float:
  """What the best checkpoints have least of; one that was not measured has most."""
  return metrics.get(_HELD_OUT, math.inf)


def _shapes(tree: Any) -> dict[str, str]:
  """Maps each leaf's path to its shape and dtype, in words."""
  leaves = jax.tree_util.tree_flatten_with_path(tree)[0]

  def name(path) -> str:
    return "/".join(str(getattr(p, "key", getattr(p, "name", getattr(p, "idx", p)))) for p in path)

  return {name(path): f"{tuple(leaf.shape)} {leaf.dtype}" for path, leaf in leaves}
