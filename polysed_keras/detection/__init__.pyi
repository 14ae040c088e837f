from .detector import SEGMENTS_PER_BLOCK as SEGMENTS_PER_BLOCK, Card as Card, Detector as Detector
from .streaming import EventStream as EventStream
