"""Talks over a WebSocket, closes its route midway, and talks on."""

import asyncio
import os
import sys
import urllib.request

from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

url, flags, metrics = sys.argv[1:]


async def exchange(connection, message):
    await connection.send(message)
    assert await connection.recv() == message


async def main():
    async with connect(url, max_size=None, proxy=None) as connection:
        await exchange(connection, "hello")
        await exchange(connection, b"\0\1\2")
        await exchange(connection, os.urandom(2_000_000))
        waiter = await connection.ping()
        await waiter
        with open(flags + ".new", "w") as file:
            file.write('[routes]\nweb = "offline"\n')
        os.rename(flags + ".new", flags)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        while b'backsoon_route_closed{route="web",mode="offline"} 1' not in opener.open(metrics).read():
            await asyncio.sleep(0.01)
        await exchange(connection, "still here")
        try:
            async with connect(url, proxy=None):
                raise AssertionError("a closed route switched protocols")
        except InvalidStatus as error:
            assert error.response.status_code == 503, error
        await exchange(connection, "and still")
    assert connection.close_code == 1000, connection.close_code


asyncio.run(asyncio.wait_for(main(), 20))
