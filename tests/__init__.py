"""The worker comes first: it decides how TensorFlow is imported, and many a module here imports that before it."""

import stylequeue_worker as stylequeue_worker
