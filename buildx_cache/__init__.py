"""One call that builds with Docker Buildx and carries its cache between machines."""

__version__ = "0.1.0"
