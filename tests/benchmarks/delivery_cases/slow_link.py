"""A TCP link of a given bandwidth and delay, in a process of its own, between a device and its broker."""

from __future__ import annotations

import asyncio
import multiprocessing
from multiprocessing.connection import Connection
from typing import Any, Final

_READ_BYTES: Final = 16_384
_BUFFER_S: Final = 0.2  # of the bottleneck: more waits in the sender's socket


class SlowLink:
    """``port`` leads to ``target_port``. Each way ``delay_s`` and ``bytes_s``; ``close`` ends it."""

    def __init__(self, target_port: int, *, bytes_s: float, delay_s: float) -> None:
        context = multiprocessing.get_context("spawn")
        mine, its = context.Pipe()
        self._process = context.Process(target=_main, args=(its, target_port, bytes_s, delay_s), daemon=True)
        self._process.start()
        self.port: int = mine.recv()

    def close(self) -> None:
        self._process.terminate()
        self._process.join(5.0)


def _main(pipe: Connection, target_port: int, bytes_s: float, delay_s: float) -> None:
    asyncio.run(_serve(pipe, target_port, bytes_s, delay_s))


async def _serve(pipe: Connection, target_port: int, bytes_s: float, delay_s: float) -> None:
    ways: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", target_port)
        for source, sink in ((reader, there_writer), (there_reader, writer)):
            task = asyncio.create_task(_carry(source, sink, bytes_s, delay_s))
            ways.add(task)
            task.add_done_callback(ways.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    pipe.send(server.sockets[0].getsockname()[1])
    await server.serve_forever()


async def _carry(
    source: asyncio.StreamReader, sink: asyncio.StreamWriter, bytes_s: float, delay_s: float
) -> None:
    loop = asyncio.get_running_loop()
    line: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def deliver() -> None:
        while True:
            due_s, data = await line.get()
            await asyncio.sleep(max(0.0, due_s - loop.time()))
            sink.write(data)
            await sink.drain()

    delivering: asyncio.Task[Any] = asyncio.create_task(deliver())
    free_s = loop.time()  # when the bottleneck has sent everything so far
    try:
        while data := await source.read(_READ_BYTES):
            free_s = max(free_s, loop.time()) + len(data) / bytes_s
            line.put_nowait((free_s + delay_s, data))
            if free_s - loop.time() > _BUFFER_S:
                await asyncio.sleep(free_s - loop.time() - _BUFFER_S)
    except ConnectionError:
        pass  # the other end hung up: so does this one
    finally:
        delivering.cancel()
        sink.close()
