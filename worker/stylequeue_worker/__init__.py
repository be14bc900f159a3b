"""The worker: takes jobs off the queue and paints them."""

import os

# TensorFlow imports a Keras as it is imported itself. Without this that would be another than TensorFlow Hub's.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
