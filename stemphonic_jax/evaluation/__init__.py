"""What songs are measured by, and the tables of the papers.

At the bottom: scores (a number with its interval), features (what is kept of a song once its audio
is gone), kept (what is on disk of an evaluation, so that one that was cut off goes on).
Rooms, in the order in which they use each other: distances and judges; measures, which need no
network, and listeners, which keep what they hear; songs (real pieces, and what models make of their
prompts: `ablation` is a cell of a table) and shown (a sheet); tables; report, a page to listen to.
"""
