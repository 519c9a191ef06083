"""``python -m buildx_cache``."""

from buildx_cache.cli import main

if __name__ == "__main__":
    main()
