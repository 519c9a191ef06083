"""The program, as ``buildx-cache`` and as ``python -m buildx_cache``."""

from __future__ import annotations

import gc
from typing import NoReturn

# Objects made, and not dropped again, before they are looked through for garbage: more than a short call makes.
_MANY = 200_000


def main() -> NoReturn:
    """Run the command line.

    What it imports is kept, and looking for garbage in it takes a tenth of the time of a call that does nothing else.
    """
    gc.set_threshold(_MANY)
    from buildx_cache.cli import main as run  # noqa: PLC0415 -- this is where the imports begin

    run()


if __name__ == "__main__":
    main()
