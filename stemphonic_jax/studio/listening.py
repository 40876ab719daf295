"""A studio on a socket, until it is told to end."""

import socket

import uvicorn

from stemphonic_jax.studio.server import Server

PATIENCE = 2  # seconds for answers that are under way when the studio ends


class Listening(uvicorn.Server):
  """uvicorn with the streams of events ended first: a page that is open would hold it up."""

  def __init__(self, server: Server):
    self._server = server
    config = uvicorn.Config(
      server.app,
      log_config=None,
      log_level="warning",
      access_log=False,
      server_header=False,
      timeout_graceful_shutdown=PATIENCE,
    )
    super().__init__(config)

  async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
    self._server.studio.events.close()
    await super().shutdown(sockets)
