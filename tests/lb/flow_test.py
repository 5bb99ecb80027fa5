"""Flow control end to end: who does not read holds up nobody else, and buffers stay bounded both ways."""
import concurrent.futures
import hashlib
import threading
import time
import unittest

import grpc

import h2wire
from h2wire import DATA, END_STREAM, HEADERS, WINDOW, Target, message, open_client, request_fields
from rig import LIMIT_S, SANITIZED, Rig, wait_until

STREAM_WINDOW = 256 << 10  # what the balancer grants a target's stream
RESPONSE_HEAD = [(":status", "200"), ("content-type", "application/grpc")]


class Windows:
    """Keeps to the windows the peer grants: a scripted sender that behaves."""

    def __init__(self, wire, initial=65535):
        self.wire, self.connection, self.streams, self.initial = wire, 65535, {}, initial
        self.changed = threading.Condition()

    def note(self, frame):
        with self.changed:
            if frame.type == WINDOW:
                size = int.from_bytes(frame.payload, "big")
                if frame.stream == 0:
                    self.connection += size
                else:
                    self.streams[frame.stream] = self.streams.get(frame.stream, self.initial) + size
            elif frame.type == h2wire.SETTINGS and not frame.flags & 1:
                for at in range(0, len(frame.payload), 6):
                    if int.from_bytes(frame.payload[at:at + 2], "big") == 4:
                        initial = int.from_bytes(frame.payload[at + 2:at + 6], "big")
                        for stream in self.streams:
                            self.streams[stream] += initial - self.initial
                        self.initial = initial
            self.changed.notify_all()

    def take(self, stream, wanted, timeout=LIMIT_S):
        """Waits for room; returns how many bytes may be sent, 0 when none came in time."""
        def room():
            return min(self.connection, self.streams.get(stream, self.initial), wanted, 16384)
        with self.changed:
            if not self.changed.wait_for(lambda: room() > 0, timeout):
                return 0
            size = room()
            self.connection -= size
            self.streams[stream] = self.streams.get(stream, self.initial) - size
            return size


def pushing(wire, target):
    """Sends as many response bytes as path /push/BYTES says and the windows allow; sent bytes are counted."""
    windows = Windows(wire)

    def push(stream, size):
        wire.send_headers(stream, RESPONSE_HEAD)
        left = size
        while left > 0:
            n = windows.take(stream, left)
            if n == 0:
                return
            with wire.lock:
                wire.send_data(stream, b"p" * n)
            left -= n
            with target.lock:
                target.executed["bytes"] += n
        wire.send_headers(stream, [("grpc-status", "0")], end=True)
    while True:
        frame = wire.receive(120)
        if frame is None:
            return
        with wire.lock:
            wire.answer_control(frame)
        windows.note(frame)
        if frame.type == HEADERS:
            size = int(dict(frame.headers)[":path"].rsplit("/", 1)[1])
            threading.Thread(target=push, args=(frame.stream, size), daemon=True).start()


