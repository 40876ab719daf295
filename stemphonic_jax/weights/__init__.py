"""Weights on disk: what a model folder holds and how it is read."""
