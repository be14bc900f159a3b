"""VGG-19's ImageNet weights, downloaded the way Keras does."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

from stylequeue.contract.errors import Code, Unavailable

ORIGIN = (
    "https://storage.googleapis.com/tensorflow/keras-applications/vgg19/"
    "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5"
)


def download(target: Path) -> None:
    """Download the weights file to `target`. Raises Unavailable where that fails."""
    from keras.utils import get_file

    try:
        # Keras draws its progress bar on stdout, which belongs to the answer.
        with contextlib.redirect_stdout(sys.stderr):
            get_file(target.name, ORIGIN, cache_dir=target.parent, cache_subdir=".")
    except Exception as error:  # get_file raises a bare Exception for HTTP errors
        raise Unavailable(
            Code.NETWORK_UNAVAILABLE,
            f"VGG-19's weights cannot be downloaded: {error}",
            f"without internet, copy {target.name} from ~/.keras/models of another machine into the model directory, "
            "or work with vgg16 (stylequeue models pull vgg16)",
        ) from error
