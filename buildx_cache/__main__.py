"""The program, as ``buildx-cache`` and as ``python -m buildx_cache``: what comes before its imports."""
# ruff: noqa: E402 -- the working folder is left out before anything is imported that could be in it

import os
import sys


def _forget_working_folder() -> None:
    """Import nothing from the working folder, where ``python -m`` looks first: a repository can hold a ``typer/``.

    Python itself has imported the two modules above; even ``from __future__`` would look for a file. What it imports to
    find this package at all (``contextlib``, ``types``, ``warnings`` and so on, ``buildx_cache`` too) is beyond reach.
    """
    try:
        here = os.getcwd()  # noqa: PTH109 -- pathlib would be imported
    except OSError:  # it is gone, and holds nothing
        return
    sys.path[:] = [place for place in sys.path if place not in ("", here)]


if __name__ == "__main__" and not sys.flags.safe_path:
    _forget_working_folder()

import contextlib
import gc
import signal
from collections.abc import Iterator
from typing import NoReturn

# Objects made, and not dropped again, before they are looked through for garbage: more than a short call makes.
_MANY = 200_000


def main() -> NoReturn:
    """Run the command line."""
    _have_streams()
    try:
        with _garbage_left_alone():
            from buildx_cache.cli import main as run  # noqa: PLC0415 -- this is where the imports begin

            run()
    except KeyboardInterrupt:  # before there is anything that would end it in order
        sys.exit(128 + signal.SIGINT)


@contextlib.contextmanager
def _garbage_left_alone() -> Iterator[None]:
    """What is imported is kept to the end: no garbage is looked for in it, neither meanwhile nor when Python ends.

    That takes 25 milliseconds of a call, a tenth of one that does nothing else.
    """
    gc.set_threshold(_MANY)
    try:
        yield
    finally:
        gc.freeze()


def _have_streams() -> None:
    """Have all three standard streams: in place of a closed one, the next file or pipe would be taken for it."""
    for name, number, mode in (("stdin", 0, "r"), ("stdout", 1, "w"), ("stderr", 2, "w")):
        if getattr(sys, name) is None:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115 -- for as long as the program


if __name__ == "__main__":
    main()
