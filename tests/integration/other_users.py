"""Deeds of other users of this machine: in a child of this process that has given up root for good."""

from __future__ import annotations

import os
import pickle
import traceback
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")


def as_user(user: int, deed: Callable[[], Result]) -> Result:
    """Do something as the user and group of that number, without other groups; what it returns, or raises.

    Modules have to be imported before: the other user may not be able to read them.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _do(user, deed, writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    result, error = pickle.loads(answer)  # noqa: S301 -- of our own child
    if error is not None:
        raise AssertionError(error) if isinstance(error, str) else error
    found: Result = result
    return found


def _do(user: int, deed: Callable[[], object], writing: int) -> None:
    answer: tuple[object, object]
    try:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
        answer = (deed(), None)
    except OSError as error:
        answer = (None, error)
    except BaseException:  # noqa: BLE001 -- it is told in the parent
        answer = (None, traceback.format_exc())
    try:
        os.write(writing, pickle.dumps(answer))
    finally:
        os._exit(0)
