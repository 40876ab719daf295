"""`stemphonic studio`: compose with stems in a browser."""

import argparse
import contextlib
import ipaddress
import secrets
import socket
import sys
import webbrowser
from pathlib import Path
from typing import Any

from stemphonic_jax import door
from stemphonic_jax.cli.arguments import command, model_option, path, whole
from stemphonic_jax.errors import MissingError, UsageError

PORT = 7700


def add(commands: Any) -> None:
  """Adds the command and its arguments to argparse's subparsers."""
  studio = command(commands, "studio", run, "compose with stems in a browser")
  model_option(studio)
  studio.add_argument(
    "--songs", type=path, default=Path("runs"), metavar="DIR", help="folder of songs; default runs"
  )
  studio.add_argument(
    "--port", type=whole(0, 65535), default=PORT, help=f"default {PORT}; 0 is any that is free"
  )
  studio.add_argument("--open", action="store_true", help="open the page in a browser")
  studio.add_argument(
    "--host", default="127.0.0.1", help="address to listen at; one that others reach takes --token"
  )
  studio.add_argument(
    "--token",
    nargs="?",
    const="",
    metavar="WORD",
    help="a secret that the page is opened with; without WORD one is made up",
  )


def run(request: argparse.Namespace) -> None:
  """Serves the page until it is interrupted."""
  try:
    import starlette  # noqa: F401
    import uvicorn  # noqa: F401
  except ImportError:
    raise MissingError(
      'the studio needs two more packages; pip install "stemphonic-jax[studio]"'
    ) from None
  token = _token(request)
  door.set_up()
  from stemphonic_jax.studio.listening import Listening
  from stemphonic_jax.studio.server import Server
  from stemphonic_jax.studio.studio import Studio
  from stemphonic_jax.weights.hub import find_model

  model = find_model(request.model)  # said here where it is not there, and not by the worker
  listener = _listen(request.host, request.port)
  port = listener.getsockname()[1]
  shown = request.host if _is_loopback(request.host) else socket.gethostname()
  names = {request.host, "localhost", "127.0.0.1", "[::1]"}
  hosts = {f"{name}:{port}" for name in names} | (names if port == 80 else set())
  if token and not _is_loopback(request.host):
    hosts = None  # the token is what counts, whatever this machine is called
  server = Server(Studio(request.songs, _worker(str(model))), hosts, token)
  bare = f"[{shown}]" if ":" in shown else shown
  address = f"http://{bare}:{port}/" + (f"?token={token}" if token else "")
  print(
    f"The studio is at {address} (end it with Ctrl-C); songs are in {request.songs}", flush=True
  )
  if request.open:
    webbrowser.open(address)
  with contextlib.suppress(KeyboardInterrupt):  # the way to end it
    Listening(server).run(sockets=[listener])


def _worker(model: str) -> list[str]:
  """The command of the process that owns the model."""
  return [sys.executable, "-c", f"from {__name__} import work; work()", model]


def work() -> None:
  """That process: it loads the model that its argument names, and does what it is told."""
  from stemphonic_jax.studio import worker

  def load() -> Any:
    door.set_up()
    from stemphonic_jax.generation.pipeline import StemPipeline

    return StemPipeline.load(sys.argv[1])

  worker.run(load)


def _token(request: argparse.Namespace) -> str | None:
  """The token; UsageError where others can reach the studio and there is none."""
  if request.token is None and not _is_loopback(request.host):
    raise UsageError(
      f"--host {request.host}: whoever reaches this machine could open your songs and use the"
      f" model; add --token, so that only who has the address it says comes in (nothing is"
      f" encrypted: on a network of others, use ssh -L {request.port}:localhost:{request.port})"
    )
  if request.token == "":
    return secrets.token_urlsafe(16)
  if request.token is not None and (len(request.token) < 8 or not request.token.isalnum()):
    raise UsageError("--token: expected 8 letters and digits or more, or nothing to have one made")
  return request.token


def _is_loopback(host: str) -> bool:
  try:
    return ipaddress.ip_address(host).is_loopback
  except ValueError:
    return host == "localhost"


def _listen(host: str, port: int) -> socket.socket:
  """A socket that listens; UsageError where the port is taken, or the address is not ours."""
  family = socket.AF_INET6 if ":" in host else socket.AF_INET
  listener = socket.socket(family, socket.SOCK_STREAM)
  listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
  try:
    listener.bind((host, port))
  except OSError as error:
    listener.close()
    reason = error.strerror or error
    raise UsageError(
      f"{host}:{port}: cannot listen there ({reason}); is a studio running already? else choose"
      f" another --port"
    ) from None
  return listener
