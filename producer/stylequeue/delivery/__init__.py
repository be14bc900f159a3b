"""Events on their way to endpoints: webhooks, and queues of others'."""
