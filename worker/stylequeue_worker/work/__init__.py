"""One job: from the message to the event. Knows nothing of Celery."""
