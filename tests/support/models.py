"""The networks for the tests: made once, kept between runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from stylequeue.settings import Settings
from stylequeue_worker import models

NEEDED = ("vgg16", "fast")


@pytest.fixture(scope="session")
def model_dir(pytestconfig: pytest.Config) -> Path:
    """A model directory with vgg16 and fast: the user's own if it has them, else one in pytest's cache."""
    own = Settings().models
    if all((own / models.MODELS[name].filename).exists() for name in NEEDED):
        return own
    kept = pytestconfig.cache.mkdir("models") if pytestconfig.cache else own
    # By the command, in a process of its own, as users do: TensorFlow numbers its graphs through a process's life.
    subprocess.run(
        [sys.executable, "-m", "stylequeue_worker.models", "pull", *NEEDED],
        env={**os.environ, "STYLEQUEUE_MODEL_DIR": str(kept), "KERAS_HOME": str(kept / "none")},
        check=True,
        capture_output=True,
    )
    return kept
