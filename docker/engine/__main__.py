"""A real Docker engine, registries and a builder image for demos and tests: `python3 docker/engine up`."""

import os
import sys

from cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
