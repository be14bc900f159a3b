"""Celery's two processes: the parent that stays light, and the child that paints."""
