"""Clients that make much of few bytes, or hold what is theirs: memory and streams are bounded (docs/defences.md)."""
import socket
import struct
import threading
import time
import unittest

import h2wire
from attack import BIG, HANG, AttackCase, wait_closed
from h2wire import (CALM, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, RST, WINDOW, frame_bytes, open_client,
                    request_fields)
from rig import SANITIZED


class Memory(AttackCase):
    @staticmethod
    def bomb(wire):
        """A block of some hundred bytes that decodes to 55 KB: its last fields are one entry of the table, which
        stream 1 put there."""
        fields = [(name, value, True) for name, value in request_fields(HANG)]  # True: leaves the table alone
        wire.send_headers(1, fields + [("x-bomb", "b" * 3900)])
        return wire.encode(fields) + b"\xbe" * 14

    def test_a_header_list_made_of_references_is_refused_and_the_connection_goes_on(self):
        """HPACK bomb (CVE-2016-1544): one entry of 4 KB, named 15,000 times."""
        self.launch()

        def act():
            wire = self.open()
            wire.send_headers(1, request_fields() + [("x-bomb", "b" * 3900)], end=True)
            self.pour(wire, b"".join(frame_bytes(HEADERS, END_HEADERS | END_STREAM, i, wire.encode(request_fields()) +
                                                 b"\xbe" * 15000) for i in range(3, 101, 2)))
            statuses = {}
            while len(statuses) < 49:
                frame = wire.receive(30)
                if frame.type == HEADERS and frame.stream > 1 and ":status" in dict(frame.headers):
                    statuses[frame.stream] = dict(frame.headers).get("grpc-status")
            self.assertEqual(set(statuses.values()), {"8"})
            self.still_serves(wire, 201)
        self.attack(act, 50 * 100, {"client/header_list_too_large": 49})

    def test_cookie_crumbs_count_as_fields(self):
        self.launch()

        def act():
            wire = self.open()
            wire.send_headers(1, request_fields() + [("cookie", "a=b")], end=True)
            self.pour(wire, frame_bytes(HEADERS, END_HEADERS | END_STREAM, 3, wire.encode(request_fields()) + b"\xbe" * 5000))
            frames = wire.wait_for(lambda f: f.stream == 3 and f.type == HEADERS)
            self.assertEqual(dict(frames[-1].headers)["grpc-status"], "8")
        self.attack(act, 100, {"client/header_list_too_large": 1})

    def test_many_small_blocks_that_decode_to_the_largest_list_hold_little(self):
        """HTTP/2 Bomb (CVE-2026-49975): just below the limits, on every stream of many connections, never read."""
        self.launch()

        def act():
            for _ in range(4):
                wire = self.open(settings={4: 0})
                bomb = self.bomb(wire)
                self.pour(wire, b"".join(frame_bytes(HEADERS, END_HEADERS, i, bomb) for i in range(3, 257, 2)))
            self.link.wait(lambda: self.link.stats and self.link.stats[0][2] >= 4 * 128, 60, "streams")
        self.attack(act, 4 * 128 * 3, {"client/request_not_held": 4 * 90})

    def test_many_such_blocks_in_one_turn_do_not_pile_up(self):
        """A read holds hundreds of them, and those of refused streams are decoded too."""
        self.launch()

        def act():
            wires = [self.open() for _ in range(4)]
            floods = []
            for wire in wires:
                bomb = self.bomb(wire)
                floods.append(b"".join(frame_bytes(HEADERS, END_HEADERS, i, bomb) for i in range(3, 2803, 2)))
            for wire, flood in zip(wires, floods):
                self.pour(wire, flood)
            for wire in wires:
                self.assertEqual(self.end_of(wire), CALM)
        self.attack(act, 4 * 1400, {"client/refused_stream_flood": 4, "client/stream_refused": 4000})
        self.wait_streams(0)

    def test_windows_of_one_byte_again_and_again(self):
        """Data dribble (CVE-2019-9511)."""
        self.launch()

        def act():
            wire = self.open(settings={4: 0})
            for i in range(1, 201, 2):
                wire.send_headers(i, request_fields(BIG + "40000"), end=True)
            heads = set()
            wire.wait_for(lambda f: f.type == HEADERS and (heads.add(f.stream) or len(heads) == 100), 30)
            # One byte on each stream, again when all have come: more at once would add up to larger windows.
            for _ in range(150):
                self.pour(wire, b"".join(frame_bytes(WINDOW, 0, i, struct.pack(">I", 1)) for i in range(1, 201, 2)))
                for _ in range(100):
                    frame = wire.receive(30)
                    if frame is None or frame.type == GOAWAY:
                        self.assertEqual(struct.unpack(">II", frame.payload[:8])[1], CALM)
                        return
                    self.assertEqual((frame.type, len(frame.payload)), (DATA, 1))
            self.fail("the connection never ended")
        self.attack(act, 15000, {"client/tiny_window_flood": 1, "client/tiny_frame_forced": 9000})

    def test_streams_behind_a_window_of_zero_are_ended_and_the_connection_goes_on(self):
        self.launch(slow_reader_ms=2000)

        def act():
            wire = self.open(settings={4: 0})
            for i in range(1, 201, 2):
                wire.send_headers(i, request_fields(BIG + "60000"), end=True)
            ended = {}
            while len(ended) < 100:
                frame = wire.receive(30)
                if frame.type == RST:
                    ended[frame.stream] = struct.unpack(">I", frame.payload)[0]
            self.assertEqual(set(ended.values()), {CALM})
            wire.send_raw(h2wire.settings_bytes({4: 65535}))
            self.still_serves(wire, 201)
        self.attack(act, 400, {"client/stream_stalled": 100})
        self.wait_streams(0)

    def test_streams_behind_a_window_of_zero_end_with_the_idle_timeout_when_that_is_shorter(self):
        self.launch(idle_ms=2000)

        def act():
            wire = self.open(settings={4: 0})
            for i in range(1, 101, 2):
                wire.send_headers(i, request_fields(BIG + "60000"), end=True)
            ended = {}
            while len(ended) < 50:
                frame = wire.receive(30)
                if frame.type == RST:
                    ended[frame.stream] = struct.unpack(">I", frame.payload)[0]
            self.assertEqual(set(ended.values()), {h2wire.CANCEL})
        self.attack(act, 400, {"client/stream_stalled": 50})

    def test_a_reader_of_a_few_bytes_a_second_is_ended_and_one_of_some_hundred_is_not(self):
        self.launch(slow_reader_ms=4000)

        def act():
            wire = self.open(settings={4: 0})
            for i in (1, 3):
                wire.send_headers(i, request_fields(BIG + "60000"), end=True)
            wire.wait_for(lambda f: f.type == HEADERS and f.stream == 3)
            reset = threading.Event()

            def credit():
                while not reset.wait(0.2):
                    wire.credit(1, 10)
                    wire.credit(3, 400)
            thread = threading.Thread(target=credit)
            thread.start()
            try:
                frames = wire.wait_for(lambda f: f.type in (RST, GOAWAY), 30)
            finally:
                reset.set()
                thread.join()
            self.assertEqual((frames[-1].type, frames[-1].stream), (RST, 1))
            self.assertEqual(frames[-1].payload, struct.pack(">I", CALM))
            wire.credit(3, 100000)
            frames = wire.wait_for(lambda f: f.stream == 3 and f.flags & END_STREAM)
            self.assertEqual(dict(frames[-1].headers)["grpc-status"], "0")
        self.attack(act, 400, {"client/stream_stalled": 1})

    def test_a_connection_that_takes_nothing_is_cut(self):
        self.launch(slow_reader_ms=2000)

        def act():
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.connect(("127.0.0.1", self.port))
            wire = h2wire.Wire(h2wire_tls(sock, self.ca))
            self.addCleanup(wire.close)
            wire.send_raw(h2wire.PREFACE + h2wire.settings_bytes({4: 1 << 30}))
            wire.credit(0, 1 << 30)
            for i in range(1, 201, 2):
                wire.send_headers(i, request_fields(BIG + "60000"), end=True)
            self.link.wait(lambda: self.link.defences.get("client/slow_reader", 0) > 0, 60, "the cut")
        self.attack(act, 1000, {"client/slow_reader": 1})
        self.wait_streams(0)

    @unittest.skipIf(SANITIZED, "a sanitizer needs several times the memory")
    def test_requests_are_refused_while_all_buffers_are_full_and_taken_again_afterwards(self):
        """Uploads to a target that reads nothing, each up to its window of 256 KiB, until a worker's 512 MiB are used."""
        def deaf(wire, target):
            wire.read_exactly(len(h2wire.PREFACE))
            wire.send_raw(h2wire.settings_bytes({4: 0x7fffffff}))
            wire.credit(0, 0x7fff0000)
            over.wait(200)
        over = threading.Event()
        self.addCleanup(over.set)
        target = h2wire.Target(deaf, greet=False)
        self.addCleanup(target.close)
        self.launch(target.port, tls=False, idle_ms=600000)
        before, crowd = self.counters(), []
        asking = self.open()
        asking.send_headers(1, request_fields(HANG))  # one that is there before
        for _ in range(20):
            crowd.append(self.open())
            for i in range(1, 257, 2):
                body = frame_bytes(DATA, 0, i, b"u" * 16384) * 16
                self.pour(crowd[-1], self.head(crowd[-1], i) + body)
        self.link.wait(lambda: self.link.metrics["weir_buffered_bytes"] > 512 << 20, 20, "the buffers are full")
        asking.send_headers(3, request_fields())
        frames = asking.wait_for(lambda f: f.stream == 3 and f.type == HEADERS)
        self.assertEqual(dict(frames[-1].headers)["grpc-status"], "8")
        self.assertLess(self.lb.rss_kib(), 800 << 10)
        self.assertNotIn(1, {f.stream for f in frames if f.type in (HEADERS, RST)})
        self.wait_counters(before, {"client/request_without_memory": 1})
        for wire in crowd:
            wire.close()
        # The outputs of 16 connections to the target stay: 256 KiB of bodies each, and heads.
        self.link.wait(lambda: self.link.metrics["weir_buffered_bytes"] < 32 << 20, 20, "the buffers are given back")
        asking.send_headers(5, request_fields())
        with self.assertRaises(TimeoutError):  # it waits at the target, as others do
            asking.wait_for(lambda f: f.stream == 5, 1)

    def test_a_client_whose_stream_ids_ran_out_gets_new_ones_on_a_new_connection(self):
        self.launch()

        def act():
            wire = self.open()
            self.still_serves(wire, 0x7ffffffd)
            self.still_serves(wire, 0x7fffffff)
            self.pour(wire, self.head(wire, 1))
            self.assertEqual(self.end_of(wire), 5)  # STREAM_CLOSED: there is no id behind the last
            wait_closed(wire)
            self.still_serves(self.open(), 1)
        self.attack(act, 10, {"client/stream_closed_error": 1})


def h2wire_tls(sock, ca):
    import ssl
    context = ssl.create_default_context(cafile=ca)
    context.set_alpn_protocols(["h2"])
    return context.wrap_socket(sock, server_hostname="weir.test")


if __name__ == "__main__":
    unittest.main()
