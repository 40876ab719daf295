"""What a training run is: state, step, loop, checkpoints, logs, and what ends it."""
