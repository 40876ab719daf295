"""Networks as pure functions of (parameters, inputs); they need jax and flax alone."""
