"""What learns: a file for each kind of model."""
