"""Reach Docker, git and child processes; other rooms use ``docker.DockerEngine``."""
