"""Celery's result backend, but for what a producer does not need of it."""

from __future__ import annotations

from celery.backends.redis import RedisBackend


class Results(RedisBackend):
    """Results in Redis; whoever wants one subscribes when asking for it."""

    def on_task_call(self, producer: object, task_id: str) -> None:
        """Nothing. Celery would subscribe to every task that is sent, and a producer would hold more with each."""
