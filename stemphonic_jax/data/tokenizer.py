"""Text as token ids: a sentencepiece model, trained on a corpus' prompts or T5's own.

Both have the same layout of ids (T5's): 0 pads, 1 ends a text, 2 is unknown. One that is trained
here has a piece for each musical key, and reads a key in any spelling as that (keys.py).
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import sentencepiece
from absl import logging
from jaxtyping import Bool, Int32

from stemphonic_jax.data.keys import KEYS, in_one_spelling
from stemphonic_jax.errors import DataError, MissingError, OutputError, UsageError

PAD, END, UNKNOWN = 0, 1, 2
KEY_PIECES = [f"▁{key.replace(' ', '▁')}" for key in KEYS]
# Training, a log should say that texts are cut, but not once per row.
WARN_EVERY_SECONDS = 60


class Tokenizer:
  """Texts to ids and back. `model` is the serialised sentencepiece model, as its file holds it."""

  def __init__(self, model: bytes):
    self.model = model
    self._processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    self._knows_keys = self._processor.piece_to_id(KEY_PIECES[0]) != self._processor.unk_id()

  @classmethod
  def load(cls, path: str | Path) -> Tokenizer:
    """Reads a sentencepiece model; MissingError or DataError where it is none with T5's layout."""
    path = Path(path)
    if not path.is_file():
      raise MissingError(f"{path}: no such sentencepiece model")
    try:
      tokenizer = cls(path.read_bytes())
    except RuntimeError:
      raise DataError(f"{path}: not a sentencepiece model") from None
    processor = tokenizer._processor
    layout = processor.pad_id(), processor.eos_id(), processor.unk_id()
    if layout != (PAD, END, UNKNOWN):
      raise DataError(f"{path}: pad, end, unknown are {layout}, expected {(PAD, END, UNKNOWN)}")
    return tokenizer

  @classmethod
  def train(cls, texts: Iterable[str], path: str | Path, vocab_size: int) -> Tokenizer:
    """Trains a byte-pair model on `texts` and writes it to `path`; the same texts, the same bytes.

    Give it whole prompts, so that their fixed words and stem types cost few tokens. `vocab_size` is
    an upper limit: a small corpus has no more pieces to give. What `texts` do not hold, or hardly,
    is spelt in bytes, so no character is unknown. UsageError where there are no texts, or too few
    pieces for the 256 bytes, the 24 keys and the common characters.
    """
    texts = [in_one_spelling(text) for text in texts if text]
    if not texts:
      raise UsageError("no texts to train a tokenizer on")
    model = io.BytesIO()
    try:
      sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=model,
        model_type="bpe",  # whole words sooner than a unigram model of so small a corpus
        vocab_size=vocab_size,
        hard_vocab_limit=False,
        byte_fallback=True,
        max_sentence_length=1 << 20,  # bytes; longer texts would be left out without a word
        pad_id=PAD,
        eos_id=END,
        unk_id=UNKNOWN,
        bos_id=-1,
        user_defined_symbols=KEY_PIECES,
        num_threads=1,
        minloglevel=2,
      )
    except RuntimeError as error:
      reason = str(error).strip().rpartition("] ")[2]
      raise UsageError(f"cannot train a tokenizer of {vocab_size} pieces: {reason}") from None
    path = Path(path)
    partial = path.with_name(f".{path.name}.partial")
    try:
      path.parent.mkdir(parents=True, exist_ok=True)
      partial.write_bytes(model.getvalue())
      os.replace(partial, path)
    except OSError as error:
      raise OutputError(f"{path}: cannot be written ({error.strerror})") from None
    return cls(model.getvalue())

  def __len__(self) -> int:
    """The number of ids, which is the number of rows of an embedding table."""
    return len(self._processor)

  def encode(
    self, texts: Sequence[str], length: int
  ) -> tuple[Int32[np.ndarray, "B S"], Bool[np.ndarray, "B S"]]:
    """Ids padded to `length` and the mask of what is not padding; the end of a text has an id.

    A text that is too long is cut, keeps its end id, and is reported with its number of tokens.
    """
    texts = [in_one_spelling(text) for text in texts] if self._knows_keys else list(texts)
    tokens = np.full((len(texts), length), PAD, np.int32)
    mask = np.zeros((len(texts), length), bool)
    for row, ids in enumerate(self._processor.encode(texts, add_eos=True, num_threads=1)):
      if len(ids) > length:
        logging.log_every_n_seconds(
          logging.WARNING,
          "text of %d tokens cut to %d: %.60s...",
          WARN_EVERY_SECONDS,
          len(ids),
          length,
          texts[row],
        )
        ids = [*ids[: length - 1], END]
      tokens[row, : len(ids)] = ids
      mask[row, : len(ids)] = True
    return tokens, mask

  def decode(self, tokens: Int32[np.ndarray, "S"]) -> str:
    """The text of one row of ids; padding and the end are not part of it."""
    return self._processor.decode([int(t) for t in tokens if t not in (PAD, END)])

  def spelt_by(self, other: Tokenizer) -> list[list[int]]:
    """For each id here, the ids with which `other` writes the same piece of text."""
    pieces = [self._processor.id_to_piece(i) for i in range(len(self))]
    known = {other._processor.id_to_piece(i): i for i in range(len(other))}
    texts = [piece.replace("▁", " ").strip() for piece in pieces]
    return [
      [known[piece]] if piece in known else other._processor.encode(text)
      for piece, text in zip(pieces, texts, strict=True)
    ]
