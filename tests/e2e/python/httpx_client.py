"""Gets, uploads and streams with httpx, over HTTP/1.1 and HTTP/2, many at once."""

import asyncio
import sys

import httpx

url, *state = sys.argv[1:]
CLOSED = state == ["closed"]
SIZE = 3_000_000


def pieces():
    for _ in range(30):
        yield b"x" * (SIZE // 30)


def check(response, body):
    if CLOSED:
        assert response.status_code == 503, response
        assert int(response.headers["retry-after"]) > 0
        assert response.json()["status"] == 503
    else:
        assert (response.status_code, response.text) == (200, body), (response, response.text[:200])


def one_by_one(http2):
    with httpx.Client(http1=not http2, http2=http2, trust_env=False, timeout=20, headers={"accept": "application/json"}) as client:
        response = client.get(url + "/one")
        assert response.http_version == ("HTTP/2" if http2 else "HTTP/1.1"), response.http_version
        check(response, "hello from /one")
        check(client.post(url + "/sized", content=b"x" * SIZE), str(SIZE))
        check(client.post(url + "/chunked", content=pieces()), str(SIZE))
        if not CLOSED:
            with client.stream("GET", url + "/stream") as response:
                assert "".join(response.iter_text()) == "".join(f"piece {number}\n" for number in range(5))
        head = client.head(url + "/one") if CLOSED else client.get(url + "/one")
        assert head.status_code == (503 if CLOSED else 200)


async def at_once(http2):
    limits = httpx.Limits(max_connections=10)
    headers = {"accept": "application/json"}
    async with httpx.AsyncClient(http1=not http2, http2=http2, limits=limits, trust_env=False, timeout=20, headers=headers) as client:
        responses = await asyncio.gather(*(client.get(f"{url}/{number}") for number in range(90)))
        for number, response in enumerate(responses):
            check(response, f"hello from /{number}")


for http2 in (False, True):
    one_by_one(http2)
    asyncio.run(at_once(http2))
