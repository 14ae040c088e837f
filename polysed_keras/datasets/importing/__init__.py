"""Annotated recordings of one's own, made into a corpus."""
