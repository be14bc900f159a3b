"""The TensorFlow part: pictures and recipes in, pictures out; nothing of queues, Redis or S3.

Importing this package loads no TensorFlow; `load()` does.
"""

from .step import ENGINE_VERSION, Network, Pixels, Step

__all__ = ["ENGINE_VERSION", "Network", "Pixels", "Step"]
