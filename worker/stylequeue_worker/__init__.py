"""The worker: takes jobs off the queue and paints them."""
