"""Polyphonic sound event detection: a Keras model zoo with SavedModel export.

Nothing is imported here, so that the command line answers at once; import the modules that you use, for example
`from polysed_keras.export.saved_model import load_saved_model`.
"""
import os

__version__ = "0.1.0"

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
