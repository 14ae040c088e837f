"""Stand-ins for the two corpora of paper 2: scenes, clips, and the corpora written from them."""
