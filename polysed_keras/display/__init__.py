"""Pictures of recordings and results, and the page to look and listen."""
import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
