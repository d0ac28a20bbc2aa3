"""Calls a closed route with the programs that people write most, and expects what each of them makes of it."""

import sys
import time
import xmlrpc.client

import requests
import urllib3
from requests.adapters import HTTPAdapter

(base,) = sys.argv[1:]
TYPE = "urn:backsoon:maintenance"

# requests: a body of JSON is answered in JSON, though it accepts anything.
session = requests.Session()
session.trust_env = False
answer = session.post(f"{base}/api", json={"a": 1}, timeout=20)
assert session.headers["accept"] == "*/*", session.headers
assert (answer.status_code, answer.json()["type"]) == (503, TYPE), answer.text
assert answer.json()["retry_after"] == int(answer.headers["retry-after"]), answer.headers
answer = session.get(f"{base}/api", timeout=20)
assert answer.headers["content-type"].startswith("text/plain"), answer.headers
assert "Moving the database." in answer.text, answer.text
try:
    answer.raise_for_status()
except requests.HTTPError as error:
    assert "503 Server Error" in str(error), error
else:
    raise AssertionError("requests took a 503 for a success")

# urllib3 sleeps as long as it is told, however long: `retry_after_max` bounds it.
retrying = urllib3.Retry(total=2, status_forcelist=[503])
session.mount("http://", HTTPAdapter(max_retries=retrying))
began = time.monotonic()
try:
    session.get(f"{base}/short", timeout=20)
except requests.exceptions.RetryError as error:
    took = time.monotonic() - began
    assert 1.5 < took < 60, (took, error)
else:
    raise AssertionError("the retries succeeded")

# XML-RPC reads nothing of an error but its status.
try:
    xmlrpc.client.ServerProxy(f"{base}/RPC2").add(1, 2)
except xmlrpc.client.ProtocolError as error:
    assert error.errcode == 503, error
    assert error.headers["content-type"].startswith("application/problem+xml"), dict(error.headers)
else:
    raise AssertionError("XML-RPC took a 503 for a success")

# A program that looks for `error.message` finds it by the route's template.
answer = requests.post(f"{base}/openai/v1/chat/completions", json={}, timeout=20, proxies={"http": None})
error = answer.json()["error"]
assert (answer.status_code, error["code"]) == (503, "maintenance"), answer.text
assert "Moving the database." in error["message"], error
