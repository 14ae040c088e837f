"""Import of annotated recordings: made into a corpus that load_dataset reads."""
