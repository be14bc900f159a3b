"""The way in by HTTP: jobs, their pictures and their events, for backends in any language (extra `gateway`).

It is a client like any other, and keeps nothing of its own: two of them behind a balancer are as one.
"""
