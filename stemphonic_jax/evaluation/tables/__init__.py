"""The tables that can be asked for: those of the papers, and of songs that others made."""
