"""The program, as ``buildx-cache`` and as ``python -m buildx_cache``: what has to come before its imports."""
# ruff: noqa: E402 -- the working folder is left out before anything is imported that could be in it

import os
import sys

if sys.version_info < (3, 11):  # noqa: UP036 -- a checkout or an archive runs with any Python, which no installer checks
    sys.stderr.write("error: buildx-cache needs Python 3.11 or newer; this is {}.{}\n".format(*sys.version_info[:2]))
    sys.stderr.write("hint: run it with a newer one: uvx --python 3.13 buildx-cache\n")
    sys.exit(3)


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

import signal

# Python answers SIGINT with a traceback: it waits until this program can answer.
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)

from typing import NoReturn

from buildx_cache.interrupts import caught


def main() -> NoReturn:
    """Run the command line; a signal ends it in order, at any time."""
    _open_streams()
    with caught():
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        from buildx_cache.cli import main as run  # noqa: PLC0415 -- a signal that comes meanwhile is remembered

        try:
            run()
        finally:  # Python gives signals their old meaning before it ends
            signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)


def _open_streams() -> None:
    """Open the standard streams that are closed: the next file or pipe would be taken for one of them."""
    for name, number, mode in (("stdin", 0, "r"), ("stdout", 1, "w"), ("stderr", 2, "w")):
        if getattr(sys, name) is None:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115 -- for as long as the program


if __name__ == "__main__":
    main()
