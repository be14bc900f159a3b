"""The wake-up calls: Celery on Redis. The ledger is the truth; a message only says that there is something to do."""
