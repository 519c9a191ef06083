"""Parse the output of BuildKit and Buildx: progress → events → a trace; error text → a problem.

``StreamParser`` turns bytes into events; ``TraceBuilder`` reduces events to a ``BuildTrace``. ``classify`` is the only
reader of error texts of BuildKit, Buildx, the docker CLI and registries; ``CAUSES`` maps a problem to exit code, retry
and advice; ``failure`` says why a build failed, as an error. All are pure: no clock, no files, no child process.
"""
