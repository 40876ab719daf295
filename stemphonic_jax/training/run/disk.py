"""Whether a disk takes a checkpoint, and what it says where it does not."""

import errno
import math
import os
import shutil
from pathlib import Path


def no_room(directory: Path, size: int, times: float) -> str:
  """Writes a little as a checkpoint is written; why a checkpoint cannot be, or nothing."""
  probe = directory / "probe.partial"
  try:
    with probe.open("wb") as file:
      file.write(bytes(1024))
      file.flush()
      os.fsync(file.fileno())
    os.replace(probe, probe.with_suffix(""))
    probe.with_suffix("").unlink()
  except OSError as error:
    return f"{directory}: checkpoints cannot be written here ({error.strerror})"
  free, needed = shutil.disk_usage(directory).free, math.ceil(times * size)
  if free < needed:
    return (
      f"{directory}: {free / 1e9:.2f} GB are free, and checkpoints of {size / 1e9:.2f} GB need"
      f" {needed / 1e9:.2f} GB; make room, or take another --workdir"
    )
  return ""


def reason(error: BaseException) -> str:
  """An error in a few words: the system's own where Orbax and TensorStore hand one on."""
  text = " ".join(str(error).split())
  codes = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EIO)
  known = [os.strerror(code) for code in codes if os.strerror(code) in text]
  return known[0] if known else f"{type(error).__name__}: {text[:200]}"