class Flow(Rig):
    def target(self, script, **keywords):
        target = Target(script, **keywords)
        self.addCleanup(target.close)
        return target

    def open(self, lb, **keywords):
        wire = open_client(lb.port, self.ca, **keywords)
        self.addCleanup(wire.close)
        return wire

    def test_stalled_readers_do_not_slow_a_stream_on_the_same_target_connection(self):
        """95 of them hold more bytes than the connection's window; 500 are spread over several connections."""
        for count, connections in ((95, 1), (500, 6)):
            with self.subTest(count):
                self.check_stalled(count, connections)

    def check_stalled(self, count, connections):
        size = 400000
        target = self.target(pushing)
        lb = self.balancer([target.port], "--workers", "1")
        rss = lb.rss_kib()
        for _ in range(5):
            wire = self.open(lb, settings={4: 0})
            for i in range(count // 5):
                wire.send_headers(2 * i + 1, request_fields(f"/push/{size}"), end=True)
        wait_until(lambda: target.executed["bytes"] >= count * STREAM_WINDOW, "the stalled streams are sent", LIMIT_S)
        fast = self.open(lb, settings={4: 1 << 24})
        fast.credit(0, 1 << 28)
        began = time.monotonic()
        fast.send_headers(1, request_fields("/push/20000000"), end=True)
        got = 0
        while True:
            frame = fast.receive(LIMIT_S)
            self.assertIsNotNone(frame)
            fast.answer_control(frame)
            if frame.type == DATA:
                got += len(frame.payload)
                fast.credit(1, len(frame.payload))
            if frame.stream == 1 and frame.flags & END_STREAM and frame.type == HEADERS:
                break
        self.assertEqual(got, 20000000)
        self.assertEqual(target.connections, connections)
        self.assertLess(time.monotonic() - began, 15)
        if not SANITIZED:
            self.assertLess(lb.rss_kib() - rss, (40 << 10) + count * STREAM_WINDOW * 2 // 1024)

    def test_a_client_that_does_not_read_stops_the_target_and_then_gets_every_byte(self):
        target = self.target(pushing)
        lb = self.balancer([target.port], "--workers", "1")
        wire = self.open(lb)
        wire.send_headers(1, request_fields("/push/30000000"), end=True)
        time.sleep(2)
        first = target.executed["bytes"]
        time.sleep(1)
        self.assertEqual(target.executed["bytes"], first, "the target went on sending")
        self.assertLess(first, 6 << 20)
        got = 0
        while True:
            frame = wire.receive(LIMIT_S)
            wire.answer_control(frame)
            if frame.type == DATA:
                got += len(frame.payload)
                wire.credit(0, len(frame.payload))
                wire.credit(1, len(frame.payload))
            if frame.type == HEADERS and frame.flags & END_STREAM:
                break
        self.assertEqual(got, 30000000)

    def test_a_target_that_does_not_read_stops_the_client(self):
        resume = threading.Event()
        digest, received = hashlib.sha256(), []

        def slow(wire, target):
            stream = None
            while True:
                frame = wire.receive(60)
                if frame is None:
                    return
                wire.answer_control(frame)
                if frame.type == HEADERS:
                    stream = frame.stream
                if frame.type == DATA:
                    resume.wait(LIMIT_S)
                    digest.update(frame.payload)
                    received.append(len(frame.payload))
                    if frame.payload:
                        wire.credit(0, len(frame.payload))
                        wire.credit(stream, len(frame.payload))
                    if frame.flags & END_STREAM:
                        h2wire.ok_response(wire, stream)
        lb = self.balancer([self.target(slow).port], "--workers", "1")
        wire = self.open(lb)
        windows = Windows(wire)
        ended = threading.Event()

        def read():
            while True:
                frame = wire.receive(60)
                if frame is None:
                    return
                windows.note(frame)
                if frame.type == HEADERS and frame.flags & END_STREAM:
                    ended.set()
                    return
        threading.Thread(target=read, daemon=True).start()
        wire.send_headers(1, request_fields())
        sent, expected, size = 0, hashlib.sha256(), 20000000
        stalled_at = None
        while sent < size:
            n = windows.take(1, size - sent, timeout=1.5 if stalled_at is None else LIMIT_S)
            if n == 0:
                self.assertIsNone(stalled_at)
                stalled_at = sent
                resume.set()
                continue
            chunk = bytes([sent // 16384 % 251]) * n
            expected.update(chunk)
            wire.send_data(1, chunk)
            sent += n
        wire.send_data(1, b"", end=True)
        self.assertTrue(ended.wait(LIMIT_S))
        self.assertIsNotNone(stalled_at, "the client was never stopped")
        self.assertLess(stalled_at, 4 << 20)
        self.assertEqual(sum(received), size)
        self.assertEqual(digest.hexdigest(), expected.hexdigest())

    def test_an_upload_and_a_download_of_a_hundred_megabytes_arrive_whole(self):
        class Handler(grpc.GenericRpcHandler):
            def service(self, details):
                if details.method.endswith("Up"):
                    return grpc.stream_unary_rpc_method_handler(self.up)
                return grpc.unary_stream_rpc_method_handler(self.down)

            @staticmethod
            def up(requests, context):
                digest = hashlib.sha256()
                for request in requests:
                    digest.update(request)
                return digest.hexdigest().encode()

            @staticmethod
            def down(request, context):
                for i in range(int(request)):
                    yield bytes([i % 251]) * (1 << 20)
        server = grpc.server(concurrent.futures.ThreadPoolExecutor(4))
        server.add_generic_rpc_handlers([Handler()])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        self.addCleanup(lambda: server.stop(None))
        lb = self.balancer([port])
        rss = lb.rss_kib()
        channel = self.channel(lb.port)
        digest = hashlib.sha256()
        for i in range(100):
            digest.update(bytes([i % 251]) * (1 << 20))
        answer = channel.stream_unary("/t.T/Up")((bytes([i % 251]) * (1 << 20) for i in range(100)), timeout=90)
        self.assertEqual(answer.decode(), digest.hexdigest())
        got = hashlib.sha256()
        for part in channel.unary_stream("/t.T/Down")(b"100", timeout=90):
            got.update(part)
        self.assertEqual(got.hexdigest(), digest.hexdigest())
        if not SANITIZED:
            self.assertLess(lb.rss_kib() - rss, 40 << 10)

    def test_single_byte_windows_still_make_progress(self):
        target = self.target(pushing)
        lb = self.balancer([target.port], "--workers", "1")
        wire = self.open(lb, settings={4: 1})
        wire.send_headers(1, request_fields("/push/200"), end=True)
        got = 0
        while got < 200:
            frame = wire.receive(LIMIT_S)
            wire.answer_control(frame)
            if frame.type == DATA:
                self.assertEqual(len(frame.payload), 1)
                got += 1
                wire.credit(1, 1)
        frames = wire.wait_for(lambda f: f.type == HEADERS and f.flags & END_STREAM)
        self.assertIsNotNone(frames[-1])


if __name__ == "__main__":
    unittest.main()
