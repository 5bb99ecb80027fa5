"""What the attack tests share: a balancer driven over the link, so that its counters can be read, and attack(), which
mounts an attack beside a healthy client and checks memory, CPU, that client and the counters.
"""
import os
import pathlib
import resource
import socket
import struct
import subprocess
import time

import h2wire
import link as L
from h2wire import (END_HEADERS, END_STREAM, GOAWAY, HEADERS, RST, Target, frame_bytes, message, ok_response, open_client,
                    request_fields)
from rig import LB, ROOT, SANITIZED, HealthyClient, Rig, accepts, free_port, wait_until

BACKEND = os.environ.get("WEIR_BENCH", ROOT + "/build/dev/bench") + "/backend"
ARN = "listener"
RSS_GROWTH_KIB = 48 << 10
HEALTHY = "/healthy.Test/Call"
HANG = "/test.Test/Hang"   # the target never answers
BIG = "/test.Test/Big/"    # followed by how many bytes of response body it sends
RESPONSE_HEAD = [(":status", "200"), ("content-type", "application/grpc")]
SETTINGS_TIMEOUT, STREAM_CLOSED, FRAME_SIZE, COMPRESSION = 4, 5, 6, 9


def serve(wire, target):
    """Echoes messages; see HANG and BIG. Cares for no window: what is too much breaks the test."""
    bodies = {}
    while True:
        frame = wire.receive(120)
        if frame is None:
            return
        wire.answer_control(frame)
        if frame.type == HEADERS:
            path = dict(frame.headers).get(":path", "")
            target.count(path)
            if path.startswith(BIG):
                wire.send_headers(frame.stream, RESPONSE_HEAD)
                body = b"z" * int(path[len(BIG):])
                for at in range(0, len(body), 16384):
                    wire.send_data(frame.stream, body[at:at + 16384])
                wire.send_headers(frame.stream, [("grpc-status", "0")], end=True)
            elif path != HANG:
                bodies[frame.stream] = b""
        elif frame.type == h2wire.DATA and frame.payload:
            wire.credit(0, len(frame.payload))
            if frame.stream in bodies:
                bodies[frame.stream] += frame.payload
                if not frame.flags & END_STREAM:
                    wire.credit(frame.stream, len(frame.payload))
        elif frame.type == RST:
            target.count("resets")
            bodies.pop(frame.stream, None)
        if frame.type in (HEADERS, h2wire.DATA) and frame.flags & END_STREAM and frame.stream in bodies:
            ok_response(wire, frame.stream, bodies.pop(frame.stream)[5:])


