from .detector import SEGMENTS_PER_BLOCK as SEGMENTS_PER_BLOCK, Card as Card, Detector as Detector
from .embeddings import (
    EMBEDDING_SUFFIXES as EMBEDDING_SUFFIXES,
    PATCH_SECONDS as PATCH_SECONDS,
    Embeddings as Embeddings,
    embed_recordings as embed_recordings,
    find_nearest as find_nearest,
    write_embeddings as write_embeddings,
)
from .streaming import EventStream as EventStream
