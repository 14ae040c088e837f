from .batch import (
    Request as Request,
    as_detected as as_detected,
    detect_recordings as detect_recordings,
    open_detector as open_detector,
    unfinished as unfinished,
)
from .client import connect as connect
from .deployment import write_deployment as write_deployment
from .detectors import load_detector as load_detector
