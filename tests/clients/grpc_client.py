"""A gRPC client against an edge: calls of all four kinds. Arguments: cleartext ADDRESS:PORT, TLS ADDRESS:PORT, CA file."""

import queue
import sys
from concurrent import futures

import grpc


def judge(channel):
    unary = channel.unary_unary("/tide.Echo/Unary")
    assert unary(b"hello", timeout=120) == b"hello"
    big = b"b" * 3_000_000
    assert unary(big, timeout=120) == big, "three megabytes"
    with futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: unary(b"%d" % n, timeout=120), range(200)))
    assert answers == [b"%d" % n for n in range(200)]
    try:
        unary(b"missing", timeout=120)
        raise AssertionError("an error was expected")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.NOT_FOUND, error
        assert error.details() == "no such thing: caf\u00e9 %", error.details()
        assert ("x-why", "not here") in error.trailing_metadata()
    try:
        unary(b"slow", timeout=0.3)
        raise AssertionError("a deadline was expected")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED, error
    numbers = list(channel.unary_stream("/tide.Echo/Down")(b"1000", timeout=120))
    assert numbers == [b"%d" % n for n in range(1000)]
    counted = channel.stream_unary("/tide.Echo/Up")((b"x" * 1000 for _ in range(500)), timeout=120)
    assert counted == b"500000"
    outgoing = queue.Queue()
    call = channel.stream_stream("/tide.Echo/Both")(iter(outgoing.get, None), timeout=120)
    for number in range(200):
        # The next message is sent only when the answer to the last is here.
        outgoing.put(b"message %d" % number)
        assert next(call) == b"MESSAGE %d" % number
    outgoing.put(None)
    assert list(call) == []
    assert ("x-first", "before any message") in call.initial_metadata()
    assert call.code() == grpc.StatusCode.OK


def shed(channel):
    codes = []
    # On a slow machine the bucket has another call's worth before the next one comes: asked until one is refused.
    while len(codes) < 1000 and grpc.StatusCode.UNAVAILABLE not in codes:
        try:
            channel.unary_unary("/tide.Echo/Unary")(b"x", timeout=120)
            codes.append(grpc.StatusCode.OK)
        except grpc.RpcError as error:
            codes.append(error.code())
    assert codes[0] == grpc.StatusCode.OK, codes
    assert set(codes[1:]) <= {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE}, codes
    assert grpc.StatusCode.UNAVAILABLE in codes, codes


clear, tls, full, authority = sys.argv[1:]
with grpc.insecure_channel(clear) as channel:
    judge(channel)
print("passed: gRPC")
with open(authority, "rb") as file:
    credentials = grpc.ssl_channel_credentials(file.read())
with grpc.secure_channel(tls, credentials) as channel:
    judge(channel)
print("passed: gRPC over TLS")
with grpc.insecure_channel(full) as channel:
    shed(channel)
print("passed: a shed call is UNAVAILABLE")
