"""The systems that can be trained here: what each does at every stage of `main`."""
