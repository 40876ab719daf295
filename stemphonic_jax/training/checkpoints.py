"""Training checkpoints: the whole state and the data iterator's position, saved together by Orbax.

A checkpoint is visible only when it is complete; the newest complete one is what a run resumes.
"""

import contextlib
from pathlib import Path
from typing import Any

import grain
import jax
import orbax.checkpoint as ocp

from stemphonic_jax.errors import MismatchError
from stemphonic_jax.training.state import TrainState


class Checkpoints:
  """The checkpoints of one run, in `directory`; the newest `keep` are retained."""

  def __init__(self, directory: Path, keep: int = 2):
    handlers = ocp.handlers.DefaultCheckpointHandlerRegistry()
    for args in (ocp.args.StandardSave, ocp.args.StandardRestore):
      handlers.add("state", args, ocp.StandardCheckpointHandler())
    for args in (grain.checkpoint.CheckpointSave, grain.checkpoint.CheckpointRestore):
      handlers.add("data", args, grain.checkpoint.CheckpointHandler())
    self._manager = ocp.CheckpointManager(
      directory.absolute(),
      handler_registry=handlers,
      options=ocp.CheckpointManagerOptions(
        preservation_policy=ocp.checkpoint_managers.LatestN(keep),
        # Old steps are renamed before they are deleted, so a kill cannot leave a hollow one listed.
        todelete_subdir="trash",
        cleanup_tmp_directories=True,
      ),
    )

  def latest_step(self) -> int | None:
    """Number of the newest complete checkpoint, or None."""
    return self._manager.latest_step()

  def save(self, state: TrainState, batches: grain.DatasetIterator) -> None:
    """Saves state and data position; the write goes on in the background. Saved steps are kept."""
    step = int(state.step)
    if step == self.latest_step():
      return
    items = ocp.args.Composite(
      state=ocp.args.StandardSave(state), data=grain.checkpoint.CheckpointSave(batches)
    )
    self._manager.save(step, args=items, force=True)

  def restore(
    self, state: TrainState, batches: grain.DatasetIterator
  ) -> tuple[TrainState, grain.DatasetIterator]:
    """The newest checkpoint in the shapes and shardings of `state`, and the data at its position.

    Returns the arguments unchanged where there is no checkpoint. Raises MismatchError where the
    checkpoint holds another model.
    """
    step = self.latest_step()
    if step is None:
      return state, batches
    self._check(step, state)
    abstract = jax.tree.map(ocp.tree.to_shape_dtype_struct, state)
    items = ocp.args.Composite(
      state=ocp.args.StandardRestore(abstract), data=grain.checkpoint.CheckpointRestore(batches)
    )
    restored = self._manager.restore(step, args=items)
    return restored["state"], restored["data"] or batches

  def close(self) -> None:
    """Waits for writes under way; errors of the background write are raised here."""
    self._manager.wait_until_finished()
    self._manager.close()

  def _check(self, step: int, state: TrainState) -> None:
    """Compares names and shapes before anything is read: Orbax's own messages hide the cause."""
    saved = _shapes(self._manager.item_metadata(step)["state"].tree)
    wanted = _shapes(state)
    rows = [
      f"{name}: checkpoint {saved.get(name, 'absent')}, model {wanted.get(name, 'absent')}"
      for name in sorted(saved.keys() | wanted.keys())
      if saved.get(name) != wanted.get(name)
    ]
    if rows:
      raise MismatchError(
        f"checkpoint {step} in {self._manager.directory} holds another model "
        f"({len(rows)} differences): " + "; ".join(rows[:5])
      )


def reached(directory: Path, step: int) -> bool:
  """Whether a run has a checkpoint of this step or a later one, so that nothing is left to do."""
  if not directory.is_dir():
    return False
  with contextlib.closing(Checkpoints(directory)) as checkpoints:
    return (checkpoints.latest_step() or 0) >= step


def _shapes(tree: Any) -> dict[str, str]:
  """Maps each leaf's path to its shape and dtype, in words."""
  leaves = jax.tree_util.tree_flatten_with_path(tree)[0]

  def name(path) -> str:
    return "/".join(str(getattr(p, "key", getattr(p, "name", getattr(p, "idx", p)))) for p in path)

  return {name(path): f"{tuple(leaf.shape)} {leaf.dtype}" for path, leaf in leaves}
