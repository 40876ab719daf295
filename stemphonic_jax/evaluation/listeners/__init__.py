"""What hears more in songs than their features do: judges, beats, notes; kept as it is heard."""
