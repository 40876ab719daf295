"""How far apart two sets of sounds are: Fréchet distances and a kernel's, of any embedding."""
