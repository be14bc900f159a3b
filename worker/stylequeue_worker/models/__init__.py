"""The networks: which there are, where they lie on disk, how they get there.

`catalogue` looks and costs nothing; `pull` puts a network into the model directory. Nothing here imports TensorFlow
until a network is made that needs it.
"""

from .catalogue import MODELS, Entry, Model, check, find, listing
from .digests import digest, require
from .pull import pull

__all__ = ["MODELS", "Entry", "Model", "check", "digest", "find", "listing", "pull", "require"]
