#!/usr/bin/python3
"""The interoperability cases with grpcio. Options and output are those of the C++ client."""
import argparse
import json
import sys
import threading

import grpc

import stubs
from stubs import body_of

messages, services = stubs.load()
LARGE_REQUEST, LARGE_RESPONSE, SOAK_ROUNDS, MANY_STREAMS, LIMIT_S = 271828, 314159, 10, 200, 30
SPECIAL = "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n"
SIZES = [(27182, 31415), (8, 9), (1828, 2653), (45904, 58979)]
GZIP = grpc.Compression.Gzip


class Mismatch(Exception):
    pass


def expect(good, what):
    if not good:
        raise Mismatch(what)


def call_of(body, answers=(), compressed=False, delay_ms=0, ending=None):
    call = messages.Call(body=body_of(body))
    for size in answers:
        call.answers.add(bytes=size, compressed=compressed, delay_ms=delay_ms)
    if ending:
        call.ending.code, call.ending.message = ending
    return call


class Requests:
    """A stream of requests that the test feeds; None ends it."""

    def __init__(self):
        self.items, self.ready = [], threading.Condition()

    def put(self, item):
        with self.ready:
            self.items.append(item)
            self.ready.notify()

    def __iter__(self):
        while True:
            with self.ready:
                while not self.items:
                    self.ready.wait()
                item = self.items.pop(0)
            if item is None:
                return
            yield item


def expect_end(call, code, message=None):
    """The stream brings nothing more and ends so."""
    try:
        extra = next(iter(call), None)
        expect(extra is None, "too many messages")
        got, details = call.code(), call.details()
    except grpc.RpcError as error:
        got, details = error.code(), error.details()
    expect(got.value[0] == code, f"status {got} {details}")
    expect(message is None or details == message, f"message {details!r}")


