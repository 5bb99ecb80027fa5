"""Deadlines, cancellation, metadata, idle timeout and the balancer's own end, seen by stock grpcio on both sides."""
import concurrent.futures
import signal
import struct
import threading
import time
import unittest

import grpc

import h2wire
from h2wire import END_STREAM, Target, each_request, open_client, request_fields
from rig import LIMIT_S, Rig, wait_until


class Handler(grpc.GenericRpcHandler):
    """Messages are bytes. Methods by the last part of the path."""

    def __init__(self):
        self.cancelled = 0
        self.active = 0
        self.seen_metadata = {}
        self.lock = threading.Lock()

    def service(self, details):
        name = details.method.rsplit("/", 1)[1]
        self.seen_metadata[name] = details.invocation_metadata
        return {"Say": grpc.unary_unary_rpc_method_handler(self.say),
                "Sleep": grpc.unary_unary_rpc_method_handler(self.sleep),
                "Collect": grpc.stream_unary_rpc_method_handler(self.collect),
                "Empty": grpc.unary_stream_rpc_method_handler(lambda request, context: iter(())),
                "Fail": grpc.unary_unary_rpc_method_handler(self.fail),
                "Ticks": grpc.unary_stream_rpc_method_handler(self.ticks),
                "Echo": grpc.stream_stream_rpc_method_handler(self.echo)}.get(name)

    @staticmethod
    def say(request, context):
        context.send_initial_metadata([(k, v) for k, v in context.invocation_metadata() if k.startswith("x-echo")])
        context.set_trailing_metadata([("x-trailing-bin", bytes(range(256)))])
        return request

    def sleep(self, request, context):
        with self.lock:
            self.active += 1
        ended = threading.Event()

        def over():
            if not ended.is_set():
                with self.lock:
                    self.cancelled += 1
            ended.set()
        context.add_callback(over)
        ended.wait(float(request))
        ended.set()
        return b"slept"

    @staticmethod
    def collect(requests, context):
        return b"%d" % sum(1 for _ in requests)

    @staticmethod
    def fail(request, context):
        context.abort(grpc.StatusCode.DATA_LOSS, "it is gone: 100 % ☂")

    def ticks(self, request, context):
        count, pause = request.split()
        for i in range(int(count)):
            yield b"%d" % i
            time.sleep(float(pause))

    @staticmethod
    def echo(requests, context):
        yield from requests


