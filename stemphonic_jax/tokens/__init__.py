"""Systems that generate codes instead of latents: in columns one after another, or by unmasking."""
