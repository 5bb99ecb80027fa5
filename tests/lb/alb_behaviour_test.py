"""What ALB does with gRPC and HTTP/2 requests, row by row, against the running balancer driven through its link."""
import collections
import re
import socket
import struct
import subprocess
import time
import unittest

import grpc

import h2wire
import link as L
import link_rules as R
from h2wire import DATA, END_STREAM, GOAWAY, HEADERS, PING, RST, SETTINGS, Target, each_request, ok_response, open_client
from link import Link
from rig import LB, LIMIT_S, SANITIZED, Rig, wait_until

ARN = "listener"
BIG = bytes(range(250)) * 240  # within a stream's first window


class Echo:
    """A target that keeps what it saw. Paths: /…/Wait is answered never, /…/Head with its head alone, /…/Big with BIG."""

    def __init__(self, test, extra=()):
        self.seen, self.count, self.open, self.extra, self.resets, self.ended = [], 0, {}, list(extra), [], 0
        self.target = Target(self.script)
        test.addCleanup(self.target.close)
        self.port = self.target.port

    def script(self, wire, target):
        while True:
            frame = wire.receive(60)
            if frame is None:
                self.ended += 1
                return
            wire.answer_control(frame)
            if frame.type == RST:
                self.resets.append((frame.stream, struct.unpack(">I", frame.payload)[0]))
            if frame.type == HEADERS:
                self.open[(wire, frame.stream)] = frame.headers
                self.seen.append(frame.headers)
                self.count += 1
                if dict(frame.headers)[":path"].endswith("/Head"):
                    wire.send_headers(frame.stream, [(":status", "200"), ("content-type", "application/grpc")])
            if frame.type == DATA and dict(self.open[(wire, frame.stream)])[":path"].endswith("/Head"):
                wire.send_data(frame.stream, frame.payload)
            if frame.type in (HEADERS, DATA) and frame.flags & END_STREAM:
                self.answer(wire, frame.stream, dict(self.open[(wire, frame.stream)]))

    def answer(self, wire, stream, fields):
        if fields[":path"].endswith("/Wait"):
            return
        if fields[":method"] == "HEAD":
            return wire.send_headers(stream, [(":status", "200"), ("content-length", "7")], end=True)
        if fields.get("content-type", "").startswith("application/grpc"):
            if fields[":path"].endswith("/Head"):
                return wire.send_headers(stream, [("grpc-status", "0")], end=True)
            wire.send_headers(stream, [(":status", "200"), ("content-type", "application/grpc"), *self.extra])
            if fields[":path"].endswith("/Big"):
                for at in range(0, len(BIG), 15000):
                    wire.send_data(stream, BIG[at:at + 15000])
                return wire.send_headers(stream, [("grpc-status", "0")], end=True)
            wire.send_data(stream, h2wire.message(b"%d" % self.port))
            return wire.send_headers(stream, [("grpc-status", "0")], end=True)
        wire.send_headers(stream, [(":status", "200"), ("content-type", "text/plain"), *self.extra])
        return wire.send_data(stream, b"%d" % self.port, end=True)

    def last(self):
        return self.seen[-1]


