"""Opens WebSockets, closes their route, and wants each to be closed with 1012."""

import asyncio
import os
import sys

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosedError

url, flags, text = sys.argv[1:]


async def leaves(connection):
    try:
        await connection.recv()
        raise AssertionError("a message out of nowhere")
    except ConnectionClosedError as error:
        assert error.rcvd is not None, f"no Close came: {error!r}"
        assert error.rcvd.code == 1012, error
        assert error.rcvd_then_sent, error


async def main():
    connections = [await connect(url, proxy=None) for _ in range(20)]
    for connection in connections:
        await connection.send("hello")
        assert await connection.recv() == "hello"
    with open(flags + ".new", "w") as file:
        file.write(text)
    os.rename(flags + ".new", flags)
    await asyncio.gather(*(leaves(connection) for connection in connections))


asyncio.run(asyncio.wait_for(main(), 20))
