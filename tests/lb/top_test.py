"""Reports on open streams: what each does, who blocks it, order, pages, filter; and `weir top` over them."""
import json
import os
import re
import subprocess
import threading
import unittest

import h2wire
import link
from rig import LIMIT_S, ROOT, Rig, wait_until
from seeing import EchoServer

WEIR = os.environ.get("WEIR", ROOT + "/build/dev/weir")


class OpenStream:
    """A bidirectional stream that sends when told."""

    def __init__(self, test, channel, method="/test.Echo/Chat", **keywords):
        self.wake, self.to_send, self.over = threading.Semaphore(0), [], False
        self.responses = channel.stream_stream(method)(self.requests(), **keywords)
        test.addCleanup(self.close)

    def requests(self):
        while True:
            self.wake.acquire()
            if self.over:
                return
            yield self.to_send.pop(0)

    def echo(self, payload):
        self.to_send.append(payload)
        self.wake.release()
        return next(self.responses)

    def close(self):
        self.over = True
        self.wake.release()
        self.responses.cancel()


class Top(Rig):
    def setUp(self):
        super().setUp()
        self.echo = EchoServer(self)
        self.admin = self.folder.name + "/" + self.id().rsplit(".", 1)[1][:40]

    def watched(self, *options, targets=None, workers=2):
        lb = self.balancer([self.echo.port] if targets is None else targets, "--workers", str(workers), "--admin",
                           self.admin, *options)
        self.told = link.Link(self.admin, hello=False)
        self.addCleanup(self.told.close)
        return lb

    def rows_once(self, condition, what, **request):
        rows = []

        def holds():
            rows[:] = self.told.streams(**request)
            return condition(rows)
        wait_until(holds, what, LIMIT_S)
        return rows

    def test_a_row_tells_all_about_its_stream(self):
        lb = self.watched()
        stream = OpenStream(self, self.channel(lb.port), timeout=300)
        for i in range(7):
            stream.echo(b"x" * i)
        row = self.rows_once(lambda rows: len(rows) == 1 and rows[0]["response_messages"] == 7, "one stream")[0]
        self.assertEqual(row["method"], "/test.Echo/Chat")
        self.assertEqual(row["target"], f"127.0.0.1:{self.echo.port}")
        self.assertRegex(row["client"], r"^127\.0\.0\.1:\d+$")
        self.assertEqual((row["request_messages"], row["response_messages"]), (7, 7))
        self.assertEqual((row["request_bytes"], row["response_bytes"]), (21 + 35, 21 + 35))
        self.assertEqual((row["blocked"], row["attempts"], row["is_grpc"], row["group"]), ("none", 1, True, "static"))
        self.assertTrue(250_000 < row["deadline_ms"] <= 300_000, row)
        self.assertGreaterEqual(row["age_ms"], row["idle_ms"])
        stream.close()
        self.rows_once(lambda rows: rows == [], "the stream is gone")

    def test_the_busiest_come_first_and_pages_follow_each_other(self):
        lb = self.watched()
        streams = [OpenStream(self, self.channel(lb.port)) for _ in range(6)]
        for count, stream in enumerate(streams, 1):
            for _ in range(count):
                stream.echo(b"m")
        rows = self.rows_once(lambda rows: sum(r["response_messages"] for r in rows) == 21, "all messages",
                              order="messages")
        self.assertEqual([r["request_messages"] for r in rows], [6, 5, 4, 3, 2, 1])
        self.assertEqual([r["request_messages"] for r in self.told.streams("messages", limit=2, skip=1)], [5, 4])
        self.assertEqual(self.told.open_streams, 6)
        ages = [r["age_ms"] for r in self.told.streams("age")]
        self.assertEqual(ages, sorted(ages, reverse=True))
        self.assertEqual(len(self.told.streams(text_filter=rows[0]["client"])), 1)
        self.assertEqual(self.told.streams(text_filter="nothing like that"), [])

    def test_rates_are_those_since_the_last_look(self):
        lb = self.watched(workers=1)
        quiet, busy = (OpenStream(self, self.channel(lb.port)) for _ in range(2))
        quiet.echo(b"q")
        stop = threading.Event()

        def talk():
            while not stop.is_set():
                busy.echo(b"b" * 50)
        talker = threading.Thread(target=talk)
        talker.start()
        try:
            self.told.streams()
            self.told.settle(1.5)
            rows = self.told.streams()
        finally:
            stop.set()
            talker.join()
        self.assertGreater(rows[0]["request_rate"], 0)
        self.assertGreater(rows[0]["byte_rate"], 0)
        self.assertGreater(rows[0]["request_messages"], rows[1]["request_messages"])
        self.assertEqual(rows[1]["request_rate"], 0, rows)

    def test_a_client_that_reads_nothing_is_named_as_the_one_who_blocks(self):
        lb = self.watched(workers=1)
        wire = h2wire.open_client(lb.port, self.ca, settings={4: 1000})  # a window of 1000 bytes
        wire.send_headers(1, h2wire.request_fields("/test.Echo/Many"))
        wire.send_data(1, h2wire.message(b"5000"), end=True)
        row = self.rows_once(lambda rows: rows and rows[0]["waiting_bytes"] > 0, "bytes wait", order="blocked")[0]
        self.assertEqual(row["blocked"], "client_window")
        wire.close()

    def test_a_target_that_reads_nothing_is_named_as_the_one_who_blocks(self):
        def script(wire, _):
            while wire.receive(60) is not None:
                pass
        target = h2wire.Target(script, settings={4: 1000})
        self.addCleanup(target.close)
        lb = self.watched(targets=[target.port], workers=1)
        stream = OpenStream(self, self.channel(lb.port))
        stream.to_send.append(b"x" * 200000)
        stream.wake.release()
        row = self.rows_once(lambda rows: rows and rows[0]["waiting_bytes"] > 0, "bytes wait")[0]
        self.assertEqual(row["blocked"], "target_window")

    def test_thousands_of_streams_are_reported_within_the_limit_of_rows(self):
        lb = self.watched()
        wires = [h2wire.open_client(lb.port, self.ca) for _ in range(16)]
        for wire in wires:
            for i in range(100):
                wire.send_headers(2 * i + 1, h2wire.request_fields("/test.Echo/Chat"))
        self.rows_once(lambda _: self.told.open_streams == 1600, "all are open")
        self.assertEqual(len(self.told.streams(limit=5000)), 1000)
        self.assertEqual(len({r["key"] for r in self.told.streams(limit=1000)}), 1000)
        for wire in wires:
            wire.close()

    def weir_top(self, *arguments):
        if not os.path.exists(WEIR):
            self.skipTest("weir is not built")
        done = subprocess.run([WEIR, "top", "--admin", self.admin, "--once", *arguments], capture_output=True, text=True,
                              timeout=60, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def test_weir_top_once_prints_a_table_or_json(self):
        lb = self.watched()
        stream = OpenStream(self, self.channel(lb.port))
        stream.echo(b"hello")
        self.rows_once(lambda rows: rows and rows[0]["response_messages"] == 1, "the stream is open")
        found = json.loads(self.weir_top("--output", "json"))
        self.assertEqual(found["Open"], 1)
        self.assertEqual(found["Streams"][0]["Method"], "/test.Echo/Chat")
        self.assertEqual(found["Streams"][0]["RequestMessages"], 1)
        table = self.weir_top()
        self.assertRegex(table, r"/test\.Echo/Chat")
        self.assertTrue(re.search(r"METHOD", table), table)

    def test_over_a_balancer_s_own_socket_nothing_can_be_changed(self):
        lb = self.watched()
        self.told.send(link.SHUTDOWN, link.record(b"\0\0\0\0"))
        self.told.streams()
        self.assertIsNone(lb.process.poll())
        wait_until(lambda: "link refused" in lb.said(), "it says so", LIMIT_S)


if __name__ == "__main__":
    unittest.main()
