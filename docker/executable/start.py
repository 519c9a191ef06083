"""The start of the self-contained executable."""
# ruff: noqa: E402 -- children get their environment back before anything is imported that could start one

import os

# PyInstaller's loader points LD_LIBRARY_PATH at the libraries beside the program, for which docker, git and ssh are not
# built, and keeps the user's value, if there is one, in the other variable (its manual, "Run-time Information").
_users = os.environ.pop("LD_LIBRARY_PATH_ORIG", None)
if _users is None:
    os.environ.pop("LD_LIBRARY_PATH", None)
else:
    os.environ["LD_LIBRARY_PATH"] = _users

from buildx_cache.__main__ import main

main()
