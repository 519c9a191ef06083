"""Many clients at once: one thread accepts, one more for each connection, and all end together."""

from __future__ import annotations

import selectors
import socket
import threading
import time
from collections.abc import Callable
from typing import Self

from buildx_cache.serve.connection import Connection, Limits, Respond, Tally

OnError = Callable[[Exception], None]

_PAUSE_SECONDS = 0.1
_END_SECONDS = 1.0


class Server:
    """Accepts on ``listener``, which it closes, while its context lasts. Its threads end with the process."""

    def __init__(
        self, listener: socket.socket, respond: Respond, *, tally: Tally, limits: Limits, on_error: OnError
    ) -> None:
        self._listener = listener
        self._respond = respond
        self._tally = tally
        self._limits = limits
        self._on_error = on_error
        self._connections: dict[Connection, threading.Thread] = {}
        self._changed = threading.Condition()
        self._ending = threading.Event()
        self._alarm, self._alarmed = socket.socketpair()
        self._acceptor = threading.Thread(target=self._accept_all, name="serve", daemon=True)

    def __enter__(self) -> Self:
        self._acceptor.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._alarm.close()
        with self._changed:
            self._changed.notify_all()
        self._acceptor.join()
        self._listener.close()
        self._alarmed.close()
        self._end_connections(time.monotonic() + _END_SECONDS)

    def _end_connections(self, deadline: float) -> None:
        with self._changed:
            open_ones = dict(self._connections)
        for connection in open_ones:
            connection.cut()
        for thread in open_ones.values():
            thread.join(max(0.0, deadline - time.monotonic()))

    def _accept_all(self) -> None:
        self._listener.setblocking(False)  # noqa: FBT003 - the standard library's signature
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(self._alarmed, selectors.EVENT_READ)
            while not self._ending.is_set():
                selector.select()
                self._make_room()
                self._accept()

    def _accept(self) -> None:
        if self._ending.is_set():
            return
        try:
            client, _ = self._listener.accept()
        except BlockingIOError:
            return
        except OSError:  # no descriptor is left, for instance: it may be later
            self._ending.wait(_PAUSE_SECONDS)
            return
        connection = Connection(client, self._respond, tally=self._tally, limits=self._limits)
        thread = threading.Thread(target=self._run, args=(connection,), name="serve", daemon=True)
        with self._changed:
            self._connections[connection] = thread
        try:
            thread.start()
        except RuntimeError:  # no thread is left
            self._forget(connection)

    def _run(self, connection: Connection) -> None:
        try:
            connection.run()
        except OSError:
            pass  # the client is gone, or was sent away
        except Exception as error:  # noqa: BLE001 - nothing that one client does may end the server or be printed
            self._on_error(error)
        finally:
            self._forget(connection)

    def _forget(self, connection: Connection) -> None:
        connection.close()
        with self._changed:
            self._connections.pop(connection, None)
            self._changed.notify_all()

    def _make_room(self) -> None:
        """Where all places are taken, send away who waits longest: silent clients keep nobody else out."""
        with self._changed:
            while len(self._connections) >= self._limits.connections and not self._ending.is_set():
                waiting = [(one.waiting_since, one) for one in self._connections if one.waiting_since is not None]
                if waiting:
                    min(waiting, key=lambda pair: pair[0])[1].cut()
                self._changed.wait(_PAUSE_SECONDS)
