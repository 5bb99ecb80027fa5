"""The balancer as `weir serve` drives it: listeners as descriptors, snapshots, barriers, health, drain, crashes."""
import glob
import os
import signal
import socket
import struct
import subprocess
import threading
import time
import unittest

import grpc

import link as L
from h2wire import Target, each_request, ok_response
from link import Link
from rig import LB, LIMIT_S, SANITIZED, Rig, free_port, wait_until
from failure_test import echo

ARN = "listener"


class Program:
    """One scripted target: what it answers to checks can be changed."""

    def __init__(self, test, **keywords):
        self.payload, self.status, self.silent, self.checks, self.calls = b"\x08\x01", "0", False, 0, []
        self.reset, self.http_status = False, "200"
        self.target = Target(self.script, **keywords)
        test.addCleanup(self.target.close)
        self.port = self.target.port

    def script(self, wire, target):
        def handle(stream, fields, body):
            if fields[":method"] == "GET":  # the check of an HTTP2 group
                self.checks += 1
                return wire.send_headers(stream, [(":status", self.http_status)], end=True)
            if not fields[":path"].startswith("/grpc.health") and not fields[":path"].startswith("/AWS"):
                self.calls.append(stream)
                if fields[":path"].endswith("/Slow"):
                    time.sleep(1.0)
                return ok_response(wire, stream, b"%d" % self.port)
            self.checks += 1
            if self.silent:
                return None
            if self.reset:
                return wire.reset(stream, 2)
            wire.send_headers(stream, [(":status", "200"), ("content-type", "application/grpc")])
            wire.send_data(stream, struct.pack(">BI", 0, len(self.payload)) + self.payload)
            return wire.send_headers(stream, [("grpc-status", self.status)], end=True)
        each_request(wire, handle)


