"""Targets that are real gRPC servers (Debian: python3-grpcio), and a balancer that is driven over its link."""
import concurrent.futures
import queue
import socket
import subprocess
import threading
import time

import grpc

import link as L
from link import Link
from rig import LB, LIMIT_S, SANITIZED, Rig

SERVING, NOT_SERVING = b"\x08\x01", b"\x08\x02"


class Server(grpc.GenericRpcHandler):
    """Serves /test.Test/Call (unary), /test.Test/Stream (messages until the client goes) and grpc.health.v1.

    What it does can be changed at any time: `code` fails calls without a message, `late_code` after one message.
    """

    def __init__(self, test, watch=False):
        self.code = self.late_code = None
        self.trailers, self.status, self.interval_s = (), SERVING, 0.05
        self.calls, self.streams, self.checks, self.metadata, self.watches = 0, 0, [], [], 0
        self.health_metadata, self.watchers, self.has_watch = {}, [], watch
        self.lock = threading.Lock()
        self.server = grpc.server(concurrent.futures.ThreadPoolExecutor(64), handlers=[self],
                                  options=[("grpc.so_reuseport", 0)])
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()
        test.addCleanup(self.stop)

    def stop(self):
        self.say(None)
        self.server.stop(0).wait(10)

    def service(self, details):
        methods = {"/test.Test/Call": grpc.unary_unary_rpc_method_handler(self.call),
                   "/test.Test/Upload": grpc.stream_unary_rpc_method_handler(self.upload),
                   "/test.Test/Stream": grpc.unary_stream_rpc_method_handler(self.stream),
                   "/grpc.health.v1.Health/Check": grpc.unary_unary_rpc_method_handler(self.check)}
        if self.has_watch:
            methods["/grpc.health.v1.Health/Watch"] = grpc.unary_stream_rpc_method_handler(self.watch)
        return methods.get(details.method)

    def fail(self, context, code):
        context.set_trailing_metadata(self.trailers)
        context.abort(code, "made to fail")

    def call(self, request, context):
        with self.lock:
            self.calls += 1
            self.metadata.append(dict(context.invocation_metadata()))
        if self.code is not None:
            self.fail(context, self.code)
        return b"%d" % self.port

    def upload(self, requests, context):
        with self.lock:
            self.calls += 1
        for _ in requests:
            pass
        if self.code is not None:
            self.fail(context, self.code)
        return b"%d" % self.port

    def stream(self, request, context):
        with self.lock:
            self.streams += 1
            self.metadata.append(dict(context.invocation_metadata()))
        try:
            if self.late_code is not None:
                yield b"one"
                self.fail(context, self.late_code)
            interval_s = float(request) if request else self.interval_s
            while context.is_active():
                yield b"%d" % self.port * 200
                time.sleep(interval_s)
        finally:
            with self.lock:
                self.streams -= 1

    def check(self, request, context):
        self.checks.append(request)
        self.health_metadata = dict(context.invocation_metadata())
        return self.status

    def watch(self, request, context):
        changes = queue.Queue()
        with self.lock:
            self.watches += 1
            self.watchers.append(changes)
        yield self.status
        while context.is_active():
            try:
                status = changes.get(timeout=0.2)
            except queue.Empty:
                continue
            if status is None:
                return
            yield status

    def say(self, *statuses):
        """Tells everyone who watches; None ends the stream."""
        for changes in self.watchers:
            for status in statuses:
                changes.put(status)


class LinkedRig(Rig):
    """One balancer with two workers and one cleartext listener."""
    workers = 2

    def setUp(self):
        super().setUp()
        self.sock = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.sock.setblocking(False)
        self.addCleanup(self.sock.close)
        self.port = self.sock.getsockname()[1]
        path = f"{self.folder.name}/{self.id().rsplit('.', 1)[1][-40:]}.sock"
        self.lb = self.start([LB, "--link", path, "--workers", str(self.workers)],
                             stderr=None if SANITIZED else subprocess.DEVNULL)
        self.link = Link(path)
        self.addCleanup(self.link.close)
        self.link.send(L.OPEN, L.listener_socket("listener", "127.0.0.1", self.port), [self.sock.fileno()])
        self.generation = 0

    def configure(self, servers, **keywords):
        """`servers` as targets; those in a pair come with further settings of the target."""
        targets = [L.target(s[0].port, **s[1]) if isinstance(s, tuple) else L.target(s.port) for s in servers]
        self.generation += 1
        body = L.snapshot(self.generation, [L.listener("listener")], [L.group(targets, **keywords)])
        self.link.apply(self.generation, body)

    def configure_static(self, servers, **keywords):
        """Without health checks: everyone is healthy."""
        self.configure([(s, {"last": "healthy"}) for s in servers], in_use=False, **keywords)

    def client(self):
        return self.channel(self.port, tls=False)

    def unary(self, count, channel=None):
        """Answers and errors of so many calls, one after another."""
        call = (channel or self.client()).unary_unary("/test.Test/Call")
        results = []
        for _ in range(count):
            try:
                results.append(call(b"x", timeout=LIMIT_S))
            except grpc.RpcError as error:
                results.append(error)
        return results
