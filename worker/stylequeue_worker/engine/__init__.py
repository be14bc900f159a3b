"""The engine: paints a content picture in the manner of one or more style pictures.

It knows arrays and recipes, nothing of queues or stores. Importing this package loads no TensorFlow;
`Engine.warm_up()` or the first painting does.
"""

from .engine import ENGINE_VERSION, Engine
from .options import Options
from .steps import BadCheckpoint, Checkpoint, Face, Network, Step, Summary

__all__ = ["ENGINE_VERSION", "BadCheckpoint", "Checkpoint", "Engine", "Face", "Network", "Options", "Step", "Summary"]
