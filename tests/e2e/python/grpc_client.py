"""Makes calls of every kind."""

import queue
import sys
import threading

import grpc

(address,) = sys.argv[1:]
OPTIONS = [("grpc.enable_http_proxy", 0)]

with grpc.insecure_channel(address, options=OPTIONS) as channel:
    unary = channel.unary_unary("/test.Test/Unary")
    response, call = unary.with_call(b"hello", timeout=20)
    assert response == b"<hello>"
    assert ("x-trailing", "end") in call.trailing_metadata(), call.trailing_metadata()
    large = b"x" * 3_000_000
    assert unary(large, timeout=20) == b"<" + large + b">"

    try:
        unary(b"fail", timeout=20)
        raise AssertionError("it did not fail")
    except grpc.RpcError as error:
        assert (error.code(), error.details()) == (grpc.StatusCode.FAILED_PRECONDITION, "as asked"), error
    try:
        channel.unary_unary("/test.Test/None")(b"", timeout=20)
        raise AssertionError("it did not fail")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.UNIMPLEMENTED, error

    counted = channel.unary_stream("/test.Test/Count")(b"1000", timeout=20)
    assert list(counted) == [b"%d" % number for number in range(1000)]
    pieces = (b"x" * 10_000 for _ in range(100))
    assert channel.stream_unary("/test.Test/Total")(pieces, timeout=20) == b"1000000"

    # Each message waits for the answer to the one before: nothing between holds them back.
    questions = queue.Queue()
    answers = channel.stream_stream("/test.Test/Echo")(iter(questions.get, None), timeout=20)
    for number in range(100):
        questions.put(b"%d" % number)
        assert next(answers) == b"%d" % number
    questions.put(None)
    assert list(answers) == []

    # Cancelled in the middle.
    endless = channel.unary_stream("/test.Test/Count")(b"100000000", timeout=20)
    next(endless)
    endless.cancel()

    futures = [unary.future(b"%d" % number, timeout=20) for number in range(200)]
    assert [future.result() for future in futures] == [b"<%d>" % number for number in range(200)]
    assert threading.active_count() < 50
