"""Caches that live in a registry: looked at, verified, pruned through the distribution API.

Start with :func:`buildx_cache.registry.repository.connect`. Nothing is imported here, so that only a command that
talks to a registry pays for the HTTP library.
"""
