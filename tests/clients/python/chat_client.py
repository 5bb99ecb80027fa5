#!/usr/bin/python3
"""Exercises the chat service with Python's stock gRPC client (Debian: python3-grpcio, python3-grpc-tools).

    chat_client.py --address HOST:PORT [--ca FILE] [--authority NAME] [--plaintext] [--proto chat.proto]

Prints a line per check and ends with one line of JSON. The first mismatch ends it: exit code 1.
"""
import argparse
import json
import os
import sys
import tempfile
import threading
import time

import grpc
from grpc_tools import protoc

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
LARGE = 1 << 20
LIMIT_S = 20
BINARY = bytes(range(256))
DIFFICULT = '100 % wrong:\nnaïve "quotes", ünïcödé ☂, tab\tand more'


class Mismatch(Exception):
    pass


def expect(what, got, wanted):
    if got != wanted:
        got, wanted = repr(got), repr(wanted)
        raise Mismatch(f"{what}: got {got[:200]} instead of {wanted[:200]}")


def load_stubs(proto):
    """Generates the stubs into a folder that is gone when this returns."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = ["protoc", "-I" + os.path.dirname(proto), "--python_out=" + folder,
                     "--grpc_python_out=" + folder, proto]
        if protoc.main(arguments) != 0:
            sys.exit(f"chat_client.py: protoc could not read {proto}")
        sys.path.insert(0, folder)
        sys.dont_write_bytecode = True
        try:
            import chat_pb2
            import chat_pb2_grpc
        finally:
            sys.path.remove(folder)
    return chat_pb2, chat_pb2_grpc


class Checks:
    def __init__(self, channel, messages, services):
        self.channel = channel
        self.pb = messages
        self.stub = services.ChatServiceStub(channel)

    def behaviour(self, **wish):
        return self.pb.Behaviour(**wish)

    def fails_with(self, code, call):
        """Runs the call, which must end with the code; returns the error and the seconds it took."""
        began = time.monotonic()
        try:
            call()
        except grpc.RpcError as error:
            expect("status", error.code(), code)
            return error, time.monotonic() - began
        raise Mismatch(f"status: OK instead of {code}")

    def check_unary(self):
        for size in (0, 1, 100, LARGE):
            payload = os.urandom(size)
            request = self.pb.SayRequest(sequence=size, text="caffè ☕", payload=payload)
            reply = self.stub.Say(request, timeout=LIMIT_S)
            expect("sequence", reply.sequence, size)
            expect("text", reply.text, "caffè ☕")
            expect("payload", reply.payload, payload)
            expect("served_by is there", bool(reply.served_by), True)

    def check_unary_empty_message(self):
        expect("payload", self.stub.Say(self.pb.SayRequest(), timeout=LIMIT_S).payload, b"")

    def check_unary_metadata_and_trailers(self):
        sent = (("x-initial-text", 'a, b; c="d"'), ("x-initial-bytes-bin", BINARY),
                ("x-trailing-text", "~tail~"), ("x-trailing-bytes-bin", BINARY), ("x-trailing-none-bin", b""))
        reply, call = self.stub.Say.with_call(self.pb.SayRequest(), metadata=sent, timeout=LIMIT_S)
        initial, trailing = dict(call.initial_metadata()), dict(call.trailing_metadata())
        for key, value in sent:
            expect(key, (initial if key.startswith("x-initial-") else trailing).get(key), value)
        expect("served-by", initial["served-by"], reply.served_by)
        expect("messages-received", trailing["messages-received"], "1")
        expect("status", call.code(), grpc.StatusCode.OK)

    def check_unary_large_metadata(self):
        value = "v" * 6000
        call = self.stub.Say.with_call(self.pb.SayRequest(), metadata=(("x-initial-long", value),), timeout=LIMIT_S)[1]
        expect("x-initial-long", dict(call.initial_metadata())["x-initial-long"], value)

    def check_unary_error_status(self):
        for code in list(grpc.StatusCode)[1:]:
            wish = self.behaviour(fail_code=code.value[0], fail_message=DIFFICULT)
            error, _ = self.fails_with(code, lambda: self.stub.Say(
                self.pb.SayRequest(behaviour=wish), metadata=(("x-trailing-bytes-bin", BINARY),), timeout=LIMIT_S))
            expect("message", error.details(), DIFFICULT)
            expect("trailer", dict(error.trailing_metadata())["x-trailing-bytes-bin"], BINARY)

    def check_unary_deadline(self):
        request = self.pb.SayRequest(behaviour=self.behaviour(delay_ms=10_000))
        _, took = self.fails_with(grpc.StatusCode.DEADLINE_EXCEEDED, lambda: self.stub.Say(request, timeout=0.3))
        expect(f"ended within bounds ({took:.3f} s)", 0.25 < took < 3, True)

    def check_unary_cancel(self):
        call = self.stub.Say.future(self.pb.SayRequest(behaviour=self.behaviour(delay_ms=10_000)), timeout=LIMIT_S)
        threading.Timer(0.2, call.cancel).start()
        try:
            call.result()
            raise Mismatch("a cancelled call had a result")
        except grpc.FutureCancelledError:
            expect("status", call.code(), grpc.StatusCode.CANCELLED)

    def check_unary_unknown_method(self):
        method = self.channel.unary_unary("/weir.chat.v1.ChatService/Nothing")
        self.fails_with(grpc.StatusCode.UNIMPLEMENTED, lambda: method(b"", timeout=LIMIT_S))

    def check_collect(self):
        for count, size in ((0, 0), (1, 0), (100, 1000), (4, LARGE)):
            requests = (self.pb.CollectRequest(sequence=i + 1, payload=b"c" * size) for i in range(count))
            reply, call = self.stub.Collect.with_call(requests, timeout=LIMIT_S)
            expect("messages", reply.messages, count)
            expect("bytes", reply.bytes, count * size)
            expect("in order", reply.in_order, True)
            expect("trailer", dict(call.trailing_metadata())["messages-received"], str(count))

    def check_collect_refused_while_the_client_still_sends(self):
        stop = threading.Event()

        def requests():
            yield self.pb.CollectRequest(sequence=1, behaviour=self.behaviour(fail_code=9, fail_message="enough"))
            stop.wait(LIMIT_S)

        error, took = self.fails_with(grpc.StatusCode.FAILED_PRECONDITION,
                                      lambda: self.stub.Collect(requests(), timeout=LIMIT_S))
        stop.set()
        expect("message", error.details(), "enough")
        expect(f"did not wait for the client ({took:.3f} s)", took < 5, True)

    def check_watch(self):
        for count, size in ((1, 0), (200, 1000), (4, LARGE)):
            call = self.stub.Watch(self.pb.WatchRequest(
                topic="t", behaviour=self.behaviour(count=count, reply_bytes=size)), timeout=LIMIT_S)
            got = [(reply.sequence, len(reply.payload)) for reply in call]
            expect("messages", got, [(i + 1, size) for i in range(count)])
            expect("status", call.code(), grpc.StatusCode.OK)

    def check_watch_messages_arrive_one_by_one(self):
        began, times = time.monotonic(), []
        request = self.pb.WatchRequest(behaviour=self.behaviour(count=4, delay_ms=200))
        for _ in self.stub.Watch(request, timeout=LIMIT_S):
            times.append(time.monotonic() - began)
        expect(f"spread over the stream's length ({times})", times[-1] - times[0] > 0.3, True)

    def check_watch_that_ends_with_an_error(self):
        call = self.stub.Watch(self.pb.WatchRequest(
            behaviour=self.behaviour(count=3, fail_code=10, fail_message=DIFFICULT)), timeout=LIMIT_S)
        got = []
        error, _ = self.fails_with(grpc.StatusCode.ABORTED, lambda: got.extend(r.sequence for r in call))
        expect("messages before it", got, [1, 2, 3])
        expect("message", error.details(), DIFFICULT)

    def check_watch_cancel(self):
        call = self.stub.Watch(self.pb.WatchRequest(behaviour=self.behaviour(count=1000, delay_ms=20)), timeout=LIMIT_S)
        for _ in range(3):
            next(call)
        call.cancel()
        self.fails_with(grpc.StatusCode.CANCELLED, lambda: list(call))

    def check_watch_deadline(self):
        call = self.stub.Watch(self.pb.WatchRequest(behaviour=self.behaviour(count=1000, delay_ms=20)), timeout=0.5)
        got = []
        _, took = self.fails_with(grpc.StatusCode.DEADLINE_EXCEEDED, lambda: got.extend(call))
        expect(f"ended within bounds ({took:.3f} s)", 0.4 < took < 3, True)
        expect("messages arrived before it", len(got) > 0, True)

    def chat_in_turn(self, count, size):
        answered = threading.Semaphore(1)

        def requests():
            for i in range(count):
                if not answered.acquire(timeout=LIMIT_S):
                    return
                yield self.pb.ChatRequest(sequence=i + 1, text=str(i), payload=bytes([i % 256]) * size)

        call = self.stub.Chat(requests(), metadata=(("x-trailing-bytes-bin", BINARY),), timeout=LIMIT_S)
        tasks = set()
        for i, reply in enumerate(call):
            expect("sequence", (reply.sequence, reply.in_reply_to, reply.text), (i + 1, i + 1, str(i)))
            expect("payload", reply.payload, bytes([i % 256]) * size)
            tasks.add(reply.served_by)
            answered.release()
        trailing = dict(call.trailing_metadata())
        expect("status after the half-close", call.code(), grpc.StatusCode.OK)
        expect("messages", trailing["messages-received"], str(count))
        expect("trailer", trailing["x-trailing-bytes-bin"], BINARY)
        expect("tasks that served the stream", len(tasks), 1)

    def check_chat(self):
        for count, size in ((1, 0), (200, 100), (4, LARGE)):
            self.chat_in_turn(count, size)

    def check_chat_without_a_message(self):
        call = self.stub.Chat(iter(()), timeout=LIMIT_S)
        expect("messages", list(call), [])
        expect("status", call.code(), grpc.StatusCode.OK)

    def check_chat_burst(self):
        requests = (self.pb.ChatRequest(sequence=i + 1, behaviour=self.behaviour(count=4)) for i in range(50))
        got = [(r.sequence, r.in_reply_to) for r in self.stub.Chat(requests, timeout=LIMIT_S)]
        expect("messages", got, [(i + 1, i // 4 + 1) for i in range(200)])

    def check_chat_that_ends_with_an_error(self):
        wish = self.behaviour(fail_code=8, fail_message=DIFFICULT)
        call = self.stub.Chat(iter([self.pb.ChatRequest(sequence=1, behaviour=wish)]), timeout=LIMIT_S)
        got = []
        error, _ = self.fails_with(grpc.StatusCode.RESOURCE_EXHAUSTED, lambda: got.extend(call))
        expect("messages before it", len(got), 1)
        expect("message", error.details(), DIFFICULT)

    def check_chat_cancel(self):
        stop = threading.Event()

        def requests():
            yield self.pb.ChatRequest(sequence=1)
            stop.wait(LIMIT_S)

        call = self.stub.Chat(requests(), timeout=LIMIT_S)
        next(call)
        call.cancel()
        self.fails_with(grpc.StatusCode.CANCELLED, lambda: list(call))
        stop.set()


def make_channel(options):
    arguments = [("grpc.enable_http_proxy", 0), ("grpc.max_receive_message_length", 8 << 20)]
    if options.authority:
        arguments.append(("grpc.default_authority", options.authority))
    if options.plaintext:
        return grpc.insecure_channel(options.address, arguments)
    if options.authority:
        arguments.append(("grpc.ssl_target_name_override", options.authority))
    roots = None
    if options.ca:
        with open(options.ca, "rb") as f:
            roots = f.read()
    return grpc.secure_channel(options.address, grpc.ssl_channel_credentials(roots), arguments)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--address", required=True, help="HOST:PORT")
    parser.add_argument("--ca", help="PEM file of the authority that signed the server's certificate")
    parser.add_argument("--authority", help="the name to call the server by, checked in its certificate")
    parser.add_argument("--plaintext", action="store_true")
    parser.add_argument("--proto", default=os.path.join(ROOT, "examples/chat/proto/chat.proto"))
    options = parser.parse_args()
    messages, services = load_stubs(os.path.abspath(options.proto))
    passed, failure = 0, None
    with make_channel(options) as channel:
        checks = Checks(channel, messages, services)
        for name in [n for n in Checks.__dict__ if n.startswith("check_")]:
            title = name[len("check_"):].replace("_", " ")
            try:
                getattr(checks, name)()
            except (Mismatch, grpc.RpcError) as error:
                failure = f"{title}: {error}"
                print("FAILED", failure)
                break
            print("ok    ", title, flush=True)
            passed += 1
    print(json.dumps({"client": "python " + grpc.__version__, "ok": failure is None, "passed": passed,
                      "failure": failure}))
    return 0 if failure is None else 1


if __name__ == "__main__":
    sys.exit(main())
