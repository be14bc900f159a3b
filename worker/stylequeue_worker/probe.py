"""`python -m stylequeue_worker.probe`: what `stylequeue doctor` says of a machine that paints, as JSON findings."""

from __future__ import annotations

import json
import os
import sys

from stylequeue.settings import Settings


def findings() -> list[dict[str, object]]:
    """Models on disk and devices that TensorFlow sees."""
    from .models import listing

    on_disk = {entry.model.name for entry in listing(Settings.load().models) if entry.path}
    painting = sorted(on_disk & {"vgg19", "vgg16"})
    found: list[dict[str, object]] = [
        {
            "what": "models: optimize",
            "ok": bool(painting),
            "found": ", ".join(painting) or "none on this disk",
            "hint": "run `stylequeue models pull vgg19` (or vgg16, which needs no internet)",
            "exit_code": 0 if painting else 2,
        },
        {
            "what": "models: fast",
            "ok": "fast" in on_disk or Settings.load().hub_handle is not None,
            "found": "there" if "fast" in on_disk else "not on this disk",
            "hint": "run `stylequeue models pull fast`, or set STYLEQUEUE_HUB_HANDLE",
            "exit_code": 0 if "fast" in on_disk else 2,
        },
    ]
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    gpus = [device.name for device in tf.config.list_physical_devices("GPU")]
    device = f"TensorFlow {tf.__version__}, " + (", ".join(gpus) or f"no GPU, {os.cpu_count()} cores")
    found.append({"what": "device", "ok": True, "found": device})
    return found


if __name__ == "__main__":
    json.dump(findings(), sys.stdout)
