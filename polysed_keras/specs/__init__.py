"""An experiment in words and numbers: tasks, groups of labels, presets. No TensorFlow here."""
import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
