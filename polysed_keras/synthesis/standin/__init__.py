"""Stand-ins for paper 2's corpora: clips of scenes and of events."""
