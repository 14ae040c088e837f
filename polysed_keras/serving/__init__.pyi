from .client import connect as connect
from .deployment import write_deployment as write_deployment
from .detectors import load_detector as load_detector