class LinkTests(Rig):
    def setUp(self):
        super().setUp()
        self.path = f"{self.folder.name}/{self.id().rsplit('.', 1)[1][-40:]}.sock"
        self.sock = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.sock.setblocking(False)
        self.addCleanup(self.sock.close)
        self.port = self.sock.getsockname()[1]
        self.lb = self.spawn()

    def spawn(self):
        said = None if SANITIZED else subprocess.DEVNULL
        return self.start([LB, "--link", self.path, "--workers", "2"], stderr=said)

    def connect(self, **keywords):
        connection = Link(self.path, **keywords)
        self.addCleanup(connection.close)
        return connection

    def configure(self, connection, targets, generation=1, health_log="", **keywords):
        connection.send(L.OPEN, L.listener_socket(ARN, "127.0.0.1", self.port), [self.sock.fileno()])
        connection.apply(generation, L.snapshot(generation, [L.listener(ARN)], [L.group(targets, **keywords)],
                                                health_log=health_log))

    def call(self, path="/test.Test/Call", **keywords):
        return self.channel(self.port, tls=False).unary_unary(path)(b"x", timeout=LIMIT_S, **keywords)

    def test_a_listener_and_a_snapshot_make_it_serve(self):
        program = Program(self)
        link = self.connect()
        self.assertEqual(link.welcome, (self.lb.pid, 0, []))
        self.configure(link, [L.target(program.port)], generation=7)
        link.wait(lambda: link.state(program.port) == "healthy")
        self.assertEqual(self.call(), b"%d" % program.port)
        link.wait(lambda: link.stats and link.stats[0][3] == 1 and link.stats[1][0][3] == 1, what="stats")

    def test_group_updates_are_a_barrier_after_which_no_new_request_reaches_the_target(self):
        one, two = Program(self), Program(self)
        link = self.connect()
        both = [L.target(one.port, last="healthy"), L.target(two.port, last="healthy")]
        self.configure(link, both, in_use=False)
        call = self.channel(self.port, tls=False).unary_unary("/test.Test/Call")
        stopping, failures = threading.Event(), []

        def run():
            while not stopping.is_set():
                try:
                    call(b"x", timeout=LIMIT_S)
                except grpc.RpcError as error:
                    failures.append(error.details())
        threads = [threading.Thread(target=run) for _ in range(4)]
        for thread in threads:
            thread.start()
        for generation in range(2, 12):
            gone = one if generation % 2 == 0 else two
            stay = two if generation % 2 == 0 else one
            link.drained.clear()
            link.update(generation, L.group([L.target(stay.port, last="healthy"), L.target(gone.port, draining=True)],
                                            in_use=False))
            link.wait(lambda: gone.port in link.drained, 3, "drained")  # pylint: disable=cell-var-from-loop
            before = len(gone.calls)
            link.settle(0.15)
            self.assertEqual(len(gone.calls), before)
        stopping.set()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])

    def test_drained_comes_when_the_last_stream_is_over_and_a_stream_beyond_the_delay_is_cut(self):
        program = Program(self)
        link = self.connect()
        self.configure(link, [L.target(program.port, last="healthy")], in_use=False)
        call = self.channel(self.port, tls=False).unary_unary("/test.Test/Slow")
        running = call.future(b"x", timeout=LIMIT_S)
        wait_until(lambda: program.calls, "the call is at the target")
        began = time.monotonic()
        link.update(2, L.group([L.target(program.port, draining=True)], in_use=False, delay_ms=30000))
        self.assertEqual(link.drained, [])
        link.wait(lambda: program.port in link.drained)
        self.assertGreater(time.monotonic() - began, 0.5)
        self.assertEqual(running.result(), b"%d" % program.port)
        link.update(3, L.group([L.target(program.port, last="healthy")], in_use=False))
        link.drained.clear()
        stuck = self.channel(self.port, tls=False).stream_unary("/test.Test/Never").future(
            iter(threading.Event().wait, True), timeout=LIMIT_S)
        wait_until(lambda: self.outstanding(link) == 1, "the stream is at the target")
        link.update(4, L.group([L.target(program.port, draining=True)], in_use=False, delay_ms=1000))
        link.wait(lambda: program.port in link.drained, 5)
        self.assertEqual(stuck.exception().code(), grpc.StatusCode.UNAVAILABLE)

    def outstanding(self, link):
        link.settle(0.3)
        return link.stats[1][0][5] if link.stats and link.stats[1] else 0

    def test_it_serves_on_without_a_control_plane_and_a_new_one_gets_listeners_and_health(self):
        program = Program(self)
        link = self.connect()
        self.configure(link, [L.target(program.port)], generation=3)
        link.wait(lambda: link.state(program.port) == "healthy")
        link.close()
        for _ in range(20):
            self.call()
        again = self.connect()
        self.assertEqual(again.welcome, (self.lb.pid, 3, [(ARN, "127.0.0.1", self.port, 0)]))
        self.assertEqual(len(again.fds), 1)
        with socket.socket(fileno=os.dup(again.fds[0])) as handed:
            self.assertEqual(handed.getsockname(), ("127.0.0.1", self.port))
        again.wait(lambda: again.state(program.port) == "healthy", 2)

    def test_a_new_control_plane_hears_what_has_drained_whichever_message_brought_the_target(self):
        program = Program(self)
        link = self.connect()
        self.configure(link, [], in_use=False)
        link.update(2, L.group([L.target(program.port, last="healthy")], in_use=False))
        self.assertEqual(self.call(), b"%d" % program.port)
        link.update(3, L.group([L.target(program.port, draining=True)], in_use=False, delay_ms=30000))
        link.wait(lambda: program.port in link.drained)
        link.close()
        again = self.connect()
        again.wait(lambda: program.port in again.drained, 3, "drained")

    def test_listener_descriptors_outlive_a_balancer_killed_with_signal_9(self):
        program = Program(self)
        link = self.connect()
        self.configure(link, [L.target(program.port, last="healthy")])
        self.call()
        self.lb.kill()
        self.lb.wait()
        early = self.channel(self.port, tls=False).unary_unary("/test.Test/Call").future(b"x", timeout=LIMIT_S)
        time.sleep(0.3)
        self.lb = self.spawn()
        fresh = self.connect()
        self.configure(fresh, [L.target(program.port, last="healthy")])
        self.assertEqual(early.result(), b"%d" % program.port, "waited in the kept socket's backlog")
        self.assertEqual(self.call(), b"%d" % program.port)
        self.assertNotIn("initial", [state for _, _, state in fresh.history])

    def test_the_newest_control_plane_replaces_the_one_before(self):
        first, second = self.connect(), self.connect()
        with self.assertRaises(ConnectionError):
            first.wait(lambda: False, 5)
        self.configure(second, [L.target(1)])

    def test_reports_do_not_pile_up_for_a_control_plane_that_stands_still(self):
        program, reports = Program(self), []
        connection = self.connect()
        self.configure(connection, [L.target(program.port, last="healthy")], in_use=False)
        channel = self.channel(self.port, tls=False)
        for n in range(900):  # each makes reports some 200 bytes longer
            channel.unary_unary(f"/test.Test/Method{n}")(b"x", timeout=LIMIT_S)
        note = connection.note
        connection.note = lambda kind, reader: (reports.append(kind == L.STATS), note(kind, reader))
        connection.wait(lambda: sum(reports) >= 2, LIMIT_S, "reports of all methods")
        time.sleep(9)
        reports.clear()
        connection.settle(0.5)
        self.assertLess(sum(reports), 6)
        connection.wait(lambda: sum(reports) >= 6, LIMIT_S, "they go on")

    def test_garbage_on_the_link_harms_nothing(self):
        program = Program(self)
        link = self.connect()
        self.configure(link, [L.target(program.port, last="healthy")])
        for body, kind, version in ((b"\xff" * 100, L.SNAPSHOT, 2), (b"", L.SNAPSHOT, 2), (b"x", 99, 2), (b"", 0, 9),
                                    (b"\0" * 5000, L.GROUP, 2), (b"", L.OPEN, 2), (L.record(b""), L.HELLO, 1)):
            link.send(kind, body, version=version)
        pipe = os.pipe()
        link.send(L.HELLO, fds=pipe)
        for fd in pipe:
            os.close(fd)
        self.call()
        raw = socket.socket(socket.AF_UNIX)
        self.addCleanup(raw.close)
        raw.connect(self.path)
        raw.sendall(b"\xff" * 4096)
        raw.settimeout(5)
        try:
            while raw.recv(4096):
                pass
        except ConnectionResetError:
            pass
        self.call()
        self.configure(self.connect(), [L.target(program.port, last="healthy")], generation=2)

    def test_a_snapshot_whose_certificate_is_broken_is_refused_and_the_old_one_stays(self):
        program = Program(self)
        link = self.connect()
        self.configure(link, [L.target(program.port, last="healthy")])
        link.send(L.SNAPSHOT, L.snapshot(2, [L.listener(ARN, "no certificate", "no key")], []))
        link.settle(0.3)
        self.assertEqual(link.applied, 1)
        self.call()

    def test_ingress_rules_decide_who_may_connect(self):
        program = Program(self)
        link = self.connect()
        self.configure(link, [L.target(program.port, last="healthy")])
        for generation, ingress, allowed in ((2, ["10.0.0.0/8"], False), (3, ["127.0.0.0/8"], True), (4, [], False)):
            link.apply(generation, L.snapshot(generation, [L.listener(ARN)], [
                L.group([L.target(program.port, last="healthy")])], ingress=ingress))
            if allowed:
                self.call()
            else:
                with self.assertRaises(grpc.RpcError):
                    self.call()

    def test_close_listener_stops_accepting_and_shutdown_ends_the_process(self):
        program = Program(self)
        link = self.connect()
        self.configure(link, [L.target(program.port, last="healthy")])
        self.call()
        link.send(L.CLOSE, L.listener_socket(ARN, "127.0.0.1", self.port))
        self.sock.close()
        link.settle(0.2)
        with self.assertRaises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", self.port))
        link.send(L.SHUTDOWN, L.record(struct.pack("<I", 2000)))
        self.assertEqual(self.lb.wait(LIMIT_S), 0)

    # --- health checks --------------------------------------------------------------------------------------

    def watch(self, program, **keywords):
        link = self.connect()
        self.configure(link, [L.target(program.port)], **keywords)
        return link

    def test_health_needs_one_success_first_then_thresholds_both_ways(self):
        program = Program(self)
        link = self.watch(program, healthy=3, unhealthy=2)
        link.wait(lambda: link.state(program.port) == "healthy", 2)
        self.assertEqual(link.health[program.port], ("healthy", "", ""))
        self.assertLessEqual(program.checks, 2, "one success is enough")
        program.status = "14"
        before = program.checks
        link.wait(lambda: link.state(program.port) == "unhealthy", 3)
        self.assertEqual(program.checks - before, 2)
        self.assertEqual(link.health[program.port][1:], ("Target.ResponseCodeMismatch",
                                                        "Health checks failed with these codes: [14]"))
        program.status = "0"
        before = program.checks
        link.wait(lambda: link.state(program.port) == "healthy", 3)
        self.assertEqual(program.checks - before, 3)

    def test_health_reasons(self):
        cases = {"timeout": (dict(silent=True), "Target.Timeout", "Request timed out"),
                 "not serving": (dict(payload=b"\x08\x02"), "Target.ResponseCodeMismatch", None),
                 "reset": (dict(reset=True), "Target.FailedHealthChecks",
                           "Health checks failed (stream reset by the target, code 2)"),
                 "status": (dict(status="5"), "Target.ResponseCodeMismatch",
                            "Health checks failed with these codes: [5]")}
        for name, (change, reason, words) in cases.items():
            with self.subTest(name):
                program = Program(self)
                vars(program).update(change)
                link = self.watch(program)
                link.wait(lambda: link.state(program.port) == "unhealthy", 5)
                self.assertEqual(link.health[program.port][1], reason)
                if words:
                    self.assertEqual(link.health[program.port][2], words)

    def test_each_check_is_logged_with_albs_reason_codes(self):
        folder = self.folder.name + "/health"
        good, silent, odd, none, gone = (Program(self) for _ in range(5))
        silent.silent, odd.status, none.status, gone.reset = True, "5", "x", True
        refused = free_port()
        names = {good.port: "good", silent.port: "silent", odd.port: "odd", none.port: "none", gone.port: "gone",
                 refused: "refused"}
        self.configure(self.connect(), [L.target(port) for port in names], health_log=folder)
        expected = {"good": ("PASS", "0", "-"), "silent": ("FAIL", "-", "RequestTimedOut"),
                    "odd": ("FAIL", "5", "GRPCUnexpectedStatus"), "none": ("FAIL", "-", "GRPCStatusHeaderEmpty"),
                    "gone": ("FAIL", "-", "TargetError"), "refused": ("FAIL", "-", "ConnectionReset")}
        seen = {name: [] for name in expected}

        def every_target_has_three():
            for each in seen.values():
                each.clear()
            for path in glob.glob(folder + "/*/*/*/health_check_log_*.log"):
                with open(path, encoding="ascii") as file:
                    for line in file.read().splitlines():
                        kind, at, latency, target, group, *rest = line.split(" ")
                        self.assertEqual((kind, group), ("grpc", "group"))
                        self.assertRegex(at, r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$")
                        self.assertRegex(latency, r"^\d\.\d{9}$")
                        address, port = target.split(":")
                        self.assertEqual(address, "127.0.0.1")
                        seen[names[int(port)]].append(tuple(rest))
            return all(len(each) >= 3 for each in seen.values())
        wait_until(every_target_has_three, "three checks of each target", LIMIT_S)
        self.assertEqual({name: set(each) for name, each in seen.items()}, {n: {e} for n, e in expected.items()})

    def test_the_payload_counts_only_where_it_is_evaluated(self):
        program = Program(self)
        program.payload = b"\x08\x02"
        link = self.watch(program, payload=False)
        link.wait(lambda: link.state(program.port) == "healthy", 3)
        program = Program(self)
        program.status = "12"
        link = self.watch(program, path="/AWS.ALB/healthcheck", codes="0,10-12")
        link.wait(lambda: link.state(program.port) == "healthy", 3)

    def test_an_http2_group_is_checked_by_get_and_http_code(self):
        program = Program(self)
        link = self.watch(program, path="/healthz", http_codes="200-299")
        link.wait(lambda: link.state(program.port) == "healthy", 3)
        program.http_status = "503"
        link.wait(lambda: link.state(program.port) == "unhealthy", 3)
        self.assertEqual(link.health[program.port][2], "Health checks failed with these codes: [503]")

    def test_a_target_that_starts_late_goes_from_initial_to_healthy(self):
        port = free_port()
        link = self.connect()
        self.configure(link, [L.target(port)], interval_ms=5000, timeout_ms=2000)
        link.settle(0.6)
        self.assertEqual(link.state(port), "initial")
        listener = socket.create_server(("127.0.0.1", port))
        program = Program(self)
        program.target.listener.close()
        program.target.listener = listener
        threading.Thread(target=program.target.accept, daemon=True).start()
        link.wait(lambda: link.state(port) == "healthy", 2)
        self.assertNotIn("unhealthy", [state for _, _, state in link.history])

    def test_connections_refused_for_longer_than_the_interval_make_unhealthy(self):
        port = free_port()
        link = self.connect()
        self.configure(link, [L.target(port)])
        link.wait(lambda: link.state(port) == "unhealthy", 5)
        self.assertEqual(link.health[port][1:], ("Target.FailedHealthChecks",
                                                "Health checks failed (connect: Connection refused)"))

    def test_draining_is_shown_and_a_target_registered_again_starts_afresh(self):
        program = Program(self)
        link = self.watch(program)
        link.wait(lambda: link.state(program.port) == "healthy", 3)
        link.update(2, L.group([L.target(program.port, draining=True)]))
        link.wait(lambda: link.state(program.port) == "draining", 3)
        self.assertEqual(link.health[program.port][1], "Target.DeregistrationInProgress")
        link.update(3, L.group([L.target(program.port)]))
        link.wait(lambda: link.state(program.port) == "healthy", 3)

    def test_a_group_that_comes_into_use_later_is_checked_from_then_on(self):
        program = Program(self)
        link = self.watch(program, in_use=False)
        link.settle(0.5)
        self.assertEqual(program.checks, 0)
        self.assertEqual(link.health[program.port][:2], ("unused", "Target.NotInUse"))
        link.update(2, L.group([L.target(program.port)]))
        link.wait(lambda: link.state(program.port) == "healthy", 3)
        link.update(3, L.group([L.target(program.port)], in_use=False))
        link.wait(lambda: link.state(program.port) == "unused", 3)
        before = program.checks
        link.settle(0.6)
        self.assertLessEqual(program.checks - before, 1)

    def test_unhealthy_targets_get_nothing_while_one_is_healthy(self):
        good, bad = Program(self), Program(self)
        bad.status = "14"
        link = self.connect()
        self.configure(link, [L.target(good.port), L.target(bad.port)])
        link.wait(lambda: (link.state(good.port), link.state(bad.port)) == ("healthy", "unhealthy"), 5)
        link.settle(0.1)
        for _ in range(20):
            self.call()
        self.assertEqual(len(bad.calls), 0)


if __name__ == "__main__":
    unittest.main()
