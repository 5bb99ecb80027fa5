"""Targets that fail, refuse, leave: what is sent again, what fails, and that nothing is executed twice."""
import struct
import threading
import time
import unittest

import grpc

import h2wire
from h2wire import Target, each_request, ok_response
from rig import LIMIT_S, Rig, free_port, wait_until


def echo(wire, target):
    def handle(stream, fields, body):
        target.count(fields.get("x-id", fields[":path"]))
        ok_response(wire, stream, body[5:])
    each_request(wire, handle)


class Failures(Rig):
    def target(self, script=echo, **keywords):
        target = Target(script, **keywords)
        self.addCleanup(target.close)
        return target

    def call(self, port, **keywords):
        return self.channel(port).unary_unary("/test.Test/Call"), keywords

    def run_calls(self, port, count, concurrent=20):
        """Calls with ids; returns {id: None or the error}."""
        call = self.channel(port).unary_unary("/test.Test/Call")
        results = {}
        pending = []
        for i in range(count):
            pending.append((str(i), call.future(b"m%d" % i, metadata=(("x-id", str(i)),), timeout=LIMIT_S)))
            if len(pending) >= concurrent:
                self.collect(pending, results)
                pending = []
        self.collect(pending, results)
        return results

    @staticmethod
    def collect(pending, results):
        for key, future in pending:
            error = future.exception()
            results[key] = None if error is None else (error.code(), error.details())

    def assert_all_ok_and_once(self, results, targets):
        self.assertEqual({k: v for k, v in results.items() if v}, {})
        for key in results:
            times = sum(t.executed[key] for t in targets)
            self.assertEqual(times, 1, f"request {key} was executed {times} times")

    def test_a_refused_stream_is_sent_to_another_target_and_executed_once(self):
        refused = []

        def refusing(wire, target):
            def handle(stream, fields, body):
                refused.append(fields["x-id"])
                wire.reset(stream, h2wire.REFUSED)
            each_request(wire, handle)
        bad, good = self.target(refusing), self.target()
        lb = self.balancer([bad.port, good.port])
        results = self.run_calls(lb.port, 200)
        self.assert_all_ok_and_once(results, [bad, good])
        self.assertGreater(len(refused), 50)

    def test_a_stream_refused_everywhere_fails_as_unavailable(self):
        def refusing(wire, target):
            each_request(wire, lambda stream, fields, body: wire.reset(stream, h2wire.REFUSED))
        lb = self.balancer([self.target(refusing).port])
        self.assertEqual(self.run_calls(lb.port, 1)["0"][0], grpc.StatusCode.UNAVAILABLE)

    def test_streams_above_goaways_last_id_are_sent_again_and_the_others_finish(self):
        def leaving(wire, target):
            """Serves three streams of each connection, says so, and closes when they are answered."""
            held = []

            def leave():
                last = sorted(s for s, _, _ in held)[:3][-1]
                wire.goaway(last)
                time.sleep(0.05)
                for s, f, b in list(held):
                    if s <= last:
                        target.count(f["x-id"])
                        ok_response(wire, s, b[5:])

            def handle(stream, fields, body):
                if not held:
                    threading.Timer(0.1, leave).start()
                held.append((stream, fields, body))
            each_request(wire, handle)
        bad, good = self.target(leaving), self.target()
        lb = self.balancer([bad.port, good.port])
        results = self.run_calls(lb.port, 160, concurrent=16)
        self.assert_all_ok_and_once(results, [bad, good])
        self.assertGreater(bad.connections, 2)

    def test_goaway_storms_harm_nobody(self):
        def storm(wire, target):
            def handle(stream, fields, body):
                target.count(fields["x-id"])
                for _ in range(5):
                    wire.goaway(stream)
                ok_response(wire, stream, body[5:])
            each_request(wire, handle)
        bad, good = self.target(storm), self.target()
        lb = self.balancer([bad.port, good.port])
        self.assert_all_ok_and_once(self.run_calls(lb.port, 100, concurrent=1), [bad, good])

    def test_a_target_that_refuses_connections_costs_no_request(self):
        good = self.target()
        lb = self.balancer([free_port(), good.port, free_port()])
        self.assert_all_ok_and_once(self.run_calls(lb.port, 100), [good])

    def test_without_a_living_target_calls_fail_as_unavailable_with_a_reason(self):
        lb = self.balancer([free_port()])
        code, details = self.run_calls(lb.port, 1)["0"]
        self.assertEqual(code, grpc.StatusCode.UNAVAILABLE)
        self.assertIn("refused", details.lower())

    def test_a_reset_after_the_request_left_is_never_sent_again(self):
        def dying(wire, target):
            def handle(stream, fields, body):
                target.count(fields["x-id"])
                wire.sock.setsockopt(h2wire.socket.SOL_SOCKET, h2wire.socket.SO_LINGER, struct.pack("ii", 1, 0))
                wire.close()
            each_request(wire, handle)
        bad, good = self.target(dying), self.target()
        lb = self.balancer([bad.port, good.port])
        results = self.run_calls(lb.port, 100, concurrent=1)
        failed = {k: v for k, v in results.items() if v}
        self.assertGreater(len(failed), 20)
        for key, (code, _) in failed.items():
            self.assertEqual(code, grpc.StatusCode.UNAVAILABLE)
            self.assertEqual(bad.executed[key], 1)
            self.assertEqual(good.executed[key], 0, "executed although another target had it")
        self.assertTrue(all(v == 1 for v in (bad.executed + good.executed).values()))

    def test_a_connection_that_closed_while_idle_fails_no_request(self):
        """The target closes after each answer; the next request must not be lost on the dead connection."""
        def one_shot(wire, target):
            def handle(stream, fields, body):
                target.count(fields["x-id"])
                ok_response(wire, stream, body[5:])
                wire.sock.shutdown(h2wire.socket.SHUT_WR)
            each_request(wire, handle)
        target = self.target(one_shot)
        lb = self.balancer([target.port])
        call = self.channel(lb.port).unary_unary("/test.Test/Call")
        for i in range(50):
            call(b"x", metadata=(("x-id", str(i)),), timeout=LIMIT_S)
            time.sleep(0.01)
        self.assertEqual(sum(target.executed.values()), 50)

    def test_more_streams_than_the_target_takes_open_more_connections(self):
        barrier = threading.Event()

        def small(wire, target):
            open_now = set()
            lock = threading.Lock()

            def handle(stream, fields, body):
                with lock:
                    if len(open_now) >= 10:
                        wire.reset(stream, h2wire.REFUSED)
                        return
                    open_now.add(stream)

                def later():
                    barrier.wait(LIMIT_S)
                    target.count(fields["x-id"])
                    with wire.lock:
                        block = wire.encode([(":status", "200"), ("content-type", "application/grpc"),
                                             ("grpc-status", "0")])
                        wire.send(h2wire.HEADERS, h2wire.END_HEADERS | h2wire.END_STREAM, stream, block)
                    open_now.discard(stream)
                threading.Thread(target=later, daemon=True).start()
            each_request(wire, handle)
        target = self.target(small, settings={3: 10})
        lb = self.balancer([target.port])
        call = self.channel(lb.port).unary_unary("/test.Test/Call")
        futures = [call.future(b"x", metadata=(("x-id", str(i)),), timeout=LIMIT_S) for i in range(100)]
        wait_until(lambda: target.connections >= 10, "ten connections")
        time.sleep(0.3)
        barrier.set()
        codes = [f.exception().code() if f.exception() else f.code() for f in futures]
        # A Trailers-Only OK has no message: grpc reports it as an error of the call's shape, not of transport.
        self.assertNotIn(grpc.StatusCode.UNAVAILABLE, codes)
        self.assertEqual(sum(target.executed.values()), 100)
        self.assertTrue(all(v == 1 for v in target.executed.values()))


if __name__ == "__main__":
    unittest.main()
