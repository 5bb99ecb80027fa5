"""Counters of the running balancer: ALB's names, grpc-status and methods, histograms; the endpoint and its limits."""
import re
import socket
import time
import unittest

import grpc

import h2wire
import link
from rig import LB, LIMIT_S, Rig, free_port, wait_until
from seeing import EchoServer, http_get


def parse(page):
    """{(name, frozenset of labels): value}; every line has to be well formed."""
    out = {}
    for line in page.splitlines():
        if line.startswith("#"):
            assert re.match(r"# (HELP|TYPE) [a-zA-Z_:][a-zA-Z0-9_:]* \S", line), line
            continue
        match = re.match(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? ([0-9.e+-]+)$', line)
        assert match, line
        labels = frozenset(re.findall(r'([a-zA-Z_]+)="((?:[^"\\]|\\.)*)"', match.group(2) or ""))
        assert (match.group(1), labels) not in out, "twice: " + line
        out[match.group(1), labels] = float(match.group(3))
    return out


class Metrics(Rig):
    def setUp(self):
        super().setUp()
        self.echo = EchoServer(self)
        self.metrics_port = free_port()

    def measured(self, targets=None, *options, tls=True):
        return self.balancer([self.echo.port] if targets is None else targets, "--workers", "2", "--metrics",
                             f"127.0.0.1:{self.metrics_port}", *options, tls=tls)

    def value(self, name, **labels):
        """The sum over all lines of that name which have these labels."""
        status, page = http_get(self.metrics_port, "/metrics")
        self.assertEqual(status, 200)
        wanted = set(labels.items())
        return sum(v for (n, have), v in parse(page).items() if n == name and wanted <= have)

    def call(self, lb, method="Call", request=b"hello"):
        return self.channel(lb.port).unary_unary("/test.Echo/" + method)(request, timeout=LIMIT_S)

    def test_calls_count_under_alb_s_names_and_dimensions(self):
        lb = self.measured()
        for _ in range(5):
            self.call(lb)
        alb = "aws_applicationelb_"
        balancer = {"LoadBalancer": "app/static/0000000000000000"}
        group = {**balancer, "TargetGroup": "static"}
        self.assertEqual(self.value(alb + "RequestCount", **group), 5)
        self.assertEqual(self.value(alb + "GrpcRequestCount", **group), 5)
        self.assertEqual(self.value(alb + "HTTPCode_Target_2XX_Count", **group), 5)
        self.assertEqual(self.value(alb + "TargetResponseTime_count", **group), 5)
        self.assertGreater(self.value(alb + "TargetResponseTime_sum", **group), 0)
        self.assertEqual(self.value(alb + "TargetResponseTime_bucket", le="+Inf", **group), 5)
        self.assertGreaterEqual(self.value(alb + "NewConnectionCount", **balancer), 6)
        self.assertGreaterEqual(self.value(alb + "ActiveConnectionCount", **balancer), 2)
        self.assertGreater(self.value(alb + "ProcessedBytes", **balancer), 5 * 2 * 10)
        self.assertEqual(self.value(alb + "HTTPCode_ELB_5XX_Count"), 0)

    def test_names_that_alb_calls_invalid_count(self):
        lb = self.measured()
        name = "aws_applicationelb_ForwardedInvalidHeaderRequestCount"
        self.call(lb)
        self.assertEqual(self.value(name), 0)
        self.channel(lb.port).unary_unary("/test.Echo/Call")(b"x", timeout=LIMIT_S, metadata=(("a.b_c", "1"),))
        self.assertEqual(self.value(name), 1)

    def test_bytes_and_requests_over_ipv6_are_told_apart(self):
        port = free_port()
        lb = self.measured(None, "--listen", f"[::1]:{port}", tls=False)
        self.call_clear(f"127.0.0.1:{lb.port}", b"x" * 1000)
        self.assertEqual(self.value("aws_applicationelb_IPv6ProcessedBytes"), 0)
        self.call_clear(f"[::1]:{port}", b"x" * 1000)
        self.assertEqual(self.value("aws_applicationelb_IPv6RequestCount"), 1)
        both = [self.value(f"aws_applicationelb_{name}ProcessedBytes") for name in ("", "IPv6")]
        self.assertGreater(both[1], 2000)
        self.assertLess(abs(both[0] - 2 * both[1]), 100)  # the same call came over IPv4

    def call_clear(self, address, request):
        with grpc.insecure_channel(address) as channel:
            channel.unary_unary("/test.Echo/Call")(request, timeout=LIMIT_S)

    def test_health_checks_show_as_hosts_and_count_as_no_requests(self):
        self.measured([self.echo.port, free_port()], "--health-check-path", "/test.Echo/Call")
        hosts = "aws_applicationelb_HealthyHostCount", "aws_applicationelb_UnHealthyHostCount"
        wait_until(lambda: [self.value(name, TargetGroup="static") for name in hosts] == [1, 1], "one of two is healthy")
        self.assertEqual(self.value("aws_applicationelb_RequestCount"), 0)

    def test_methods_and_statuses_have_counters_of_their_own(self):
        lb = self.measured()
        for _ in range(3):
            self.call(lb)
        for _ in range(2):
            with self.assertRaises(grpc.RpcError):
                self.call(lb, "Fail")
        many = self.channel(lb.port).unary_stream("/test.Echo/Many")
        self.assertEqual(len(list(many(b"100", timeout=LIMIT_S))), 100)
        name = "weir_grpc_requests_total"
        self.assertEqual(self.value(name, grpc_method="/test.Echo/Call", grpc_status="OK"), 3)
        self.assertEqual(self.value(name, grpc_method="/test.Echo/Fail", grpc_status="NOT_FOUND"), 2)
        self.assertEqual(self.value("weir_grpc_messages_total", grpc_method="/test.Echo/Many", direction="response"), 100)
        self.assertEqual(self.value("weir_grpc_messages_total", grpc_method="/test.Echo/Many", direction="request"), 1)
        self.assertEqual(self.value("weir_grpc_duration_seconds_count", grpc_method="/test.Echo/Call"), 3)

    def test_messages_of_a_stream_count_while_it_is_open(self):
        lb = self.measured()
        sent = []

        def requests():
            for i in range(1000):
                if self.echo.release.is_set():
                    return
                sent.append(i)
                yield b"m"
                if i == 4:
                    self.echo.release.wait(LIMIT_S)
        responses = self.channel(lb.port).stream_stream("/test.Echo/Chat")(requests())
        for _ in range(5):
            next(responses)
        count = "weir_grpc_messages_total"
        self.assertEqual(self.value(count, grpc_method="/test.Echo/Chat", direction="request"), 5)
        self.assertEqual(self.value("weir_grpc_streams", grpc_method="/test.Echo/Chat"), 1)
        self.assertEqual(self.value("weir_streams"), 1)
        self.echo.release.set()
        list(responses)
        wait_until(lambda: self.value("weir_grpc_streams", grpc_method="/test.Echo/Chat") == 0, "the stream ends")

    def test_answers_of_our_own_count_by_status(self):
        lb = self.measured([])
        for _ in range(3):
            with self.assertRaises(grpc.RpcError):
                self.call(lb)
        self.assertEqual(self.value("aws_applicationelb_HTTPCode_ELB_5XX_Count"), 3)
        self.assertEqual(self.value("aws_applicationelb_HTTPCode_ELB_503_Count"), 3)
        self.assertEqual(self.value("aws_applicationelb_RequestCount"), 0)
        self.assertEqual(self.value("weir_requests_ended_by_load_balancer_total"), 3)

    def test_a_target_that_refuses_connections_counts_connection_errors(self):
        lb = self.measured([free_port()])
        with self.assertRaises(grpc.RpcError):
            self.call(lb)
        wait_until(lambda: self.value("aws_applicationelb_TargetConnectionErrorCount", TargetGroup="static") >= 1,
                   "the error is counted")

    def test_failed_handshakes_count(self):
        lb = self.measured()
        with socket.create_connection(("127.0.0.1", lb.port)) as sock:
            sock.sendall(b"not TLS at all\r\n\r\n")
        wait_until(lambda: self.value("aws_applicationelb_ClientTLSNegotiationErrorCount") == 1, "it is counted")

    def test_invented_methods_cannot_fill_the_table_of_methods(self):
        lb = self.measured()
        wire = h2wire.open_client(lb.port, self.ca)
        for i in range(1500):
            stream = 2 * i + 1
            wire.send_headers(stream, h2wire.request_fields(f"/invented.Service/Method{i}"), end=True)
            wire.wait_for(lambda f, s=stream: f.stream == s and f.flags & h2wire.END_STREAM, LIMIT_S)
        wire.close()
        self.call(lb)
        _, page = http_get(self.metrics_port, "/metrics")
        names = {dict(labels)["grpc_method"] for (name, labels), _ in parse(page).items()
                 if name == "weir_grpc_duration_seconds_count"}
        self.assertLessEqual(len(names), 2 * 1001)
        self.assertIn("/test.Echo/Call", names)
        self.assertIn("other", names)
        self.assertEqual(self.value("weir_grpc_requests_total", grpc_status="UNIMPLEMENTED"), 1500)

    def test_the_endpoint_takes_get_metrics_and_nothing_else(self):
        self.measured()
        self.assertEqual(http_get(self.metrics_port, "/")[0], 404)
        self.assertEqual(http_get(self.metrics_port, "/metrics", "POST")[0], 405)
        self.assertEqual(http_get(self.metrics_port, "/" + "x" * 5000)[0], 400)

    def test_the_endpoint_closes_what_is_too_many_or_too_slow(self):
        self.measured()
        slow = [socket.create_connection(("127.0.0.1", self.metrics_port)) for _ in range(16)]
        time.sleep(0.5)
        with socket.create_connection(("127.0.0.1", self.metrics_port), timeout=LIMIT_S) as one_more:
            self.assertEqual(one_more.recv(10), b"")
        for sock in slow:
            sock.settimeout(LIMIT_S)
            self.assertEqual(sock.recv(10), b"")
            sock.close()
        self.assertEqual(http_get(self.metrics_port, "/metrics")[0], 200)

    def test_the_link_carries_the_counters(self):
        path = self.folder.name + "/link.sock"
        lb = self.balancer_on_link(path)
        lb.send(link.OPEN, link.listener_socket("l", "127.0.0.1", lb.port), [lb.listening.fileno()])
        lb.apply(1, link.snapshot(1, [link.listener("l")], [link.group([link.target(self.echo.port, last="healthy")],
                                                                      path="/test.Echo/Call")]))
        call = self.channel(lb.port, tls=False).unary_unary("/test.Echo/Call")
        for _ in range(4):
            call(b"x", timeout=LIMIT_S)

        def told():
            return lb.stats is not None and lb.methods.get("/test.Echo/Call", {}).get("ended") == 4
        lb.wait(told, LIMIT_S, "Stats with the method")
        self.assertGreaterEqual(lb.metrics["NewConnectionCount"], 2)
        self.assertEqual(lb.groups["group"]["RequestCount"], 4)

    def balancer_on_link(self, path):
        self.start([LB, "--link", path, "--workers", "2"])
        told = link.Link(path)
        self.addCleanup(told.close)
        told.listening = socket.create_server(("127.0.0.1", 0))
        told.listening.setblocking(False)  # the balancer shares it
        self.addCleanup(told.listening.close)
        told.port = told.listening.getsockname()[1]
        return told


if __name__ == "__main__":
    unittest.main()
