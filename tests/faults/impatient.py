"""The program, which waits for silent and busy registries as long as a test can. Run it as a script."""

import sys

from buildx_cache.cli import main
from buildx_cache.run import retry
from buildx_cache.run.recovery import stall

if __name__ == "__main__":
    stall.SECONDS = 5.0
    retry._LIMITED_FACTOR = 0
    sys.exit(main())
