"""The results as a Markdown document."""

from __future__ import annotations

from tests.benchmarks.results import Results
from tests.benchmarks.tables import tables

CHART = "benchmarks.svg"

_HEAD = """\
# Benchmarks

`python -m tests.benchmarks --write` measured this and wrote it. All of it is of one run, on one machine: {machine}.

![Seconds of every way to build]({chart})

## What is compared

- **recipe**: the steps that people copy into their CI (`tests/benchmarks/recipe.sh`): a Docker context, a builder, a
  build with a local cache and `--output type=docker`, `image ls`, `image tag`, `image push`, `buildx prune -f`.
- **Buildx**: bare `docker buildx build --push` with `mode=max`, with a local cache and with one in the registry.
- **`buildx-cache`**: this program, with `--push` where nothing else is said.

All data, the caches', the registry's and the engine's, are on the filesystem that is named above, if one is. On tmpfs
they are in memory: a disk that is now fast and now slow, as those of shared machines are, decides nothing there.

Each sample has a new, booted builder. Its boot and removal are separate figures.
`docker image ls` is left out too: it takes as long as the engine has images, and a new CI machine has none.

The registry is on the same machine, and has the image and the cache of the last build, as in real life. What a sample
adds to it is deleted after the sample. The local cache is a copy of one that plain Buildx wrote. The image is made of
generated files in four large layers. Compressed, it is a third of its size.

- **unchanged**: every step is in the cache.
- **source, COPY** and **source, COPY --link**: a small file, which the last step copies, changed.
- **dependency**: the list of packages changed. The steps that make nine tenths of the image run again.
- **cold**: the same, without a cache.
- **cache export alone**: the builder has run every step and compressed every layer; the cache is written, no image.

Every sample is checked: the build succeeded, and executed just the steps that it had to. In each round, every way to
build took its turn at every workload, in an order that was drawn for it; then those alone had more rounds, if any, that
a goal below compares. Rounds: {rounds}. Figures are medians, with the lowest and the highest in brackets. Ratios are of
medians.

BuildKit as Docker's engine has it keeps every image that it pushes, and fetches all layers for that, whoever asks. The
published one, in its container, keeps none and fetches only what it has to push. **image not kept** is the same build
with `store=false`, which makes the engine's do likewise.

What a call takes beside its build is the same for every build, but a slow machine needs three times as long to start
Python and the `docker` command. Goals allow for it in **imports**: how long this machine took, in the same run, to
import python-on-whales, which every call has to do. 3.9 of them are 0.7 s where the import takes 0.18 s.

**Progress streams** are replayed without a build, in a process of their own, as a build reads them: bytes to events,
with secret values taken out, to a trace. MB are of the stream's own bytes, not of what the logs in it say. The
recordings of an engine stand one after the other; what is generated is a build of 500 steps, whose trace is checked.
Seconds are the processor's.
"""


def document(results: Results) -> str:
    """All tables, after how they were measured."""
    head = _HEAD.format(machine=results.machine, chart=CHART, rounds=" or ".join(map(str, results.rounds)))
    return "\n".join((head, *(table.markdown() for table in tables(results))))
