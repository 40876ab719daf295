"""Models by name: "demo", which comes with the package, and hf://owner/name, which is a bundle in a
repository of the Hugging Face hub.

What is fetched stays in the hub's own cache (HF_HOME says where) and is not fetched again, so that
a model which was used once is there without a network too. It is checked like any other folder.
"""

import re
from pathlib import Path

from stemphonic_jax.errors import MissingError, UsageError
from stemphonic_jax.weights import known
from stemphonic_jax.weights.signed import NOTICE, find_bundle

# Named one by one: patterns of the hub go into subfolders, and a foreign repository may be huge.
CODECS = tuple(known.codec_file(name) for name in ("bass", "drums", "other", "stems"))
PARTS = (known.TEXT_ENCODER, known.ALIGNMENT, known.NETWORK, *CODECS)  # which not every model has
FILES = ("manifest.json", NOTICE, *known.FILES, *PARTS)
DEMO = Path(__file__).parents[1] / "demo"
NAME = re.compile(r"hf://([\w.-]+/[\w.-]+)(?:@([\w.-]+(?:/[\w.-]+)*))?", re.ASCII)


def find_model(name: str | Path) -> Path:
  """The model folder, or workdir, that `name` is, fetched where it is hf://owner/name."""
  return fetch(str(name)) if str(name).startswith("hf://") else find_bundle(folder_of(name))


def folder_of(name: str | Path) -> Path:
  """The folder of a model here: "demo" is that of the package, and ./demo one of that name."""
  return DEMO if str(name) == "demo" else Path(name)


def fetch(name: str) -> Path:
  """The folder of hf://owner/name, or hf://owner/name@revision: a branch, a tag or a commit.

  UsageError where `name` is not of this form; MissingError where the hub has no such bundle, does
  not give it away, or cannot be reached.
  """
  malformed = UsageError(f"{name}: expected hf://owner/name or hf://owner/name@revision")
  match = NAME.fullmatch(name)
  if not match or ".." in name:  # which would be a way out of the cache
    raise malformed
  repository, revision = match.groups()
  try:
    from huggingface_hub import errors, snapshot_download
  except ImportError:
    raise MissingError(
      f'{name}: models of the hub are fetched with pip install "stemphonic-jax[hub]"'
    ) from None
  try:
    folder = snapshot_download(repository, revision=revision, allow_patterns=list(FILES))
  except errors.HFValidationError:
    raise malformed from None
  except errors.GatedRepoError:
    raise MissingError(
      f"{name}: its owner asks for consent; accept the terms at https://huggingface.co/{repository}"
      f" and run `hf auth login`"
    ) from None
  except errors.RepositoryNotFoundError:
    raise MissingError(
      f"{name}: the hub has no such model, or it is private; check the name, or run `hf auth login`"
    ) from None
  except errors.RevisionNotFoundError:
    raise MissingError(
      f"{name}: the model has no branch, tag or commit of that name; leave out @{revision} for the"
      f" newest"
    ) from None
  except errors.LocalEntryNotFoundError:
    raise MissingError(
      f"{name}: the hub cannot be reached, and the cache does not hold all of the model; try again"
      f" with a network and without HF_HUB_OFFLINE"
    ) from None
  except Exception as error:  # several libraries carry the bytes, each with errors of its own
    reason = (str(error) or type(error).__name__).splitlines()[0]
    raise MissingError(
      f"{name}: cannot be fetched ({reason}); try again later, and see that `hf auth whoami` works"
    ) from None
  if not Path(folder, "manifest.json").is_file():
    raise MissingError(f"{name}: is no model of stemphonic_jax (it has no manifest.json)")
  return Path(folder)
