"""Structural units and transformation pathways from microscopy movies, without labels.

The names below are the public API; each is loaded when it is first used, so that importing the
package costs nothing. See the stub ``__init__.pyi`` for the list.
"""

import lazy_loader as _lazy

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
