#!/usr/bin/python3
"""The interoperability service with grpcio, in the clear on a port the kernel chooses: server.py NAME"""
import concurrent.futures
import sys
import threading
import time

import grpc

import stubs

messages, services = stubs.load()
STREAMS_MAX = 16  # per connection, so that the tests reach it


class Failure(Exception):
    def __init__(self, code, text):
        super().__init__(text)
        self.code, self.text = code, text


CODES = {code.value[0]: code for code in grpc.StatusCode}


def check(call):
    if call.body != stubs.body_of(len(call.body)):
        raise Failure(grpc.StatusCode.INVALID_ARGUMENT, "the body has changed on its way")
    if call.HasField("ending"):
        raise Failure(CODES[call.ending.code], call.ending.message)


def answers(context, call):
    check(call)
    for answer in call.answers:
        end = time.monotonic() + answer.delay_ms / 1000
        while context.is_active() and time.monotonic() < end:
            time.sleep(min(0.02, max(0, end - time.monotonic())))
        yield messages.Chunk(body=stubs.body_of(answer.bytes))


class Service(services.InteropServicer):
    def __init__(self, name):
        self.name, self.lock, self.calls, self.cancelled = name, threading.Lock(), 0, 0

    def enter(self, context, compressed=False):
        def ended():
            # Only the context's own state tells a client that left from one that half-closed: the request iterator
            # of grpcio may end in the same way for both.
            with self.lock:
                self.cancelled += context._state.client == "cancelled"  # pylint: disable=protected-access
        if not context.add_callback(ended):
            ended()
        with self.lock:
            self.calls += 1
        if compressed:
            context.set_compression(grpc.Compression.Gzip)
        asked = dict(context.invocation_metadata())
        initial = [("x-server", self.name)]
        if "x-echo-initial" in asked:
            initial.append(("x-echo-initial", asked["x-echo-initial"]))
        context.send_initial_metadata(initial)
        if "x-echo-trailing-bin" in asked:
            context.set_trailing_metadata([("x-echo-trailing-bin", asked["x-echo-trailing-bin"])])

    @staticmethod
    def end(context, failure):
        context.set_code(failure.code)
        context.set_details(failure.text)

    def Ping(self, request, context):
        self.enter(context)
        return messages.Nothing()

    def Unary(self, request, context):
        self.enter(context, any(a.compressed for a in request.answers))
        try:
            return next(answers(context, request), messages.Chunk())
        except Failure as failure:
            self.end(context, failure)
            return messages.Chunk()

    def Collect(self, request_iterator, context):
        self.enter(context)
        total = messages.Total()
        for call in request_iterator:
            check(call)
            total.bytes += len(call.body)
            total.messages += 1
        return total

    def Spread(self, request, context):
        return self.Duplex(iter([request]), context, any(a.compressed for a in request.answers))

    def Duplex(self, request_iterator, context, compressed=False):
        self.enter(context, compressed)
        try:
            for call in request_iterator:
                yield from answers(context, call)
        except Failure as failure:
            self.end(context, failure)

    def Count(self, request, context):
        return messages.Counts(calls=self.calls, cancelled=self.cancelled)


def main():
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(max_workers=64),
                         options=[("grpc.max_concurrent_streams", STREAMS_MAX)])
    services.add_InteropServicer_to_server(Service(sys.argv[1]), server)
    print("port", server.add_insecure_port("127.0.0.1:0"), flush=True)
    server.start()
    server.wait_for_termination()


main()
