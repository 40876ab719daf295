"""Server-sent events: what changed, to all pages that are open."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

BEAT = 15.0  # seconds, after which a line without meaning shows that we are there
BEHIND = 500  # events that a page may be behind; one that is further reads all anew


class Events:
  """Those who listen, and what they are told."""

  def __init__(self):
    self._listeners: set[asyncio.Queue] = set()

  def tell(self, kind: str, **content: Any) -> None:
    """Says something to all."""
    message = {"type": kind, **content}
    for queue in list(self._listeners):
      if queue.qsize() >= BEHIND:
        while not queue.empty():
          queue.get_nowait()
        queue.put_nowait({"type": "anew"})
      else:
        queue.put_nowait(message)

  def close(self) -> None:
    """Ends all streams."""
    for queue in self._listeners:
      queue.put_nowait(None)

  async def stream(self) -> AsyncIterator[bytes]:
    """Lines for one listener, until it goes."""
    queue: asyncio.Queue = asyncio.Queue()
    self._listeners.add(queue)
    try:
      yield b"retry: 1000\n\n"
      while True:
        try:
          message = await asyncio.wait_for(queue.get(), BEAT)
        except TimeoutError:
          yield b": still here\n\n"
          continue
        if message is None:
          return
        yield b"data: " + json.dumps(message).encode() + b"\n\n"
    finally:
      self._listeners.discard(queue)
