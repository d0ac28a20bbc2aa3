"""Reads a closed route with httpx (both versions, compressed as it comes) and is refused a WebSocket."""

import asyncio
import sys

import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

(address,) = sys.argv[1:]
FORMS = {
    "application/json": "application/json",
    "text/html": "text/html; charset=utf-8",
    "text/plain": "text/plain; charset=utf-8",
    "*/*": "text/plain; charset=utf-8",
}


def read(http2):
    with httpx.Client(http1=not http2, http2=http2, trust_env=False, timeout=20) as client:
        for accept, content_type in FORMS.items():
            response = client.get(f"http://{address}/", headers={"accept": accept})
            assert response.http_version == ("HTTP/2" if http2 else "HTTP/1.1")
            assert (response.status_code, response.headers["content-type"]) == (503, content_type), response
            assert int(response.headers["retry-after"]) > 0
            assert "Moving the database." in response.text, response.text
            if accept == "application/json":
                assert response.json()["status"] == 503
            if accept == "text/html":
                assert response.headers["content-encoding"] == "gzip", response.headers


async def upgrade():
    try:
        async with connect(f"ws://{address}/socket", proxy=None):
            raise AssertionError("a closed route switched protocols")
    except InvalidStatus as error:
        response = error.response
        assert response.status_code == 503, response
        assert response.headers["content-type"].startswith("text/plain"), response
        assert 0 < len(response.body) < 100, response.body


for http2 in (False, True):
    read(http2)
asyncio.run(asyncio.wait_for(upgrade(), 20))
