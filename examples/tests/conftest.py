"""The fixture `stylequeue_service` comes from here: real servers, and a worker that paints nothing."""

pytest_plugins = ["stylequeue.testing"]
