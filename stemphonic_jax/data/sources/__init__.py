"""Where mixes come from: each source yields `stemphonic_jax.data.stems.Mix`."""
