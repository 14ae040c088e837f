"""Annotation formats of other tools: read into events, and written from them."""
