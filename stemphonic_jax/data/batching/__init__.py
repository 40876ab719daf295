"""From records to batches of grouped stems."""
