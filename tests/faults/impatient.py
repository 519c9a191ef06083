"""The program, with a builder restarted after a silence that a test can wait for. Run it as a script."""

from buildx_cache.cli import main
from buildx_cache.run.recovery import stall

if __name__ == "__main__":
    stall.SECONDS = 5.0
    main()
