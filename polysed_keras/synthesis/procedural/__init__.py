"""Synthetic sounds of sixteen labels, made by small physical models."""
