"""What builds cost with this program, with plain Buildx and with the field's recipe: ``python -m tests.benchmarks``."""
