"""Retries that a target group's policy asks for (weir.retry.*), with real gRPC servers."""
import time
import unittest

import grpc

from grpc_targets import LinkedRig, Server
from rig import LIMIT_S, wait_until

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
POLICY = 1 << 14


class Retry(LinkedRig):
    workers = 1

    def test_a_failed_try_is_repeated_on_another_target_that_hears_of_it(self):
        bad, good = Server(self), Server(self)
        bad.code = UNAVAILABLE
        self.configure_static([bad, good], retry=(POLICY, 2, 100))
        self.assertEqual(self.unary(20), [b"%d" % good.port] * 20)
        self.assertEqual(bad.calls, 10)
        attempts = [m.get("grpc-previous-rpc-attempts") for m in good.metadata]
        self.assertEqual((attempts.count("1"), attempts.count(None)), (10, 10))
        self.link.wait(lambda: self.link.metrics.get("weir_retries_by_policy_total") == 10, LIMIT_S, "the counter")
        self.assertEqual(self.link.metrics["weir_retries_total"], 0)

    def test_attempts_of_the_client_itself_are_added(self):
        bad, good = Server(self), Server(self)
        bad.code = UNAVAILABLE
        self.configure_static([bad, good], retry=(POLICY, 2, 100))
        call = self.client().unary_unary("/test.Test/Call")
        for _ in range(4):
            call(b"x", timeout=LIMIT_S, metadata=(("grpc-previous-rpc-attempts", "3"),))
        attempts = [m.get("grpc-previous-rpc-attempts") for m in good.metadata]
        self.assertEqual(sorted(attempts), ["3", "3", "4", "4"])

    def test_it_is_off_by_default(self):
        bad = Server(self)
        bad.code = UNAVAILABLE
        self.configure_static([bad])
        self.assertEqual([e.code() for e in self.unary(3)], [UNAVAILABLE] * 3)
        self.assertEqual(bad.calls, 3)

    def test_only_the_codes_of_the_policy_are_retried(self):
        bad = Server(self)
        bad.code = grpc.StatusCode.INTERNAL
        self.configure_static([bad], retry=(POLICY, 3, 100))
        self.assertEqual([e.code() for e in self.unary(3)], [grpc.StatusCode.INTERNAL] * 3)
        self.assertEqual(bad.calls, 3)

    def test_the_last_failure_reaches_the_client_as_it_is(self):
        servers = [Server(self) for _ in range(4)]
        for server in servers:
            server.code = UNAVAILABLE
        self.configure_static(servers, retry=(POLICY, 3, 100))
        error = self.unary(1)[0]
        self.assertEqual((error.code(), error.details()), (UNAVAILABLE, "made to fail"))
        self.assertEqual(sum(s.calls for s in servers), 3)

    def test_a_response_that_has_begun_is_not_retried(self):
        bad, good = Server(self), Server(self)
        bad.late_code = good.late_code = UNAVAILABLE
        self.configure_static([bad, good], retry=(POLICY, 3, 100))
        stream = self.client().unary_stream("/test.Test/Stream")(b"", timeout=LIMIT_S)
        self.assertEqual(next(stream), b"one")
        with self.assertRaises(grpc.RpcError) as caught:
            next(stream)
        self.assertEqual(caught.exception.code(), UNAVAILABLE)
        self.assertEqual(len(bad.metadata) + len(good.metadata), 1)

    def test_a_target_can_forbid_the_retry_and_can_ask_for_a_pause(self):
        bad, good = Server(self), Server(self)
        bad.code = UNAVAILABLE
        bad.trailers = (("grpc-retry-pushback-ms", "-1"),)
        self.configure_static([bad, good], retry=(POLICY, 2, 100))
        results = self.unary(4)
        self.assertEqual(sum(isinstance(r, grpc.RpcError) for r in results), 2)
        bad.trailers = (("grpc-retry-pushback-ms", "400"),)
        slowest = 0
        for _ in range(2):
            began = time.monotonic()
            self.assertEqual(self.unary(1), [b"%d" % good.port])
            slowest = max(slowest, time.monotonic() - began)
        self.assertGreaterEqual(slowest, 0.4)

    def test_a_call_cancelled_during_the_pause_ends_everywhere(self):
        bad, good = Server(self), Server(self)
        bad.code = UNAVAILABLE
        bad.trailers = (("grpc-retry-pushback-ms", "500"),)
        self.configure_static([bad], retry=(POLICY, 2, 100))
        call = self.client().unary_unary("/test.Test/Call").future(b"x", timeout=LIMIT_S)
        wait_until(lambda: bad.calls == 1, "the first try")
        time.sleep(0.1)
        call.cancel()
        self.link.wait(lambda: self.link.stats and self.link.stats[0][2] == 0, what="no stream is left")
        self.link.settle(0.8)
        self.assertEqual((bad.calls, good.calls), (1, 0))
        with self.assertRaises(grpc.RpcError) as caught:  # a deadline that ends before the pause: no retry
            self.client().unary_unary("/test.Test/Call")(b"x", timeout=0.4)
        self.assertIn(caught.exception.code(), (UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED))
        self.assertEqual(bad.calls, 2)

    def test_retries_stay_within_the_budget(self):
        bad = Server(self)
        bad.code = UNAVAILABLE
        self.configure_static([bad], retry=(POLICY, 2, 1))
        self.unary(300)
        self.assertGreater(bad.calls, 300 + 90)
        self.assertLessEqual(bad.calls, 300 + 200)  # ten per second, and the machine may be slow

    def test_a_request_that_is_not_held_any_more_is_not_retried(self):
        bad, good = Server(self), Server(self)
        bad.code = UNAVAILABLE
        self.configure_static([bad, good], retry=(POLICY, 2, 100))
        call = self.client().stream_unary("/test.Test/Upload")
        failed = 0
        for _ in range(4):
            try:
                call(iter([b"x" * 50000] * 4), timeout=LIMIT_S)
            except grpc.RpcError as error:
                self.assertEqual(error.code(), UNAVAILABLE)
                failed += 1
        self.assertEqual(failed, 2)
        for _ in range(4):
            call(iter([b"x" * 5000] * 4), timeout=LIMIT_S)


if __name__ == "__main__":
    unittest.main()
