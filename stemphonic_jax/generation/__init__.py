"""Generation: from a request to a song."""
