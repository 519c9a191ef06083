"""Inspect, verify and prune caches in a registry through the distribution API.

Start with :func:`buildx_cache.registry.repository.connect`. This module imports nothing, so that only a command that
talks to a registry loads the HTTP library.
"""
