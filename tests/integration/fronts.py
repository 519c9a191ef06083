"""Fronts: TLS for an engine's socket, as a remote Docker engine has it, and another address for a registry."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator

_Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@contextlib.contextmanager
def tls_front(path: str, context: ssl.SSLContext) -> Iterator[int]:
    """Serve the Unix socket at ``path`` on a free port of the loopback; yields the port."""
    with _front(lambda: asyncio.open_unix_connection(path), "127.0.0.1", context) as port:
        yield port


@contextlib.contextmanager
def second_address(address: str, host: str) -> Iterator[str]:
    """Serve what is at ``address`` on a free port of ``host``, too; yields the new address."""
    name, _, port = address.rpartition(":")
    with _front(lambda: asyncio.open_connection(name, int(port)), host, None) as other:
        yield f"{host}:{other}"


@contextlib.contextmanager
def _front(dial: Callable[[], Awaitable[_Ends]], host: str, context: ssl.SSLContext | None) -> Iterator[int]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        other_reader, other_writer = await dial()
        await asyncio.gather(_pump(reader, other_writer), _pump(other_reader, writer))

    async def start() -> asyncio.Server:
        return await asyncio.start_server(connect, host, 0, ssl=context)

    async def stop() -> None:
        server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    server = asyncio.run_coroutine_threadsafe(start(), loop).result()
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        asyncio.run_coroutine_threadsafe(stop(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while piece := await reader.read(1 << 16):
            writer.write(piece)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