class Client:
    def __init__(self, options):
        self.options, self.servers = options, set()
        self.channel = self.connect()
        self.stub = services.InteropStub(self.channel)

    def connect(self):
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
        if not self.options.ca:
            return grpc.insecure_channel(self.options.address, options)
        options.append(("grpc.ssl_target_name_override", self.options.authority))
        with open(self.options.ca, "rb") as file:
            return grpc.secure_channel(self.options.address, grpc.ssl_channel_credentials(file.read()), options)

    def unary(self, stub, call, **keywords):
        reply, done = stub.Unary.with_call(call, timeout=LIMIT_S, **keywords)
        self.servers.add(dict(done.initial_metadata())["x-server"])
        return reply, done

    def expect_body(self, chunk, size):
        expect(chunk.body == body_of(size), f"body of {len(chunk.body)} instead of {size}")

    def empty_unary(self):
        self.stub.Ping(messages.Nothing(), timeout=LIMIT_S)

    def large_unary(self):
        self.expect_body(self.unary(self.stub, call_of(LARGE_REQUEST, [LARGE_RESPONSE]))[0], LARGE_RESPONSE)

    def client_streaming(self, **keywords):
        total = self.stub.Collect((call_of(size) for size, _ in SIZES), timeout=LIMIT_S, **keywords)
        expect((total.bytes, total.messages) == (74922, 4), str(total))

    def server_streaming(self, compressed=False):
        sizes = [size for _, size in SIZES]
        chunks = list(self.stub.Spread(call_of(10, sizes, compressed), timeout=LIMIT_S))
        expect(len(chunks) == 4, f"{len(chunks)} chunks")
        for chunk, size in zip(chunks, sizes):
            self.expect_body(chunk, size)

    def ping_pong(self):
        requests = Requests()
        call = self.stub.Duplex(iter(requests), timeout=LIMIT_S)
        for request, answer in SIZES:
            requests.put(call_of(request, [answer]))
            self.expect_body(next(call), answer)
        requests.put(None)
        expect_end(call, 0)

    def empty_stream(self):
        expect_end(self.stub.Duplex(iter(()), timeout=LIMIT_S), 0)

    def client_compressed_unary(self):
        self.expect_body(self.unary(self.stub, call_of(LARGE_REQUEST, [100]), compression=GZIP)[0], 100)

    def client_compressed_streaming(self):
        self.client_streaming(compression=GZIP)

    def server_compressed_unary(self):
        self.expect_body(self.unary(self.stub, call_of(10, [LARGE_RESPONSE], True))[0], LARGE_RESPONSE)

    def server_compressed_streaming(self):
        self.server_streaming(True)

    def cancel_after_begin(self):
        requests = Requests()
        future = self.stub.Collect.future(iter(requests))
        future.cancel()
        requests.put(None)
        expect(future.cancelled() and future.code() == grpc.StatusCode.CANCELLED, f"{future.code()}")

    def cancel_after_first_response(self):
        requests = Requests()
        call = self.stub.Duplex(iter(requests), timeout=LIMIT_S)
        requests.put(call_of(27182, [31415]))
        self.expect_body(next(call), 31415)
        call.cancel()
        expect_end(call, 1)
        requests.put(None)

    def timeout_on_sleeping_server(self):
        requests = Requests()
        call = self.stub.Duplex(iter(requests), timeout=2)
        requests.put(call_of(27182, [10], delay_ms=20000))
        expect_end(call, 4)
        requests.put(None)

    def ending(self, code, message):
        call = call_of(5, ending=(code, message))
        try:
            self.stub.Unary(call, timeout=LIMIT_S)
            raise Mismatch("no error")
        except grpc.RpcError as error:
            expect((error.code().value[0], error.details()) == (code, message), f"{error.code()} {error.details()!r}")
        expect_end(self.stub.Duplex(iter([call]), timeout=LIMIT_S), code, message)

    def status_code_and_message(self):
        for code in range(1, 17):
            self.ending(code, "test status message")

    def special_status_message(self):
        self.ending(2, SPECIAL)

    def custom_metadata(self):
        binary = b"\xab\xab\xab\0\xff"
        sent = [("x-echo-initial", "test_initial_metadata_value"), ("x-echo-trailing-bin", binary)]
        _, unary = self.unary(self.stub, call_of(3, [4]), metadata=sent)
        duplex = self.stub.Duplex(iter([call_of(3, [4])]), timeout=LIMIT_S, metadata=sent)
        expect(len(list(duplex)) == 1, "chunks")
        for call in (unary, duplex):
            expect(dict(call.initial_metadata()).get("x-echo-initial") == sent[0][1], "initial metadata")
            expect(dict(call.trailing_metadata()).get("x-echo-trailing-bin") == binary, "trailing metadata")

    def expect_unimplemented(self, method):
        try:
            method(messages.Nothing(), timeout=LIMIT_S)
            raise Mismatch("no error")
        except grpc.RpcError as error:
            expect(error.code() == grpc.StatusCode.UNIMPLEMENTED, f"{error.code()} {error.details()}")

    def unimplemented_method(self):
        self.expect_unimplemented(self.stub.Missing)

    def unimplemented_service(self):
        self.expect_unimplemented(services.AbsentStub(self.channel).Ping)

    def rpc_soak(self):
        for _ in range(SOAK_ROUNDS):
            self.large_unary()

    def channel_soak(self):
        for _ in range(SOAK_ROUNDS):
            with self.connect() as channel:
                reply, _ = self.unary(services.InteropStub(channel), call_of(LARGE_REQUEST, [LARGE_RESPONSE]))
                self.expect_body(reply, LARGE_RESPONSE)

    def more_streams_than_allowed(self):
        call = call_of(10, [20], delay_ms=30)
        futures = [self.stub.Unary.future(call, timeout=60) for _ in range(MANY_STREAMS)]
        for future in futures:
            self.expect_body(future.result(), 20)
            self.servers.add(dict(future.initial_metadata())["x-server"])


CASES = ["empty_unary", "large_unary", "client_streaming", "server_streaming", "ping_pong", "empty_stream",
         "client_compressed_unary", "client_compressed_streaming", "server_compressed_unary",
         "server_compressed_streaming", "cancel_after_begin", "cancel_after_first_response",
         "timeout_on_sleeping_server", "status_code_and_message", "special_status_message", "custom_metadata",
         "unimplemented_method", "unimplemented_service", "rpc_soak", "channel_soak", "more_streams_than_allowed"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--address")
    parser.add_argument("--ca")
    parser.add_argument("--authority")
    parser.add_argument("--cases", default="")
    options = parser.parse_args()
    client, passed, failed = Client(options), [], {}
    for name in options.cases.split(",") if options.cases else CASES:
        try:
            getattr(client, name)()
            passed.append(name)
        except (Mismatch, grpc.RpcError, StopIteration) as error:
            failed[name] = str(error)
    print(json.dumps({"client": "python", "passed": passed, "failed": failed, "servers": sorted(client.servers)}))
    return 1 if failed or not passed else 0


sys.exit(main())
