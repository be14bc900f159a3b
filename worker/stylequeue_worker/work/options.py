"""The settings that are the engine's, in its own words."""

from __future__ import annotations

from stylequeue.settings import Settings

from ..engine import Options

_MB = 1024**2


def options_of(settings: Settings) -> Options:
    """The engine's, as the settings have them."""
    return Options(
        memory_bytes=settings.memory_mb and settings.memory_mb * _MB,
        gpu_memory_bytes=settings.gpu_memory_mb and settings.gpu_memory_mb * _MB,
        precision=settings.precision,
        deterministic=settings.deterministic,
        tensor_float_32=settings.tensor_float_32,
        xla=settings.xla,
        compilation_cache_dir=settings.compilation_cache_dir,
        warm_up_px=tuple(settings.warm_up_px),
    )
