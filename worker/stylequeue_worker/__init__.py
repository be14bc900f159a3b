"""The worker: takes jobs off the queue and paints them."""

import os
import platform

# TensorFlow imports a Keras as it is imported itself. Without this that would be another than TensorFlow Hub's.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
if platform.machine() in ("x86_64", "AMD64"):
    # Decided as it is imported, too: by itself it takes oneDNN's convolutions only where there is AVX512-VNNI or newer.
    # With AVX2 they take half of the time and of the memory of its own.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
