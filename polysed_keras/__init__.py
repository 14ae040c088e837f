"""Polyphonic sound event detection: a Keras model zoo with SavedModel export.

`import polysed_keras as ps` has the names below; each is imported when it is used first, so that importing the package
takes no time and no TensorFlow.

Example:
    >>> import polysed_keras as ps
    >>> detector = ps.load_detector()                # the shipped model
    >>> events = detector.detect("street.wav")       # onset, offset (seconds), event_label, confidence
"""
import logging
import os

import lazy_loader

__version__ = "0.1.0"

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
# TensorFlow writes about its kernels and devices as it starts, which helps nobody here; set the variable to 0 to read
# it.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
logging.getLogger("absl").setLevel(logging.ERROR)

__getattr__, __dir__, _names = lazy_loader.attach_stub(__name__, __file__)
__all__ = [*_names, "__version__"]
