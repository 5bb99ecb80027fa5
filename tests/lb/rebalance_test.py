"""Long-lived streams move to targets that have become healthy (weir.rebalancing.*), with real gRPC servers."""
import threading
import time
import unittest

import grpc

from grpc_targets import LinkedRig, Server
from rig import LIMIT_S, wait_until


class Reader:
    """A client that keeps one stream and opens it again when it is told to."""

    def __init__(self, test, channel):
        self.open, self.ended, self.wrong, self.stopping = channel.unary_stream("/test.Test/Stream"), [], [], False
        self.messages, self.stream = 0, None
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()
        test.addCleanup(self.stop)

    def run(self):
        while not self.stopping:
            try:
                self.stream = self.open(b"")
                for message in self.stream:
                    self.messages += 1
                    if len(set(message[i:i + len(message) // 200] for i in range(0, len(message), 5))) != 1:
                        self.wrong.append(message)
            except grpc.RpcError as error:
                if self.stopping:
                    return
                trailers = dict(error.trailing_metadata() or ())
                self.ended.append((error.code(), trailers.get("grpc-retry-pushback-ms")))
                time.sleep(int(trailers.get("grpc-retry-pushback-ms", 0)) / 1000)

    def stop(self):
        self.stopping = True
        if self.stream is not None:
            self.stream.cancel()
        self.thread.join(10)


class Rebalance(LinkedRig):
    def readers(self, count, server):
        channels = [self.client() for _ in range(4)]
        readers = [Reader(self, channels[i % 4]) for i in range(count)]
        wait_until(lambda: server.streams == count and all(r.messages > 0 for r in readers), "the streams run", LIMIT_S)
        return readers

    def test_streams_are_moved_to_a_new_target_until_the_group_is_even(self):
        old, new = Server(self), Server(self)
        settings = {"rebalancing": (True, 20, 0)}
        self.configure_static([old], **settings)
        readers = self.readers(20, old)
        self.configure_static([old, new], **settings)
        wait_until(lambda: new.streams >= 9 and new.streams + old.streams == 20, "half of the streams moved", 60)
        time.sleep(1)
        self.assertLessEqual(abs(new.streams - old.streams), 4)
        ended = [end for r in readers for end in r.ended]
        self.assertLessEqual(len(ended), 14)
        self.link.wait(lambda: (self.link.metrics.get("weir_streams_rebalanced_total") ==
                                sum(len(r.ended) for r in readers)), LIMIT_S, "the counter")
        for code, pushback in ended:
            self.assertEqual(code, grpc.StatusCode.UNAVAILABLE)
            self.assertGreaterEqual(int(pushback), 0)
        self.assertEqual([r.wrong for r in readers if r.wrong], [])

    def test_a_stream_in_the_middle_of_large_messages_ends_at_their_boundary(self):
        old, new = Server(self), Server(self)
        old.interval_s = 0
        settings = {"rebalancing": (True, 100, 0)}
        self.configure_static([old], **settings)
        readers = self.readers(4, old)
        self.configure_static([old, new], **settings)
        wait_until(lambda: new.streams >= 1, "a stream moved", 60)
        for code, pushback in [end for r in readers for end in r.ended]:
            self.assertEqual(code, grpc.StatusCode.UNAVAILABLE)  # a cut message would be INTERNAL
            self.assertIsNotNone(pushback)
        self.assertEqual([r.wrong for r in readers if r.wrong], [])

    def test_no_stream_is_moved_when_it_is_off_or_when_streams_are_too_young(self):
        for settings in ({}, {"rebalancing": (True, 100, 600000)}):
            with self.subTest(settings):
                old, new = Server(self), Server(self)
                self.configure_static([old], **settings)
                readers = self.readers(8, old)
                self.configure_static([old, new], **settings)
                time.sleep(1.5)
                self.assertEqual([r.ended for r in readers if r.ended], [])
                self.assertEqual((old.streams, new.streams), (8, 0))
                for reader in readers:
                    reader.stop()

    def test_streams_move_no_faster_than_the_budget(self):
        old, new = Server(self), Server(self)
        settings = {"rebalancing": (True, 2, 0)}
        self.configure_static([old], **settings)
        readers = self.readers(20, old)
        began = time.monotonic()
        self.configure_static([old, new], **settings)
        wait_until(lambda: sum(len(r.ended) for r in readers) >= 4, "four streams moved", 60)
        self.assertGreater(time.monotonic() - began, 0.8)  # two workers with one stream per second each, jittered


if __name__ == "__main__":
    unittest.main()
