"""Which target a request goes to: slow start, fail-open, least outstanding, anomalies, outliers, placement by rate,
draining. Real gRPC servers, two workers."""
import collections
import time
import unittest

import grpc

import link as L
from grpc_targets import NOT_SERVING, LinkedRig, Server
from rig import LIMIT_S, wait_until

ROUND_ROBIN, LEAST_OUTSTANDING, WEIGHTED_RANDOM = range(3)
INTERNAL = grpc.StatusCode.INTERNAL


class Balancing(LinkedRig):
    def servers(self, count):
        return [Server(self) for _ in range(count)]

    def share_of(self, server, calls, channel=None):
        """Of so many calls, how many went to the server."""
        return self.unary(calls, channel).count(b"%d" % server.port) / calls

    def healthy(self, *servers):
        self.link.wait(lambda: all(self.link.state(s.port) == "healthy" for s in servers), LIMIT_S, "healthy")

    def test_a_target_in_slow_start_gets_less_than_its_share_and_a_first_batch_does_not_start_slowly(self):
        old, other, new = self.servers(3)
        settings = {"slow_start_ms": 900000, "interval_ms": 1000, "timeout_ms": 900}
        self.configure([old, other], **settings)
        self.healthy(old, other)
        self.assertAlmostEqual(self.share_of(old, 100), 0.5, delta=0.02)
        self.configure([old, other, new], **settings)
        self.healthy(new)
        self.assertLess(self.share_of(new, 200), 0.1)
        self.configure([old, other, new], **{**settings, "slow_start_ms": 0})
        self.assertAlmostEqual(self.share_of(new, 300), 1 / 3, delta=0.02)

    def test_fewer_healthy_targets_than_the_threshold_open_the_group_to_all(self):
        good, bad, worse = self.servers(3)
        bad.status = worse.status = NOT_SERVING
        for settings, expected in [({}, {good}), ({"healthy_count": 2}, {good, bad, worse}),
                                   ({"healthy_percent": 33}, {good}), ({"healthy_percent": 34}, {good, bad, worse})]:
            with self.subTest(settings):
                self.configure([good, bad, worse], **settings)
                self.link.wait(lambda: [self.link.state(s.port) for s in (good, bad, worse)] ==
                               ["healthy", "unhealthy", "unhealthy"], LIMIT_S)
                self.link.settle(0.2)
                seen = set(self.unary(30))
                self.assertEqual(seen, {b"%d" % s.port for s in expected})

    def test_least_outstanding_requests_counts_the_streams_of_all_workers(self):
        servers = self.servers(5)
        self.configure_static(servers, algorithm=LEAST_OUTSTANDING)
        channels = [self.client() for _ in range(6)]
        streams = []
        for i in range(60):
            streams.append(channels[i % 6].unary_stream("/test.Test/Stream")(b"0.5"))
            next(streams[-1])
            open_streams = [s.streams for s in servers]
            self.assertLessEqual(max(open_streams) - min(open_streams), 4, open_streams)
        for stream in streams:
            stream.cancel()

    def test_an_anomalous_target_is_shown_and_gets_less(self):
        bad, *others = self.servers(3)
        bad.code = INTERNAL
        self.configure_static([bad, *others], algorithm=WEIGHTED_RANDOM, anomaly=True)
        channel = self.client()
        end = time.monotonic() + 60
        while time.monotonic() < end and self.link.anomaly.get(bad.port) != (1, 1, 1):
            self.unary(100, channel)
            self.link.settle(0.1)
        self.assertEqual(self.link.anomaly[bad.port], (1, 1, 1))
        self.link.settle(0.2)
        failed = sum(isinstance(r, grpc.RpcError) for r in self.unary(400, channel))
        self.assertLess(failed / 400, 0.29)  # a third before, a fifth or less now
        bad.code = None
        end = time.monotonic() + 60
        while time.monotonic() < end and self.link.anomaly.get(bad.port) != (1, 0, 0):
            self.unary(50, channel)
            self.link.settle(0.1)
        self.assertEqual(self.link.anomaly[bad.port], (1, 0, 0))

    def test_a_target_whose_requests_fail_in_a_row_is_ejected_shown_and_comes_back(self):
        bad, *others = self.servers(3)
        bad.code = INTERNAL
        self.configure_static([bad, *others], outlier=(True, 1 << 13, 3, 4000, 34))
        channels = [self.client() for _ in range(4)]
        results = [r for c in channels for r in self.unary(5, c)]
        self.assertIn(INTERNAL, [r.code() for r in results if isinstance(r, grpc.RpcError)])
        self.link.wait(lambda: "Ejected" in self.link.words(bad.port), LIMIT_S)
        self.assertEqual(self.link.health[bad.port][0], "healthy")
        self.assertEqual(self.link.words(bad.port), "Ejected for 4 s: 3 requests failed one after another")
        before = bad.calls
        self.assertEqual([r for r in self.unary(30) if isinstance(r, grpc.RpcError)], [])
        self.assertEqual(bad.calls, before)
        self.link.wait(lambda: self.link.words(bad.port) == "", LIMIT_S, "back on probation")
        self.unary(12)
        self.link.wait(lambda: "(ejection 2 in a row)" in self.link.words(bad.port), LIMIT_S, "one failure suffices")
        self.assertLessEqual(bad.calls, before + 2)
        bad.code = None
        self.link.wait(lambda: self.link.words(bad.port) == "", LIMIT_S, "back again")
        self.assertAlmostEqual(self.share_of(bad, 60), 1 / 3, delta=0.05)

    def test_not_more_targets_are_ejected_than_the_limit(self):
        servers = self.servers(3)
        for server in servers:
            server.code = INTERNAL
        self.configure_static(servers, outlier=(True, 1 << 13, 2, 60000, 34))
        self.unary(60)
        self.link.settle(0.3)
        self.assertEqual(sum("Ejected" in self.link.words(s.port) for s in servers), 1)

    def test_new_streams_keep_away_from_the_target_with_the_busy_one(self):
        servers = self.servers(2)
        self.configure_static(servers, placement=1)
        channel = self.client()
        quiet = [channel.unary_stream("/test.Test/Stream")(b"5") for _ in range(20)]
        wait_until(lambda: sum(s.streams for s in servers) == 20, "the idle streams are open")
        self.assertGreaterEqual(min(s.streams for s in servers), 6)  # even but for first messages that come late
        busy = channel.unary_stream("/test.Test/Stream")(b"0.0005")
        hot = next(s for s in servers if b"%d" % s.port in next(busy))
        idle = next(s for s in servers if s is not hot)
        end = time.monotonic() + 4
        while time.monotonic() < end:
            next(busy)
        before = idle.streams
        quiet += [channel.unary_stream("/test.Test/Stream")(b"5") for _ in range(8)]
        wait_until(lambda: hot.streams + idle.streams == 29, "the streams are open")
        self.assertGreaterEqual(idle.streams, before + 7)
        for stream in [busy, *quiet]:
            stream.cancel()

    def test_a_group_may_drain_for_its_whole_delay_although_it_is_idle(self):
        gone, stays = self.servers(2)
        self.configure_static([gone, stays])
        self.unary(2)
        for idle_ends, delay_ms in [(True, 30000), (False, 2500)]:
            self.link.drained.clear()
            self.configure([(gone, {"draining": True}), (stays, {"last": "healthy"})], in_use=False,
                           delay_ms=delay_ms, drain_idle=idle_ends)
            began = time.monotonic()
            self.link.wait(lambda: gone.port in self.link.drained, LIMIT_S, "drained")
            took = time.monotonic() - began
            self.assertTrue(took < 20 if idle_ends else took > 1.0, took)
            self.configure_static([gone, stays])

    def test_every_algorithm_serves_from_every_target_and_changes_while_it_runs(self):
        servers = self.servers(3)
        for algorithm in (LEAST_OUTSTANDING, WEIGHTED_RANDOM, ROUND_ROBIN, LEAST_OUTSTANDING):
            self.configure_static(servers, algorithm=algorithm)
            counts = collections.Counter(self.unary(90))
            self.assertEqual(len(counts), 3)
            self.assertGreater(min(counts.values()), 10)
        self.assertEqual(L.STATES[1], self.link.state(servers[0].port))


if __name__ == "__main__":
    unittest.main()
