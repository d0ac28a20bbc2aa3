"""Calls a closed route in every way, and expects what its flag says: the message, and when to try again."""

import json
import sys
import time

import grpc
from google.rpc import code_pb2, error_details_pb2
from grpc_status import rpc_status

address, message, seconds = sys.argv[1:]
SECONDS = int(seconds)
OPTIONS = [("grpc.enable_http_proxy", 0)]


def check(error):
    assert (error.code(), error.details()) == (grpc.StatusCode.UNAVAILABLE, message), error
    trailing = dict(error.trailing_metadata())
    # A client with a retry policy must not wait within its call: it would lose the message.
    assert trailing["grpc-retry-pushback-ms"] == "-1", trailing
    status = rpc_status.from_call(error)
    assert (status.code, status.message) == (code_pb2.UNAVAILABLE, message), status
    (detail,) = status.details
    retry = error_details_pb2.RetryInfo()
    assert detail.Unpack(retry), detail
    # To the minute, as a page tells it.
    assert (retry.retry_delay.seconds, retry.retry_delay.nanos) == (SECONDS, 0), retry


def pieces():
    return (b"x" * 10_000 for _ in range(100))


with grpc.insecure_channel(address, options=OPTIONS) as channel:
    calls = {
        "unary": lambda: channel.unary_unary("/test.Test/Unary")(b"hello", timeout=20),
        "large": lambda: channel.unary_unary("/test.Test/Unary")(b"x" * 3_000_000, timeout=20),
        "answers": lambda: list(channel.unary_stream("/test.Test/Count")(b"1000", timeout=20)),
        "questions": lambda: channel.stream_unary("/test.Test/Total")(pieces(), timeout=20),
        "both": lambda: list(channel.stream_stream("/test.Test/Echo")(pieces(), timeout=20)),
    }
    for name, call in calls.items():
        try:
            call()
        except grpc.RpcError as error:
            check(error)
        else:
            raise AssertionError(f"{name} did not fail")

# With a retry policy and a deadline, the call ends at once, and as it does without a policy.
POLICY = {
    "maxAttempts": 4,
    "initialBackoff": "0.1s",
    "maxBackoff": "1s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"],
}
CONFIG = json.dumps({"methodConfig": [{"name": [{}], "retryPolicy": POLICY}]})
RETRYING = [*OPTIONS, ("grpc.service_config", CONFIG), ("grpc.enable_retries", 1)]
DEADLINE = 60
with grpc.insecure_channel(address, options=RETRYING) as channel:
    began = time.monotonic()
    try:
        channel.unary_unary("/test.Test/Unary")(b"hello", timeout=DEADLINE)
    except grpc.RpcError as error:
        check(error)
        assert time.monotonic() - began < DEADLINE / 2, error
    else:
        raise AssertionError("the call with a retry policy did not fail")
