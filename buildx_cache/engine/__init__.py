"""Everything that touches Docker, git and child processes; ``docker.DockerEngine`` is what the rest sees of it."""
