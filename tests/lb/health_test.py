"""Health checks with a service name and metadata, and Watch streams beside them, with real gRPC servers."""
import time
import unittest

import grpc

from grpc_targets import NOT_SERVING, SERVING, LinkedRig, Server
from rig import LIMIT_S

SLOW = {"interval_ms": 60000, "timeout_ms": 5000}  # the checks themselves see nothing in time


class Health(LinkedRig):
    def wait_for(self, server, state, limit=LIMIT_S):
        self.link.wait(lambda: self.link.state(server.port) == state, limit, state)

    def test_checks_name_the_service_and_carry_metadata(self):
        server = Server(self)
        name = "chat.v1." + "x" * 200
        self.configure([server], service=name, metadata=[("x-token", "a b"), ("x-zone", "1")])
        self.wait_for(server, "healthy")
        self.assertEqual(server.checks[0], b"\x0a\xd0\x01" + name.encode())
        self.assertEqual((server.health_metadata["x-token"], server.health_metadata["x-zone"]), ("a b", "1"))

    def test_descriptions_show_what_was_received(self):
        server = Server(self)
        server.status = NOT_SERVING
        self.configure([server])
        self.wait_for(server, "unhealthy")
        self.assertEqual(self.link.words(server.port), "Health checks failed with these codes: [0] (NOT_SERVING)")
        server.status = b"\xff\xff"
        self.link.wait(lambda: "no HealthCheckResponse" in self.link.words(server.port), LIMIT_S)
        self.configure([server], path="/no.Such/Method")
        self.link.wait(lambda: "[12] (Method not found!)" in self.link.words(server.port), LIMIT_S)

    def test_a_watch_takes_a_target_out_and_puts_it_back_at_once(self):
        server, other = Server(self, watch=True), Server(self, watch=True)
        self.configure([server, other], watch=True, service="chat", **SLOW)
        self.wait_for(server, "healthy")
        self.wait_for(other, "healthy")
        self.link.wait(lambda: server.watches == 1 and other.watches == 1, LIMIT_S)
        for _ in range(3):
            server.say(NOT_SERVING)
            self.wait_for(server, "unhealthy")
            self.assertEqual(self.link.health[server.port][1:], ("Target.ResponseCodeMismatch",
                                                                "Health checks failed (Watch: NOT_SERVING)"))
            self.link.settle(0.1)
            self.assertEqual(set(self.unary(6)), {b"%d" % other.port})
            server.say(SERVING)
            self.wait_for(server, "healthy")
        self.assertEqual(len(server.checks), 1)

    def test_a_watch_that_breaks_says_nothing_and_is_opened_again(self):
        server = Server(self, watch=True)
        self.configure([server], watch=True, **SLOW)
        self.wait_for(server, "healthy")
        self.link.wait(lambda: server.watches == 1, LIMIT_S)
        server.say(NOT_SERVING)
        self.wait_for(server, "unhealthy")
        server.say(None)
        self.wait_for(server, "healthy")  # as the checks say
        self.link.wait(lambda: server.watches == 2, LIMIT_S, "opened again")
        self.configure([server], watch=False, **SLOW)
        self.link.settle(0.5)
        self.assertEqual(self.link.state(server.port), "healthy")

    def test_a_target_without_watch_is_checked_as_ever(self):
        server = Server(self)
        self.configure([server], watch=True)
        self.wait_for(server, "healthy")
        self.link.settle(1)
        self.assertEqual([state for _, _, state in self.link.history if state == "unhealthy"], [])
        server.status = NOT_SERVING
        self.wait_for(server, "unhealthy")

    def test_a_target_that_flaps_is_heard_ten_times_a_second(self):
        server = Server(self, watch=True)
        self.configure([server], watch=True, **SLOW)
        self.wait_for(server, "healthy")
        self.link.wait(lambda: server.watches == 1, LIMIT_S)
        before, began = len(self.link.history), time.monotonic()
        server.say(*([NOT_SERVING, SERVING] * 3000), NOT_SERVING)
        self.link.wait(lambda: server.watchers[0].empty(), LIMIT_S, "all was said")
        self.wait_for(server, "unhealthy")
        took = time.monotonic() - began
        self.assertLessEqual(len(self.link.history) - before, took * 10 + 3)
        self.assertIsInstance(self.unary(1)[0], (bytes, grpc.RpcError))


if __name__ == "__main__":
    unittest.main()
