"""What may be asked for at most, whatever the model is; a text is held against it."""

from stemphonic_jax.errors import UsageError

MAX_STEMS = 16
MAX_VARIATIONS = 64
MAX_PROMPT = 4_000  # characters; a text encoder reads far fewer
MAX_WORDS = 400  # characters, of the words of one stem
MAX_STEPS = 1_000
MAX_SEED = 2**32 - 1
MAX_GUIDANCE = 20.0


def check_text(what: str, text: str, most: int) -> None:
  """UsageError for a text that is none, or has more than so many characters."""
  if any("\ud800" <= letter <= "\udfff" for letter in text):
    raise UsageError(f"{what} is not text: it holds bytes that are not UTF-8")
  if len(text) > most:
    raise UsageError(f"{what} has {len(text)} characters, expected at most {most}")
