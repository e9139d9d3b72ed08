"""A gRPC server without generated code: messages are bytes. Prints its port."""

import sys
import time
from concurrent import futures

import grpc


def unary(message, context):
    if message == b"missing":
        context.set_trailing_metadata((("x-why", "not here"),))
        context.abort(grpc.StatusCode.NOT_FOUND, "no such thing: caf\u00e9 %")
    if message == b"slow":
        # Until the client gives up, ten seconds at most.
        for _ in range(1000):
            if not context.is_active():
                break
            time.sleep(0.01)
    return message


def down(message, _context):
    for number in range(int(message)):
        yield b"%d" % number


def up(messages, _context):
    return b"%d" % sum(len(message) for message in messages)


def both(messages, context):
    context.send_initial_metadata((("x-first", "before any message"),))
    for message in messages:
        yield message.upper()


handlers = {
    "Unary": grpc.unary_unary_rpc_method_handler(unary),
    "Down": grpc.unary_stream_rpc_method_handler(down),
    "Up": grpc.stream_unary_rpc_method_handler(up),
    "Both": grpc.stream_stream_rpc_method_handler(both),
}
server = grpc.server(futures.ThreadPoolExecutor(16))
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("tide.Echo", handlers),))
port = server.add_insecure_port("127.0.0.1:0")
server.start()
print(port, flush=True)
sys.stdin.read()
server.stop(None)
