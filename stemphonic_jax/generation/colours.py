"""One colour for each stem type, the same in figures, on the page and in DAWs."""

from stemphonic_jax.data.taxonomy import STEM_TYPES

OTHER = "#6b7686"
_COLOURS = ("#3b6fb6", "#d9822b", "#2e9aa8", "#7d5ba6", "#3f9c6b", "#c14953", "#b8872b")
_COLOURS += (OTHER, "#c2577f", "#8f6fd1", "#6f8f3a")
BY_TYPE = dict(zip(STEM_TYPES, _COLOURS, strict=True))


def colour_of(kind: str | None) -> str:
  """The colour of a stem type; of a free type or none, grey."""
  return BY_TYPE.get(kind or "", OTHER)