class AttackCase(Rig):
    """launch() starts a balancer with one worker; self.lb, self.link and self.port are its. The healthy client's calls
    go to a target of their own, a program that is quick whatever this one is busy with."""

    def launch(self, *targets, idle_ms=60000, slow_reader_ms=300000, tls=True, descriptors=None, listener=None,
               address="127.0.0.1", **group):
        """targets: ports, or (address, port); address: where it listens."""
        if not targets:
            target = Target(serve)
            self.addCleanup(target.close)
            self.target, targets = target, (target.port,)
        path = f"{self.folder.name}/{len(self.processes)}.{self.id().rsplit('.', 1)[1][-40:]}.sock"
        sock = socket.create_server((address, 0), backlog=1024)
        sock.setblocking(False)
        self.addCleanup(sock.close)
        limit = None if descriptors is None else lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors,) * 2)
        log = open(path + ".log", "w+b")
        self.addCleanup(log.close)
        process = self.start([LB, "--link", path, "--workers", "1"], stderr=log, preexec_fn=limit)
        self.lb = RunningBalancer(self, process, log)
        self.link = L.Link(path)
        self.addCleanup(self.link.close)
        self.port = sock.getsockname()[1]
        self.link.send(L.OPEN, L.listener_socket(ARN, address, self.port), [sock.fileno()])
        pems = [pathlib.Path(name).read_text("ascii") for name in (self.ca, self.key)] if tls else []
        listener = listener or L.listener(ARN, *pems, rules=[L.path_rule(1, HEALTHY, "healthy")])
        places = [t if isinstance(t, tuple) else ("127.0.0.1", t) for t in targets]
        self.groups = [L.group([L.target(port, last="healthy", address=host) for host, port in places], in_use=False,
                               **group),
                       L.group([L.target(self.healthy_target(), last="healthy")], "healthy", in_use=False)]
        self.link.apply(1, L.snapshot(1, [listener], self.groups, idle_ms=idle_ms, slow_reader_ms=slow_reader_ms))
        self.tls = tls

    def healthy_target(self):
        port = free_port()
        self.start([BACKEND, "--listen", f"127.0.0.1:{port}"], stdout=subprocess.DEVNULL)
        wait_until(lambda: accepts(port), "the healthy client's target listens")
        return port

    def open(self, **keywords):
        wire = open_client(self.port, self.ca if self.tls else None, **keywords)
        self.addCleanup(wire.close)
        return wire

    def counters(self):
        """As they are now: of the second report from here, since the first may be under way."""
        for _ in range(2):
            self.link.stats = None
            self.link.wait(lambda: self.link.stats is not None, 20, "statistics")
        return dict(self.link.defences)

    def wait_counters(self, before, least, limit=30):
        def reached():
            return all(self.link.defences.get(key, 0) - before.get(key, 0) >= count for key, count in least.items())
        try:
            self.link.wait(reached, limit)
        except AssertionError:
            moved = {k: v - before.get(k, 0) for k, v in self.link.defences.items() if v != before.get(k, 0)}
            self.fail(f"counters did not reach {least}; what moved: {moved}")

    def honest_cost_s(self):
        """CPU seconds of one small request by a client that asks for 20 at a time."""
        wire = self.open()
        count = 600
        begin = self.lb.cpu_s()
        for first in range(1, 2 * count, 40):
            for stream in range(first, first + 40, 2):
                wire.send_headers(stream, request_fields())
                wire.send_data(stream, message(b"hello"), end=True)
            done = set()
            wire.wait_for(lambda f: f.type == HEADERS and f.flags & END_STREAM and (done.add(f.stream) or len(done) == 20))
        cost = (self.lb.cpu_s() - begin) / count
        wire.close()
        return cost

    def attack(self, act, units, counters):
        """Runs act() beside a healthy client. `units`: frames or connections sent, each of which may cost as much CPU
        as an honest request. `counters`: by how much each must have moved."""
        cost = self.honest_cost_s()
        before = self.counters()
        rss, cpu = self.lb.rss_kib(), self.lb.cpu_s()
        with HealthyClient(self, self.port, HEALTHY, tls=self.tls) as healthy:
            result = act()
        rss_grown, cpu_used = self.lb.rss_kib() - rss, self.lb.cpu_s() - cpu
        self.assertEqual(healthy.failures, [])
        self.assertGreater(healthy.calls, 0)
        if not SANITIZED:
            self.assertLess(rss_grown, RSS_GROWTH_KIB)
        # Half a second beside it for what the machine adds, and four times as much as a call for each of the healthy
        # client's: they come one by one.
        self.assertLess(cpu_used, units * cost + 4 * healthy.calls * cost + 0.5)
        self.wait_counters(before, counters)
        return result

    def end_of(self, wire, timeout=30):
        """The code of the GOAWAY that ends the connection; None when it ends without."""
        code = None
        while True:
            frame = wire.receive(timeout)
            if frame is None:
                return code
            if frame.type == GOAWAY:
                code = struct.unpack(">II", frame.payload[:8])[1]

    @staticmethod
    def pour(wire, data, times=1):
        """Sends as much as is taken: the other side may end the connection meanwhile."""
        try:
            for _ in range(times):
                wire.send_raw(data)
        except OSError:
            pass

    def still_serves(self, wire, stream):
        wire.send_headers(stream, request_fields())
        wire.send_data(stream, message(b"alive"), end=True)
        frames = wire.wait_for(lambda f: f.stream == stream and f.flags & END_STREAM or f.type == GOAWAY)
        self.assertIsNotNone(frames[-1])
        self.assertEqual(dict(frames[-1].headers or [])["grpc-status"], "0")

    def head(self, wire, stream, path=HANG, end=False, extra=()):
        """A HEADERS frame as bytes, to be put together with others."""
        flags = END_HEADERS | (END_STREAM if end else 0)
        return frame_bytes(HEADERS, flags, stream, wire.encode(request_fields(path) + list(extra)))

    def wait_streams(self, count):
        self.link.wait(lambda: self.link.stats is not None and self.link.stats[0][2] == count, 30,
                       f"{count} open streams")


class RunningBalancer:
    def __init__(self, test, process, log):
        self.process, self.log = process, log
        test.addCleanup(self.check)

    def said(self):
        return os.pread(self.log.fileno(), 1 << 22, 0).decode(errors="replace")

    def check(self):
        if self.process.poll() not in (None, -9):
            raise AssertionError(f"the balancer ended with {self.process.returncode}:\n{self.said()[-4000:]}")
        if "Sanitizer" in self.said():
            raise AssertionError(self.said()[-8000:])

    def rss_kib(self):
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as file:
            return int(next(line for line in file if line.startswith("VmRSS")).split()[1])

    def cpu_s(self):
        """Of all threads, in the kernel's nanoseconds."""
        total = 0
        for task in os.listdir(f"/proc/{self.process.pid}/task"):
            with open(f"/proc/{self.process.pid}/task/{task}/schedstat", encoding="ascii") as file:
                total += int(file.read().split()[0])
        return total / 1e9

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))


def wait_closed(wire, limit=30):
    """Until the other side has closed the connection, in whatever way."""
    end = time.monotonic() + limit
    while time.monotonic() < end:
        try:
            if wire.receive(limit) is None:
                return
        except OSError:
            return
    raise AssertionError("the connection is still open")


__all__ = ["AttackCase", "serve", "wait_closed", "wait_until", "HANG", "BIG", "RESPONSE_HEAD"]
