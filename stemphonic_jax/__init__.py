"""STEMPHONIC in JAX: any number of musically synchronised stems in one inference pass."""

__version__ = "0.1.0"
