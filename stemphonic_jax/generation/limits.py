"""What may be asked for at most, and what stems are called: known without a model and jax."""

from collections.abc import Sequence

from stemphonic_jax.errors import UsageError

MAX_STEMS = 16
MAX_VARIATIONS = 64
MAX_PROMPT = 4_000  # characters; a text encoder reads far fewer
MAX_WORDS = 400  # characters, of the words of one stem
MAX_STEPS = 1_000
MAX_SEED = 2**32 - 1
MAX_GUIDANCE = 20.0


def unique_name(stem_type: str, taken: Sequence[str]) -> str:
  """ "guitars", or "guitars 2" where that is taken, and so on.

  Capitals make no difference: Drums.wav and drums.wav are one file on many systems.
  """
  name, number, names = stem_type, 1, {word.lower() for word in taken}
  while name.lower() in names:
    number += 1
    name = f"{stem_type} {number}"
  return name


def check_text(what: str, text: str, most: int) -> None:
  """UsageError for a text that is none, or has more than so many characters."""
  if any("\ud800" <= letter <= "\udfff" for letter in text):
    raise UsageError(f"{what} is not text: it holds bytes that are not UTF-8")
  if len(text) > most:
    raise UsageError(f"{what} has {len(text)} characters, expected at most {most}")
