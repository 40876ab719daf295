"""The studio: songs composed stem by stem in a browser, on a server that listens on loopback.

    library    songs on disk, their takes, and the desk where the next one is prepared
    jobs       what was asked for, on disk before it is accepted
    worker     the process that owns the model; crew: whoever hands it one job after the other
    server     the REST API and the page; guard: who may ask

Nothing here but the worker imports jax.
"""
