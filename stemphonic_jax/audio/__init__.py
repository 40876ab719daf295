"""Audio as arrays: reading and writing files, levels, activity, figures.

Everywhere in this package *audio* is float32 [samples, 2] (stereo) and `rate` is in Hz.
"""
