"""What a measured table looks like, as Markdown, JSON and figures."""