class AlbBehaviour(Rig):
    def setUp(self):
        super().setUp()
        path = f"{self.folder.name}/{abs(hash(self.id()))}.sock"
        self.sock = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.sock.setblocking(False)
        self.addCleanup(self.sock.close)
        self.port = self.sock.getsockname()[1]
        self.lb = self.start([LB, "--link", path, "--workers", "1"], stderr=None if SANITIZED else subprocess.DEVNULL)
        self.link = Link(path)
        self.addCleanup(self.link.close)
        self.generation = 0
        self.tls = False

    def apply(self, listener, groups, **settings):
        self.generation += 1
        if self.generation == 1:
            self.link.send(L.OPEN, L.listener_socket(ARN, "127.0.0.1", self.port), [self.sock.fileno()])
        self.link.apply(self.generation, R.snapshot(self.generation, [listener], groups, **settings))

    def serve(self, rules=(), default=R.forward("main"), groups=None, listener=None, version=R.GRPC, tls=False,
              **settings):
        """A listener in front of self.main (and of `groups`, by name)."""
        if not hasattr(self, "main"):
            self.main = Echo(self)
        made = [R.group("main", [L.target(self.main.port, last="healthy")], version=version,
                        idle_ms=settings.pop("group_idle_ms", 0xFFFFFFFF))]
        for name, targets in (groups or {}).items():
            made.append(R.group(name, [L.target(t.port, last="healthy") for t in targets]))
        options = dict(listener or {})
        if tls:
            self.tls = True
            with open(self.ca, encoding="ascii") as certificate, open(self.key, encoding="ascii") as key:
                options.update(certificate=certificate.read(), key=key.read())
        self.apply(R.listener(ARN, default, rules, **options), made, **settings)

    def client(self, **keywords):
        wire = open_client(self.port, self.ca if self.tls else None, **keywords)
        self.addCleanup(wire.close)
        wire.next_stream, wire.goaways = 1, []
        control = wire.answer_control

        def note(frame):
            if frame.type == GOAWAY:
                wire.goaways.append(struct.unpack(">II", frame.payload[:8]))
            control(frame)
        wire.answer_control = note
        return wire

    @staticmethod
    def ask(wire, path="/test.Test/Call", method="POST", authority="weir.test", grpc_call=True, body=b"", more=()):
        """One request; the response's fields, body and trailers, and the code of a reset if there was one."""
        stream, wire.next_stream = wire.next_stream, wire.next_stream + 2
        fields = [(":method", method), (":scheme", "https"), (":path", path), (":authority", authority)]
        if grpc_call:
            fields += [("content-type", "application/grpc"), ("te", "trailers")]
        wire.send_headers(stream, fields + list(more), end=not grpc_call and not body)
        if grpc_call or body:
            wire.send_data(stream, h2wire.message(b"x") if grpc_call else body, end=True)
        return AlbBehaviour.response(wire, stream)

    @staticmethod
    def response(wire, stream, timeout=LIMIT_S):
        heads, data, reset = [], b"", None
        for frame in wire.wait_for(lambda f: f.stream == stream and (f.flags & END_STREAM and f.type in (HEADERS, DATA)
                                                                     or f.type == RST), timeout):
            if frame is None:
                raise AssertionError("the balancer closed the connection")
            if frame.stream == stream and frame.type == HEADERS:
                heads.append(frame.headers)
            if frame.stream == stream and frame.type == DATA:
                data += frame.payload
            if frame.stream == stream and frame.type == RST:
                reset = struct.unpack(">I", frame.payload)[0]
        answer = collections.namedtuple("Answer", "head body trailers reset")
        return answer(dict(heads[0]) if heads else {}, data, dict(heads[1]) if len(heads) > 1 else {}, reset)

    def served_by(self, answer):
        return int(answer.body[5:])

    # --- rules (alb.md 1.5, 8 #1, #8, #10) ---------------------------------------------------------------------

    def test_rules_choose_by_path_host_header_query_method_and_source(self):
        self.other = Echo(self)
        other = R.forward("other")
        self.serve([R.rule(1, [R.condition(R.PATH, "/a.A/*")], other),
                    R.rule(2, [R.condition(R.HOST, "*.Example.com")], other),
                    R.rule(3, [R.condition(R.HEADER, "blue*", name="X-Tenant")], other),
                    R.rule(4, [R.condition(R.QUERY, query=[("version", "v1")])], other),
                    R.rule(5, [R.condition(R.PATH, regex=["^/re[0-9]+\\."])], other),
                    R.rule(6, [R.condition(R.SOURCE_IP, "10.0.0.0/8")], other),
                    R.rule(7, [R.condition(R.SOURCE_IP, "127.0.0.0/8"), R.condition(R.PATH, "/source/*")], other)],
                   groups={"other": [self.other]})
        wire = self.client()
        to = {True: self.other.port, False: self.main.port}
        for expected, keywords in [
                (True, {"path": "/a.A/Call"}), (False, {"path": "/A.A/Call"}), (False, {"path": "/a.A"}),
                (True, {"path": "/x/../a.A/Call"}), (True, {"authority": "API.example.COM:443"}),
                (False, {"authority": "example.com"}), (True, {"more": [("x-tenant", "red"), ("x-tenant", "BLUEish")]}),
                (False, {"more": [("x-tenant", "red")]}), (True, {"path": "/x?a=b&VERSION=V1"}),
                (False, {"path": "/x?version=v2"}), (True, {"path": "/re42.S/M"}), (False, {"path": "/red.S/M"}),
                (False, {"more": [("x-forwarded-for", "10.1.2.3")]}), (True, {"path": "/source/M"})]:
            with self.subTest(**keywords):
                self.assertEqual(self.served_by(self.ask(wire, **keywords)), to[expected])

    def test_weighted_groups_get_their_share_and_an_empty_one_fails_its_own(self):
        self.other = Echo(self)
        self.serve(default=R.forward(("main", 50), ("other", 0), ("empty", 50)),
                   groups={"other": [self.other], "empty": []})
        wire = self.client()
        codes = collections.Counter()
        for _ in range(200):
            answer = self.ask(wire)
            codes[answer.trailers.get("grpc-status") or answer.head.get("grpc-status")] += 1
        self.assertEqual(self.other.count, 0)
        self.assertEqual(codes["0"] + codes["14"], 200)
        self.assertGreater(codes["0"], 50)
        self.assertGreater(codes["14"], 50)

    def test_each_call_of_one_connection_is_balanced_by_itself(self):
        self.main, second = Echo(self), Echo(self)
        self.apply(R.listener(ARN, R.forward("g")),
                   [R.group("g", [L.target(e.port, last="healthy") for e in (self.main, second)])])
        wire = self.client()
        ports = [self.served_by(self.ask(wire)) for _ in range(4)]
        self.assertEqual(sorted(set(ports)), sorted([self.main.port, second.port]))

    # --- answers of the balancer (2.2, 4.6, 8 #3, #17) -------------------------------------------------------------

    def test_a_fixed_response_has_its_status_type_and_body_to_the_byte(self):
        self.serve([R.rule(1, [R.condition(R.PATH, "/teapot")], R.fixed(418, "application/json", '{"a":1}')),
                    R.rule(2, [R.condition(R.PATH, "/empty")], R.fixed(200))], version=R.HTTP2)
        wire = self.client()
        answer = self.ask(wire, "/teapot", "GET", grpc_call=False)
        self.assertEqual((answer.head[":status"], answer.head["content-type"], answer.body, answer.head["server"]),
                         ("418", "application/json", b'{"a":1}', "awselb/2.0"))
        self.assertEqual(answer.head["content-length"], "7")
        answer = self.ask(wire, "/teapot", "HEAD", grpc_call=False)
        self.assertEqual((answer.head["content-length"], answer.body), ("7", b""))
        self.assertEqual(self.ask(wire, "/empty", "GET", grpc_call=False).body, b"")
        answer = self.ask(wire, "/teapot")
        self.assertEqual((answer.head[":status"], answer.head["grpc-status"], answer.head["grpc-message"]),
                         ("200", "2", '{"a":1}'))

    def test_a_grpc_group_takes_posts_only_and_an_http2_group_everything(self):
        self.serve()
        wire = self.client()
        for method in ("GET", "OPTIONS", "PUT"):
            self.assertEqual(self.ask(wire, method=method, grpc_call=False).head[":status"], "464")
        self.assertEqual(self.ask(wire, method="GET").head["grpc-status"], "2")
        self.assertEqual(self.ask(wire, grpc_call=False, body=b"x").head[":status"], "200")
        self.assertEqual(self.main.count, 1)
        self.serve(version=R.HTTP2)
        self.assertEqual(self.ask(wire, method="GET", grpc_call=False).body, b"%d" % self.main.port)
        self.assertEqual(self.ask(wire).trailers["grpc-status"], "0")
        self.assertEqual(self.ask(wire, method="HEAD", grpc_call=False).head["content-length"], "7")

    def test_strict_mode_answers_with_albs_pages(self):
        self.serve(default=R.forward("none"), groups={"none": []}, strict=True)
        answer = self.ask(self.client())
        self.assertEqual((answer.head[":status"], answer.head["content-type"], answer.head["server"]),
                         ("503", "text/html", "awselb/2.0"))
        self.assertNotIn("grpc-status", answer.head)
        self.assertEqual(answer.head["content-length"], "162")
        self.assertIn(b"<title>503 Service Temporarily Unavailable</title>", answer.body)
        self.assertEqual(len(answer.body), 162)
        self.serve(strict=True)
        self.assertEqual(self.ask(self.client(), method="GET").head[":status"], "464")

    def test_without_targets_a_grpc_client_hears_why(self):
        self.serve(default=R.forward("none"), groups={"none": []})
        with self.assertRaises(grpc.RpcError) as caught:
            self.channel(self.port, tls=False).unary_unary("/test.Test/Call")(b"", timeout=LIMIT_S)
        self.assertEqual(caught.exception.code(), grpc.StatusCode.UNAVAILABLE)
        self.assertIn("no target is registered", caught.exception.details())

    def test_a_listener_may_hide_the_server_and_set_headers_on_every_response(self):
        self.main = Echo(self, extra=[("x-frame-options", "ALLOW"), ("x-kept", "1")])
        self.serve([R.rule(1, [R.condition(R.PATH, "/fixed")], R.fixed(404, "text/plain", "no"))], listener={
            "server": False, "response": [("x-frame-options", "DENY"), ("strict-transport-security", "max-age=1")]})
        wire = self.client()
        for _ in range(3):  # the first fills the tables of the header compression
            answer = self.ask(wire)
            self.assertEqual((answer.head["x-frame-options"], answer.head["x-kept"]), ("DENY", "1"))
            self.assertEqual(answer.head["strict-transport-security"], "max-age=1")
            self.assertEqual(answer.trailers, {"grpc-status": "0"})
        for answer in (self.ask(wire, "/fixed"), self.ask(wire, "/fixed", grpc_call=False)):
            self.assertEqual(answer.head["x-frame-options"], "DENY")
            self.assertNotIn("server", answer.head)

    # --- idle timeout (4.5, 8 #16) -----------------------------------------------------------------------------------

    def test_strict_idle_timeout_is_504_before_the_head_and_protocol_error_after_it(self):
        self.serve(strict=True, idle_ms=1000)
        answer = self.ask(self.client(), "/t.T/Wait")
        self.assertEqual((answer.head[":status"], answer.head["content-length"]), ("504", "132"))
        wire = self.client()
        wire.send_headers(1, h2wire.request_fields("/t.T/Head"))
        wire.send_data(1, h2wire.message(b"x"))
        answer = self.response(wire, 1)
        self.assertEqual((answer.head[":status"], answer.reset), ("200", 1))
        wait_until(lambda: (1, 8) in self.main.resets or len(self.main.resets) == 2, "the target hears of both")

    def test_a_group_may_have_its_own_idle_timeout_or_none(self):
        self.serve(idle_ms=1000, group_idle_ms=0)
        wire = self.client()
        wire.send_headers(1, h2wire.request_fields("/t.T/Head"))
        wire.wait_for(lambda f: f.stream == 1 and f.type == HEADERS)
        with self.assertRaises(TimeoutError):
            wire.wait_for(lambda f: f.stream == 1, 2.5)
        wire.send_data(1, h2wire.message(b"x"), end=True)
        self.assertEqual(self.response(wire, 1).head.get("grpc-status"), "0")
        self.serve(idle_ms=60000, group_idle_ms=1000)
        answer = self.ask(self.client(), "/t.T/Wait")
        self.assertEqual(answer.head["grpc-status"], "14")

    def test_pings_are_answered_and_count_as_life_only_where_asked(self):
        for counts in (False, True):
            self.serve(idle_ms=1500, ping_counts=counts)
            wire = self.client()
            wire.send_headers(1, h2wire.request_fields("/t.T/Head"))
            end, acks, ended = time.monotonic() + 4, 0, False
            while time.monotonic() < end and not ended:
                wire.send(PING, 0, 0, b"12345678")
                for frame in wire.wait_for(lambda f: f.type == PING and f.flags & 1, LIMIT_S):
                    acks += frame.type == PING
                    ended = ended or (frame.stream == 1 and bool(frame.flags & END_STREAM))
                time.sleep(0.3)
            self.assertEqual(ended, not counts)
            self.assertGreater(acks, 3)

    def test_a_connection_without_streams_is_closed_after_the_idle_timeout(self):
        self.serve(idle_ms=1000)
        wire = self.client()
        self.ask(wire)
        self.assertIsNone(wire.wait_for(lambda f: False, LIMIT_S)[-1], "closed")
        self.assertEqual(wire.goaways, [(2**31 - 1, 0), (1, 0)])

    def test_an_idle_connection_to_a_target_is_closed_too_and_the_next_call_makes_another(self):
        self.serve(idle_ms=2000)
        wire = self.client()
        self.ask(wire)
        self.assertEqual(self.main.target.connections, 1)
        wait_until(lambda: self.main.ended == 1, "the connection to the target is closed")
        self.assertEqual(self.ask(self.client()).trailers["grpc-status"], "0")
        self.assertEqual(self.main.target.connections, 2)

    # --- life of connections (4.3, 4.4, 8 #14, #15) ----------------------------------------------------------------------

    def test_settings_announce_the_streams_and_more_are_refused(self):
        self.serve(streams_max=3)
        wire = self.client()
        settings = wire.wait_for(lambda f: f.type == SETTINGS and not f.flags & 1)[-1].payload
        values = {k: v for k, v in struct.iter_unpack(">HI", settings)}
        self.assertEqual(values[3], 3)
        for stream in (1, 3, 5, 7):
            wire.send_headers(stream, h2wire.request_fields("/t.T/Wait"))
        frame = wire.wait_for(lambda f: f.type == RST)[-1]
        self.assertEqual((frame.stream, struct.unpack(">I", frame.payload)[0]), (7, h2wire.REFUSED))

    def test_after_the_requests_of_a_connection_comes_goaway_and_nothing_accepted_is_cut(self):
        self.serve(requests_max=5)
        wire = self.client()
        wire.send_headers(1, h2wire.request_fields("/t.T/Head"))
        wire.wait_for(lambda f: f.stream == 1 and f.type == HEADERS)
        wire.next_stream = 3
        for _ in range(4):
            self.assertEqual(self.ask(wire).trailers["grpc-status"], "0")
        if len(wire.goaways) < 2:
            wire.wait_for(lambda f: len(wire.goaways) == 2)
        self.assertEqual(wire.goaways, [(2**31 - 1, 0), (9, 0)])
        wire.send_headers(11, h2wire.request_fields())
        frame = wire.wait_for(lambda f: f.type == RST)[-1]
        self.assertEqual((frame.stream, struct.unpack(">I", frame.payload)[0]), (11, h2wire.REFUSED))
        time.sleep(2)  # the accepted stream outlives the shutdown of its connection
        wire.send_data(1, h2wire.message(b"x"), end=True)
        answer = self.response(wire, 1)
        self.assertEqual((answer.body, answer.head.get("grpc-status")), (h2wire.message(b"x"), "0"))
        self.assertIsNone(wire.wait_for(lambda f: False, LIMIT_S)[-1], "closed when its streams are over")

    def test_an_old_connection_takes_one_more_request_and_then_goaway(self):
        self.serve(keep_alive_ms=1000)
        wire = self.client()
        self.ask(wire)
        with self.assertRaises(TimeoutError):
            wire.wait_for(lambda f: f.type == GOAWAY, 3)
        self.assertEqual(self.ask(wire).trailers["grpc-status"], "0")
        self.assertIsNone(wire.wait_for(lambda f: False, LIMIT_S)[-1], "closed")
        self.assertEqual(wire.goaways, [(2**31 - 1, 0), (3, 0)])

    def client_that_reads_late(self, path):
        sock = socket.socket()
        self.addCleanup(sock.close)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # an answer waits on the balancer's side
        sock.connect(("127.0.0.1", self.port))
        wire = h2wire.Wire(sock)
        wire.send_raw(h2wire.PREFACE + h2wire.settings_bytes({}))
        wire.send_headers(1, h2wire.request_fields(path), end=True)
        return wire

    def wait_without_reading(self, wire):
        for _ in range(90):  # longer than a client may take to answer GOAWAY, and than one who failed is waited for
            time.sleep(0.1)
            wire.send(PING, h2wire.ACK, 0, b"12345678")  # a socket closed too early would answer with a reset

    def check_big_answer(self, wire):
        frames = wire.wait_for(lambda f: f.stream == 1 and f.flags & END_STREAM)
        self.assertIsNotNone(frames[-1], wire.error)
        self.assertEqual(b"".join(f.payload for f in frames if f.type == DATA), BIG)
        self.assertEqual(dict(frames[-1].headers), {"grpc-status": "0"})
        self.assertIsNone(wire.wait_for(lambda f: False, LIMIT_S)[-1], "closed")
        self.assertIsNone(wire.error)

    def test_a_client_that_reads_late_gets_its_last_answer_although_its_connection_has_drained(self):
        self.serve(requests_max=1)
        wire = self.client_that_reads_late("/t.T/Big")
        self.wait_without_reading(wire)
        self.check_big_answer(wire)

    def test_the_end_of_the_balancer_waits_for_a_late_reader_but_not_for_one_that_has_everything(self):
        self.serve()
        late, done = self.client_that_reads_late("/t.T/Big"), self.client_that_reads_late("/t.T/Call")
        time.sleep(0.5)  # both are answered
        self.link.send(L.SHUTDOWN, L.record(struct.pack("<I", 600000)))
        self.wait_without_reading(late)
        self.assertIsNone(self.lb.poll(), "ended before its last answer was read")
        self.check_big_answer(late)
        late.close()
        self.assertEqual(self.lb.wait(LIMIT_S), 0)
        done.close()

    def test_a_grpc_client_loses_no_call_over_many_connection_ends(self):
        self.serve(requests_max=20)
        # As clients are by default: calls that had not left when GOAWAY came are sent again by the client itself.
        options = [("grpc.enable_retries", 1)]
        call = self.channel(self.port, options, tls=False).unary_unary("/test.Test/Call")
        for _ in range(4):
            futures = [call.future(b"x", timeout=LIMIT_S) for _ in range(50)]
            self.assertEqual({f.result() for f in futures}, {b"%d" % self.main.port})

    def test_changes_of_rules_weights_certificates_and_targets_touch_no_stream_and_no_connection(self):
        self.other = Echo(self)
        self.serve(tls=True)
        wire = self.client()
        wire.send_headers(1, h2wire.request_fields("/t.T/Head"))
        wire.wait_for(lambda f: f.stream == 1 and f.type == HEADERS)
        wire.next_stream = 3
        self.serve([R.rule(1, [R.condition(R.PATH, "/*")], R.forward("other"))], groups={"other": [self.other]}, tls=True)
        self.assertEqual(self.served_by(self.ask(wire)), self.other.port)
        self.serve(default=R.forward(("main", 0), ("other", 9)), groups={"other": [self.other]}, tls=True)
        self.assertEqual(self.served_by(self.ask(wire)), self.other.port)
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                        "-keyout", self.folder.name + "/key2.pem", "-out", self.folder.name + "/cert2.pem", "-days", "2",
                        "-subj", "/CN=new.test"], check=True, capture_output=True)
        with open(self.folder.name + "/cert2.pem", encoding="ascii") as certificate:
            with open(self.folder.name + "/key2.pem", encoding="ascii") as key:
                fresh = {"certificate": certificate.read(), "key": key.read()}
        self.apply(R.listener(ARN, R.forward("other"), **fresh), [
            R.group("main", [L.target(self.main.port, draining=True)], delay_ms=300000),
            R.group("other", [L.target(self.other.port, last="healthy")])])
        self.assertEqual(self.served_by(self.ask(wire)), self.other.port)
        wire.send_data(1, h2wire.message(b"still here"), end=True)
        frames = wire.wait_for(lambda f: f.stream == 1 and f.flags & END_STREAM)
        self.assertEqual(dict(frames[-1].headers), {"grpc-status": "0"})
        self.assertFalse([f for f in frames if f.type == GOAWAY])

    # --- heads (3, 4.7, 4.8, 4.9, 8 #18, #19, #20) --------------------------------------------------------------------------

    def fields_at_target(self, wire, **keywords):
        for _ in range(3):  # as literals, and twice from the tables of the header compression
            self.assertEqual(self.ask(wire, **keywords).trailers.get("grpc-status"), "0")
        last = self.main.last()
        for before in self.main.seen[-3:]:
            self.assertEqual([f for f in before if f[0] != "x-amzn-trace-id"],
                             [f for f in last if f[0] != "x-amzn-trace-id"])
        return dict(last)

    def test_host_loses_its_port_gets_the_listeners_or_is_preserved(self):
        for port, preserve, sent, expected in [
                (443, False, "Weir.Test:443", "weir.test"), (443, False, "weir.test", "weir.test"),
                (80, False, "[::1]:8080", "[::1]"), (8443, False, "weir.test", "weir.test:8443"),
                (8443, False, "weir.test:9", "weir.test:9"), (8443, False, "[::1]", "[::1]:8443"),
                (8443, True, "Weir.Test", "Weir.Test"), (443, True, "Weir.Test:443", "Weir.Test:443")]:
            with self.subTest(port=port, preserve=preserve, sent=sent):
                self.serve(listener={"port": port}, preserve_host=preserve)
                seen = self.fields_at_target(self.client(), authority=sent)
                self.assertEqual((seen[":authority"], seen["x-forwarded-port"]), (expected, str(port)))

    def test_x_forwarded_for_is_appended_preserved_or_removed(self):
        for mode, sent, expected in [(R.APPEND, None, "127.0.0.1"), (R.APPEND, "127.0.0.4", "127.0.0.4, 127.0.0.1"),
                                     (R.PRESERVE, "127.0.0.4", "127.0.0.4"), (R.PRESERVE, None, None),
                                     (R.REMOVE, "127.0.0.4", None), (R.REMOVE, None, None)]:
            with self.subTest(mode=mode, sent=sent):
                self.serve(xff=mode)
                more = [("x-forwarded-proto", "gopher")] + ([("x-forwarded-for", sent)] if sent else [])
                seen = self.fields_at_target(self.client(), more=more)
                self.assertEqual(seen.get("x-forwarded-for"), expected)
                self.assertEqual(seen["x-forwarded-proto"], "http")

    def test_x_forwarded_for_has_the_clients_port_if_asked(self):
        self.serve(xff_port=True)
        wire = self.client()
        port = wire.sock.getsockname()[1]
        self.assertEqual(self.fields_at_target(wire)["x-forwarded-for"], f"127.0.0.1:{port}")
        seen = self.fields_at_target(wire, more=[("x-forwarded-for", "1.2.3.4")])
        self.assertEqual(seen["x-forwarded-for"], f"1.2.3.4, 127.0.0.1:{port}")

    def test_more_than_thirty_forwarded_addresses_are_refused(self):
        self.serve()
        wire = self.client()
        addresses = ", ".join(f"10.0.0.{i}" for i in range(30))
        self.assertEqual(self.ask(wire, more=[("x-forwarded-for", addresses)]).trailers["grpc-status"], "0")
        more = [("x-forwarded-for", addresses), ("x-forwarded-for", "10.1.1.1")]
        self.assertEqual(self.ask(wire, more=more).head["grpc-status"], "2")
        self.assertEqual(self.ask(wire, more=more, method="GET", grpc_call=False).head[":status"], "463")

    def test_trace_ids_get_a_root_or_a_self(self):
        self.serve()
        wire = self.client()
        trace = lambda: dict(self.main.last())["x-amzn-trace-id"]
        fresh, self_id = r"Root=1-[0-9a-f]{8}-[0-9a-f]{24}", r"Self=1-[0-9a-f]{8}-[0-9a-f]{24}"
        root = "Root=1-67891233-abcdef012345678912345678"
        for sent, expected in [(None, f"^{fresh}$"), (f"{root};CalledFrom=app", f"^{self_id};{root};CalledFrom=app$"),
                               (f"Self=1-67891233-1;{root};x=y", f"^{self_id};{root};x=y$"),
                               ("CalledFrom=app", f"^{fresh};CalledFrom=app$")]:
            ids = []
            for _ in range(3):
                self.ask(wire, more=[("x-amzn-trace-id", sent)] if sent else [])
                self.assertRegex(trace(), expected)
                ids.append(trace())
            self.assertEqual(len(set(ids)), 3)
        self.ask(wire, more=[("x-amzn-trace-id", root), ("x-fill", "v" * 7500)])
        self.assertRegex(trace(), f"^{fresh}$")
        self.assertNotIn(root, trace())

    def test_targets_are_told_the_tls_version_and_cipher_if_asked(self):
        self.serve(tls=True, tls_headers=True)
        wire = self.client()
        seen = self.fields_at_target(wire, more=[("x-amzn-tls-version", "forged")])
        self.assertEqual((seen["x-amzn-tls-version"], seen["x-amzn-tls-cipher-suite"]),
                         ("TLSv1.3", wire.sock.cipher()[0]))
        self.serve(tls=True, tls_headers=True, listener={"renamed": [("x-amzn-tls-version", "X-My-Version")]})
        seen = self.fields_at_target(wire)
        self.assertEqual(seen["x-my-version"], "TLSv1.3")
        self.assertNotIn("x-amzn-tls-version", seen)
        self.serve(tls=True)
        self.assertNotIn("x-amzn-tls-cipher-suite", self.fields_at_target(wire))

    def test_names_beyond_letters_digits_and_hyphen_pass_or_are_dropped(self):
        more = [("x_key", "1"), ("x.key", "2"), ("x-key", "3")]
        self.serve()
        seen = self.fields_at_target(self.client(), more=more)
        self.assertEqual([seen.get(k) for k, _ in more], ["1", "2", "3"])
        self.assertEqual(seen["te"], "trailers")
        self.serve(drop_invalid=True)
        seen = self.fields_at_target(self.client(), more=more)
        self.assertEqual([seen.get(k) for k, _ in more], [None, None, "3"])
        self.assertEqual(seen["te"], "trailers")

    def test_requests_with_such_names_are_counted_as_forwarded_or_dropped(self):
        forwarded, dropped = "ForwardedInvalidHeaderRequestCount", "DroppedInvalidHeaderRequestCount"
        self.serve()
        wire = self.client()
        self.ask(wire, more=[("x-key", "3")])
        for _ in range(3):  # the first one is new to the connection, the others are not
            self.ask(wire, more=[("x_key", "1"), ("x.key", "2")])
        self.link.wait(lambda: self.link.metrics.get(forwarded) == 3, LIMIT_S, forwarded)
        self.assertNotIn(dropped, self.link.metrics)
        self.serve(drop_invalid=True)
        for _ in range(2):
            self.ask(wire, more=[("x_key", "1"), ("x.key", "2")])
        self.link.wait(lambda: self.link.metrics.get(dropped) == 2, LIMIT_S, dropped)
        self.assertEqual(self.link.metrics[forwarded], 3)

    def test_sizes_of_heads_have_albs_limits(self):
        self.serve()
        wire = self.client()
        self.assertEqual(self.ask(wire, more=[("x-big", "v" * 16000)]).trailers["grpc-status"], "0")
        answer = self.ask(wire, method="GET", grpc_call=False, more=[("x-big", "v" * 16400)])
        self.assertEqual(answer.head[":status"], "400")
        answer = self.ask(wire, "/" + "p" * 16400, method="GET", grpc_call=False)
        self.assertEqual(answer.head[":status"], "414")
        answer = self.ask(wire, "/x?" + "q" * 16400, method="GET", grpc_call=False)
        self.assertEqual(answer.head[":status"], "414")
        answer = self.ask(wire, method="GET", grpc_call=False, more=[("x-indexed", "v" * 3000)] * 25)
        self.assertEqual(answer.head[":status"], "400")
        self.assertEqual(self.ask(wire, method="TRACE", grpc_call=False).head[":status"], "405")

    def test_response_heads_over_32_kilobytes_are_502(self):
        self.main = Echo(self, extra=[("x-big", "v" * 33000)])
        self.serve(version=R.HTTP2)
        answer = self.ask(self.client(), method="GET", grpc_call=False)
        self.assertEqual(answer.head[":status"], "502")

    # --- corner cases of messages (4.9) ----------------------------------------------------------------------------------------

    def scripted(self, handle):
        target = Target(lambda wire, _: each_request(wire, lambda *a: handle(wire, *a)))
        self.addCleanup(target.close)
        self.apply(R.listener(ARN, R.forward("g")), [R.group("g", [L.target(target.port, last="healthy")])])
        return self.client()

    def test_trailers_without_data_and_trailers_only_pass(self):
        def handle(wire, stream, fields, body):
            if fields[":path"] == "/only":
                return wire.send_headers(stream, [(":status", "200"), ("content-type", "application/grpc"),
                                                  ("grpc-status", "5")], end=True)
            wire.send_headers(stream, [(":status", "200"), ("content-type", "application/grpc")])
            return wire.send_headers(stream, [("grpc-status", "7")], end=True)
        wire = self.scripted(handle)
        self.assertEqual(self.ask(wire, "/only").head["grpc-status"], "5")
        self.assertEqual(self.ask(wire, "/two").trailers["grpc-status"], "7")

    def test_a_half_close_without_a_message_reaches_the_target(self):
        bodies = []

        def handle(wire, stream, fields, body):
            bodies.append(body)
            ok_response(wire, stream)
        wire = self.scripted(handle)
        wire.send_headers(1, h2wire.request_fields())
        wire.send_data(1, b"", end=True)
        self.assertEqual(self.response(wire, 1).trailers["grpc-status"], "0")
        self.assertEqual(bodies, [b""])

    def test_an_early_response_reaches_a_client_that_still_sends(self):
        def script(wire, _):
            while (frame := wire.receive(60)) is not None:
                wire.answer_control(frame)
                if frame.type == HEADERS:
                    ok_response(wire, frame.stream, b"early")
                    wire.reset(frame.stream, h2wire.NO_ERROR)
        target = Target(script)
        self.addCleanup(target.close)
        self.apply(R.listener(ARN, R.forward("g")), [R.group("g", [L.target(target.port, last="healthy")])])
        wire = self.client()
        wire.send_headers(1, h2wire.request_fields())
        wire.send_data(1, h2wire.message(b"first"))
        frames = wire.wait_for(lambda f: f.type == RST or (f.stream == 1 and f.flags & END_STREAM and f.type == HEADERS))
        self.assertEqual(dict(frames[-1].headers)["grpc-status"], "0")

    def test_grpc_timeout_is_enforced_but_not_in_strict_mode(self):
        self.serve()
        began = time.monotonic()
        answer = self.ask(self.client(), "/t.T/Wait", more=[("grpc-timeout", "300m")])
        self.assertEqual(answer.head["grpc-status"], "4")
        self.serve(strict=True, idle_ms=2000)
        began = time.monotonic()
        answer = self.ask(self.client(), "/t.T/Wait", more=[("grpc-timeout", "300m")])
        self.assertEqual(answer.head[":status"], "504")
        self.assertGreater(time.monotonic() - began, 1.5)
        self.assertEqual(dict(self.main.last())["grpc-timeout"], "300m")

    def test_the_end_of_the_deregistration_delay_is_502_before_the_head(self):
        self.serve(strict=True)
        wire = self.client()
        wire.send_headers(1, h2wire.request_fields("/t.T/Wait"), end=True)
        wait_until(lambda: self.main.count == 1, "the call is at the target")
        self.apply(R.listener(ARN, R.forward("main")),
                   [R.group("main", [L.target(self.main.port, draining=True)], delay_ms=500)], strict=True)
        answer = self.response(wire, 1)
        self.assertEqual((answer.head[":status"], answer.head["content-length"]), ("502", "122"))
        self.assertTrue(re.search(rb"<h1>502 Bad Gateway</h1>", answer.body))


if __name__ == "__main__":
    unittest.main()