class Lifecycle(Rig):
    def setUp(self):
        super().setUp()
        self.handler = Handler()
        server = grpc.server(concurrent.futures.ThreadPoolExecutor(100), options=[("grpc.so_reuseport", 0), ("grpc.max_metadata_size", 32768)])
        server.add_generic_rpc_handlers([self.handler])
        self.target_port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        self.addCleanup(lambda: server.stop(None))
        self.server = server

    def status_of(self, call, *arguments, **keywords):
        with self.assertRaises(grpc.RpcError) as caught:
            result = call(*arguments, **keywords)
            if hasattr(result, "__iter__") and not isinstance(result, bytes):
                list(result)
        return caught.exception

    def test_metadata_of_eight_kilobytes_and_binary_values_pass_both_ways(self):
        channel = self.channel(self.balancer([self.target_port]).port, [("grpc.max_metadata_size", 32768)])
        big = "v" * 8000
        response, call = channel.unary_unary("/t.T/Say").with_call(
            b"hi", metadata=(("x-echo-a", big[:4000]), ("x-echo-b", big[:4000]), ("x-echo-bin", bytes(range(256)))),
            timeout=LIMIT_S)
        self.assertEqual(response, b"hi")
        initial = dict(call.initial_metadata())
        self.assertEqual(initial["x-echo-a"], big[:4000])
        self.assertEqual(initial["x-echo-bin"], bytes(range(256)))
        self.assertEqual(dict(call.trailing_metadata())["x-trailing-bin"], bytes(range(256)))

    def test_targets_see_who_called(self):
        lb = self.balancer([self.target_port])
        self.channel(lb.port).unary_unary("/t.T/Say")(
            b"", metadata=(("x-forwarded-for", "198.51.100.7"), ("x-forwarded-proto", "gopher")), timeout=LIMIT_S)
        seen = dict(self.handler.seen_metadata["Say"])
        self.assertEqual(seen["x-forwarded-for"], "198.51.100.7, 127.0.0.1")
        self.assertEqual(seen["x-forwarded-proto"], "https")
        self.assertEqual(seen["x-forwarded-port"], str(lb.port))
        self.assertRegex(seen["x-amzn-trace-id"], r"^Root=1-[0-9a-f]{8}-[0-9a-f]{24}$")

    def test_streams_without_messages_either_way(self):
        channel = self.channel(self.balancer([self.target_port]).port)
        self.assertEqual(channel.stream_unary("/t.T/Collect")(iter(()), timeout=LIMIT_S), b"0")
        self.assertEqual(list(channel.unary_stream("/t.T/Empty")(b"", timeout=LIMIT_S)), [])
        self.assertEqual(list(channel.stream_stream("/t.T/Echo")(iter(()), timeout=LIMIT_S)), [])

    def test_errors_and_unknown_methods_arrive_as_the_target_sent_them(self):
        channel = self.channel(self.balancer([self.target_port]).port)
        error = self.status_of(channel.unary_unary("/t.T/Fail"), b"", timeout=LIMIT_S)
        self.assertEqual((error.code(), error.details()), (grpc.StatusCode.DATA_LOSS, "it is gone: 100 % ☂"))
        error = self.status_of(channel.unary_unary("/t.T/Nothing"), b"", timeout=LIMIT_S)
        self.assertEqual(error.code(), grpc.StatusCode.UNIMPLEMENTED)

    def test_the_balancer_enforces_grpc_timeout_and_the_target_hears_of_it(self):
        """A bare client, since a grpc client would end the call by itself."""
        lb = self.balancer([self.target_port])
        wire = open_client(lb.port, self.ca)
        self.addCleanup(wire.close)
        began = time.monotonic()
        wire.send_headers(1, request_fields("/t.T/Sleep", grpc_timeout="300m"))
        wire.send_data(1, h2wire.message(b"20"), end=True)
        frames = wire.wait_for(lambda f: f.stream == 1 and f.flags & END_STREAM)
        self.assertEqual(dict(frames[-1].headers)["grpc-status"], "4")
        self.assertTrue(0.29 < time.monotonic() - began < 1.5)
        wait_until(lambda: self.handler.cancelled == 1, "the target hears of it", 5)

    def test_cancel_reaches_the_target(self):
        channel = self.channel(self.balancer([self.target_port]).port)
        futures = [channel.unary_unary("/t.T/Sleep").future(b"20", timeout=LIMIT_S) for _ in range(20)]
        wait_until(lambda: self.handler.active == 20, "twenty calls at the target")
        for future in futures:
            future.cancel()
        wait_until(lambda: self.handler.cancelled == 20, "twenty cancelled", 5)

    def test_a_client_that_vanishes_cancels_its_streams(self):
        lb = self.balancer([self.target_port])
        wire = open_client(lb.port, self.ca)
        for i in range(1, 11, 2):
            wire.send_headers(i, request_fields("/t.T/Sleep"))
            wire.send_data(i, h2wire.message(b"20"), end=True)
        wait_until(lambda: self.handler.active == 5, "five calls at the target")
        wire.close()
        wait_until(lambda: self.handler.cancelled == 5, "five cancelled", 5)

    def test_idle_streams_end_with_unavailable_and_a_reason_and_busy_ones_go_on(self):
        lb = self.balancer([self.target_port], "--idle-timeout", "1")
        channel = self.channel(lb.port)
        busy = channel.unary_stream("/t.T/Ticks")(b"8 0.4", timeout=LIMIT_S)
        began = time.monotonic()
        error = self.status_of(channel.unary_unary("/t.T/Sleep"), b"20", timeout=LIMIT_S)
        self.assertEqual(error.code(), grpc.StatusCode.UNAVAILABLE)
        self.assertIn("idle timeout", error.details())
        self.assertTrue(0.95 < time.monotonic() - began < 3)
        self.assertEqual(len(list(busy)), 8)

    def test_a_connection_has_as_many_streams_as_the_option_says_and_one_more_is_refused(self):
        lb = self.balancer([self.target_port], "--client-streams", "3")
        wire = open_client(lb.port, self.ca)
        settings = wire.wait_for(lambda f: f.type == h2wire.SETTINGS and f.payload)[-1].payload
        self.assertIn(struct.pack(">HI", 3, 3), [settings[i:i + 6] for i in range(0, len(settings), 6)])
        for i in range(1, 9, 2):
            wire.send_headers(i, request_fields("/t.T/Sleep"))
            wire.send_data(i, h2wire.message(b"20"), end=True)
        refused = wire.wait_for(lambda f: f.type == h2wire.RST)[-1]
        self.assertEqual((refused.stream, refused.payload), (7, struct.pack(">I", h2wire.REFUSED)))
        wire.close()

    def test_sigterm_lets_running_streams_finish_and_the_process_ends(self):
        lb = self.balancer([self.target_port])
        lb.expected_to_end = True
        channel = self.channel(lb.port)
        streams = [channel.unary_stream("/t.T/Ticks")(b"15 0.2", timeout=LIMIT_S) for _ in range(10)]
        for stream in streams:
            next(stream)
        lb.process.send_signal(signal.SIGTERM)
        for stream in streams:
            self.assertEqual(len(list(stream)), 14)
        self.assertEqual(lb.process.wait(LIMIT_S), 0)

    def test_a_client_with_a_second_address_loses_no_call_while_the_first_balancer_ends(self):
        first, second = self.balancer([self.target_port]), self.balancer([self.target_port])
        first.expected_to_end = True
        addresses = f"127.0.0.1:{first.port},127.0.0.1:{second.port}"
        with open(self.ca, "rb") as file:
            credentials = grpc.ssl_channel_credentials(file.read())
        channel = grpc.secure_channel("ipv4:" + addresses, credentials, [
            ("grpc.ssl_target_name_override", "weir.test"), ("grpc.lb_policy_name", "round_robin"),
            ("grpc.service_config", '{"loadBalancingConfig":[{"round_robin":{}}]}')])
        self.addCleanup(channel.close)
        call = channel.unary_unary("/t.T/Say")
        failures, calls, stopping = [], [0], threading.Event()

        def run():
            while not stopping.is_set():
                try:
                    call(b"x", timeout=LIMIT_S)
                    calls[0] += 1
                except grpc.RpcError as error:
                    failures.append(f"{error.code()} {error.details()}")
        threads = [threading.Thread(target=run) for _ in range(4)]
        for thread in threads:
            thread.start()
        time.sleep(0.5)
        first.process.send_signal(signal.SIGTERM)
        self.assertEqual(first.process.wait(LIMIT_S), 0)
        time.sleep(0.3)
        stopping.set()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])
        self.assertGreater(calls[0], 50)

    def test_health_checks_take_a_target_out_and_bring_it_back(self):
        serving = {"payload": b"\x08\x01"}
        calls = []

        def checked(wire, target):
            def handle(stream, fields, body):
                if fields[":path"] == "/grpc.health.v1.Health/Check":
                    self.assertEqual(fields["user-agent"], "ELB-HealthChecker/2.0")
                    return h2wire.ok_response(wire, stream, serving["payload"])
                calls.append(stream)
                return h2wire.ok_response(wire, stream)
            each_request(wire, handle)
        target = Target(checked)
        self.addCleanup(target.close)
        lb = self.balancer([target.port], "--health-check-path", "/grpc.health.v1.Health/Check")
        wait_until(lambda: "state=healthy" in lb.said(), "healthy after the first check", 5)
        self.channel(lb.port).unary_unary("/t.T/Say")(b"", timeout=LIMIT_S)
        self.assertEqual(len(calls), 1)


if __name__ == "__main__":
    unittest.main()
