"""What a run reads: its corpus, records, texts, and the model that it starts from."""
