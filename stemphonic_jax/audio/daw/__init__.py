"""Stems as projects of other programs: what a project is, and a file for each form of it."""
