"""Start the program, as ``buildx-cache`` and as ``python -m buildx_cache``: the steps before other imports."""
# ruff: noqa: E402 -- the working folder leaves the import path before any import that could be found in it

import os
import sys

if sys.version_info < (3, 11):  # noqa: UP036 -- a checkout or an archive runs with any Python, which no installer checks
    sys.stderr.write("error: buildx-cache needs Python 3.11 or newer; this is {}.{}\n".format(*sys.version_info[:2]))
    sys.stderr.write("hint: run it with a newer one: uvx --python 3.13 buildx-cache\n")
    sys.exit(3)


def _forget_working_folder() -> None:
    """Remove the working folder, which ``python -m`` searches first, from the path: a repository can hold a ``typer/``.

    Python has loaded the two modules above before; even ``from __future__`` would look for a file. The modules that
    Python imports to find this package (``contextlib``, ``types``, ``warnings``, ``buildx_cache``) cannot be protected.
    """
    try:
        here = os.getcwd()  # noqa: PTH109 -- pathlib would be imported
    except OSError:  # the working folder was deleted, and holds nothing
        return
    sys.path[:] = [place for place in sys.path if place not in ("", here)]


if __name__ == "__main__" and not sys.flags.safe_path:
    _forget_working_folder()

import signal

# Python prints a traceback on SIGINT: block signals until this program can handle them.
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)

from typing import NoReturn

from buildx_cache.interrupts import caught


def main() -> NoReturn:
    """Run the command line; a signal ends it cleanly at any time."""
    _open_streams()
    with caught():
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        from buildx_cache.cli import main as run  # noqa: PLC0415 -- after the signal handler is installed

        try:
            code = run()
        finally:  # the end of this block restores the default signal handlers
            signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    os._exit(code)  # everything is written and closed, and to free the objects first takes 0.3 s (mypy does the same)


def _open_streams() -> None:
    """Open closed standard streams on /dev/null: the next opened file or pipe would get their descriptor."""
    for name, number, mode in (("stdin", 0, "r"), ("stdout", 1, "w"), ("stderr", 2, "w")):
        if getattr(sys, name) is None:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115 -- for as long as the program


if __name__ == "__main__":
    main()
