"""A small web shop on this machine, for the examples: /orders/7 is answered in about 20 ms, every 60th request refused.

It runs in a process of its own, as a service does, and ends when its standard input does.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

ANSWER = "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"


@contextmanager
def open_shop() -> Iterator[str]:
    """The address of a shop that is open meanwhile."""
    with subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as shop:
        yield f"http://127.0.0.1:{shop.stdout.readline().strip()}"


async def serve() -> None:
    dice, visits = random.Random(7), itertools.count(1)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (line := await reader.readline()).startswith(b"GET /orders/"):
            await reader.readuntil(b"\r\n\r\n")
            order = int(line.split()[1].removeprefix(b"/orders/"))
            await asyncio.sleep(dice.lognormvariate(-4, 0.4))
            status = "503 Service Unavailable" if next(visits) % 60 == 0 else "200 OK"
            body = json.dumps({"order": order, "cents": 100 + 37 * order % 900})
            writer.write(ANSWER.format(status=status, length=len(body), body=body).encode())
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(serve())
