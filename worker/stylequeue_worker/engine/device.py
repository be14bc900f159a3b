"""What the engine computes on."""

from __future__ import annotations

import tensorflow as tf


def on_gpu() -> bool:
    """Whether TensorFlow has a GPU here."""
    return bool(tf.config.list_physical_devices("GPU"))
