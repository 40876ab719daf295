"""Networks that hear, VGGish and CLAP, each as `embed(audio, rate) -> [n, d]`."""
