"""From music to batches: one schema for a piece and its stems, and the path it takes."""
