"""Access and connection logs of the running balancer, in ALB's form and as JSON."""
import glob
import json
import os
import re
import resource
import shlex
import socket
import threading
import time
import unittest

import grpc

import h2wire
from rig import LIMIT_S, Rig, free_port, wait_until
from seeing import EchoServer, http_get

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"


class Logs(Rig):
    def setUp(self):
        super().setUp()
        self.echo = EchoServer(self)
        self.logs = os.path.join(self.folder.name, self.id().rsplit(".", 1)[1])

    def logging_balancer(self, form, *options, targets=None, tls=True):
        return self.balancer([self.echo.port] if targets is None else targets, "--workers", "1", "--log-format", form,
                             "--access-log", self.logs + "/access", "--connection-log", self.logs + "/connection",
                             *options, tls=tls)

    def lines(self, kind, count, limit=LIMIT_S):
        """The lines of a log once there are as many."""
        found = []

        def enough():
            found.clear()
            for path in sorted(glob.glob(f"{self.logs}/{kind}/*/*/*/*.log")):
                with open(path, encoding="utf-8") as file:
                    found.extend(file.read().splitlines())
            return len(found) >= count
        wait_until(enough, f"{count} lines in the {kind} log", limit)
        return found

    def call(self, lb, method="Call", request=b"hello", tls=True, **keywords):
        return self.channel(lb.port, tls=tls).unary_unary("/test.Echo/" + method)(request, timeout=LIMIT_S, **keywords)

    def test_an_access_record_has_the_33_fields_of_alb(self):
        lb = self.logging_balancer("alb")
        self.call(lb, metadata=[("x-amzn-trace-id", "Root=1-67891233-abcdef012345678912345678")])
        fields = shlex.split(self.lines("access", 1)[0])
        self.assertEqual(len(fields), 33, fields)
        (kind, at, elb, client, target, request_s, target_s, response_s, status, target_status, received, sent, line,
         agent, cipher, protocol, group, trace, domain, certificate, rule, created, action, redirect, error, targets,
         statuses, _, _, connection, *_) = fields
        self.assertEqual((kind, elb, status, target_status), ("grpcs", "app/static/0000000000000000", "200", "200"))
        self.assertRegex(at, f"^{TIME}$")
        self.assertRegex(created, f"^{TIME}$")
        self.assertLessEqual(created, at)
        self.assertRegex(client, r"^127\.0\.0\.1:\d+$")
        self.assertNotEqual(client.rsplit(":", 1)[1], "0")
        self.assertEqual((target, targets, statuses), (f"127.0.0.1:{self.echo.port}",) * 2 + ("200",))
        for seconds in (request_s, target_s, response_s):
            self.assertRegex(seconds, r"^\d+\.\d{3}$")
        self.assertGreater(int(received), len("hello") + 5 + 50)
        self.assertGreater(int(sent), len("hello") + 5)
        self.assertEqual(line, f"POST https://weir.test:{lb.port}/test.Echo/Call HTTP/2.0")
        self.assertTrue(agent.startswith("grpc-python/"), agent)
        self.assertEqual((group, rule, action, redirect, error), ("static", "0", "forward", "-", "-"))
        self.assertTrue(trace.endswith("Root=1-67891233-abcdef012345678912345678"), trace)
        self.assertRegex(connection, r"^TID_[0-9a-f]{32}$")
        self.assertIn(protocol, ("TLSv1.3", "-"))
        del cipher, domain, certificate

    def test_files_are_named_like_alb_s_objects(self):
        lb = self.logging_balancer("alb")
        self.call(lb)
        self.lines("access", 1)
        path = glob.glob(self.logs + "/access/*/*/*/*.log")[0]
        match = re.search(r"/(\d{4})/(\d\d)/(\d\d)/000000000000_elasticloadbalancing_local_app\.static\.0{16}_"
                          r"(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)Z_127\.0\.0\.1_[0-9a-f]{8}\.log$", path)
        self.assertTrue(match, path)
        self.assertEqual(match.groups()[:3], match.groups()[3:6])
        self.assertEqual(int(match.group(8)) % 5, 0)
        connection = glob.glob(self.logs + "/connection/*/*/*/*.log")[0]
        self.assertTrue(os.path.basename(connection).startswith("conn_log_000000000000_elasticloadbalancing_"))

    def test_json_records_say_method_status_messages_and_target(self):
        lb = self.logging_balancer("json")
        channel = self.channel(lb.port)
        chat = channel.stream_stream("/test.Echo/Chat")
        self.assertEqual(len(list(chat(iter([b"a", b"bb", b"c" * 70000]), timeout=LIMIT_S))), 3)
        with self.assertRaises(grpc.RpcError):
            self.call(lb, "Fail")
        records = {r["grpc_method"]: r for r in map(json.loads, self.lines("access", 2))}
        stream = records["/test.Echo/Chat"]
        self.assertEqual((stream["request_messages"], stream["response_messages"]), (3, 3))
        self.assertEqual((stream["grpc_status"], stream["ended_by"], stream["attempts"]), (0, "target", 1))
        self.assertGreater(stream["received_bytes"], 70000)
        self.assertGreater(stream["sent_bytes"], 70000)
        self.assertEqual((stream["target_ip"], stream["target_port"]), ("127.0.0.1", self.echo.port))
        self.assertGreater(stream["duration"], 0)
        self.assertEqual(records["/test.Echo/Fail"]["grpc_status"], 5)
        connections = [json.loads(line) for line in self.lines("connection", 2)]
        self.assertIn(stream["conn_trace_id"], [c["conn_trace_id"] for c in connections])

    def test_a_cancelled_call_is_the_client_s_doing_with_status_460(self):
        lb = self.logging_balancer("json")
        call = self.channel(lb.port).unary_unary("/test.Echo/Hold").future(b"x")
        time.sleep(0.5)
        call.cancel()
        record = json.loads(self.lines("access", 1)[0])
        self.assertEqual((record["ended_by"], record["elb_status_code"], record["grpc_status"]), ("client", 460, 1))
        self.assertEqual(record["reason"], "the client cancelled")
        self.assertIsNone(record["target_processing_time"])

    def test_an_answer_of_our_own_says_why(self):
        lb = self.logging_balancer("json", targets=[])
        with self.assertRaises(grpc.RpcError):
            self.call(lb)
        record = json.loads(self.lines("access", 1)[0])
        self.assertEqual((record["ended_by"], record["elb_status_code"], record["grpc_status"]),
                         ("load_balancer", 503, 14))
        self.assertIn("no target", record["reason"])
        self.assertNotIn("target_ip", record)

    def test_the_idle_timeout_is_named_as_the_reason(self):
        lb = self.logging_balancer("json", "--idle-timeout", "1")
        with self.assertRaises(grpc.RpcError):
            self.call(lb, "Hold")
        record = json.loads(self.lines("access", 1)[0])
        self.assertEqual((record["ended_by"], record["elb_status_code"]), ("load_balancer", 504))
        self.assertIn("idle timeout", record["reason"])

    def test_hostile_header_values_cannot_forge_lines_or_break_json(self):
        for form in ("alb", "json"):
            self.logs = os.path.join(self.folder.name, "hostile_" + form)
            lb = self.logging_balancer(form)
            wire = h2wire.open_client(lb.port, self.ca)
            fields = [(k.encode(), v.encode()) for k, v in h2wire.request_fields("/test.Echo/Call")]
            wire.send_headers(1, fields + [(b"user-agent", b'evil" - - "\t\\ \xe9')])
            wire.send_data(1, h2wire.message(b""), end=True)
            wire.wait_for(lambda f: f.type == h2wire.HEADERS and f.flags & h2wire.END_STREAM)
            wire.close()
            line = self.lines("access", 1)[0]
            if form == "json":
                self.assertIn("evil", json.loads(line)["user_agent"])
            else:
                self.assertEqual(len(shlex.split(line)), 33, line)
                self.assertIn(r"evil\x22 - - \x22\x09\x5c \xe9", line)

    def test_a_failed_handshake_is_in_the_connection_log(self):
        lb = self.logging_balancer("alb")
        with socket.create_connection(("127.0.0.1", lb.port)) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
            sock.settimeout(LIMIT_S)
            try:
                while sock.recv(100):
                    pass
            except ConnectionError:
                pass
        fields = shlex.split(self.lines("connection", 1)[0])
        self.assertEqual(len(fields), 13, fields)
        self.assertRegex(fields[0], f"^{TIME}$")
        self.assertEqual(fields[1], "127.0.0.1")
        self.assertEqual(fields[3], str(lb.port))
        self.assertEqual(fields[10], "Failed:UnmappedConnectionError")
        self.assertRegex(fields[11], "^TID_[0-9a-f]{32}$")

    def test_health_checks_have_a_log_of_their_own(self):
        self.balancer([self.echo.port, free_port()], "--log-format", "json", "--health-check-log", self.logs + "/health",
                      "--health-check-path", "/test.Echo/Call")
        wait_until(lambda: {json.loads(line)["status"] for line in self.lines("health", 1)} == {"PASS", "FAIL"},
                   "checks of both targets", LIMIT_S)
        good = next(line for line in map(json.loads, self.lines("health", 2)) if line["status"] == "PASS")
        self.assertEqual((good["type"], good["target_port"], good["target_group"], good["status_code"]),
                         ("grpc", self.echo.port, "static", 0))

    def test_every_call_of_many_has_one_line(self):
        lb = self.logging_balancer("json")
        calls = [threading.Thread(target=lambda: [self.call(lb) for _ in range(50)]) for _ in range(4)]
        for each in calls:
            each.start()
        for each in calls:
            each.join()
        lines = self.lines("access", 200)
        self.assertEqual(len(lines), 200)
        for line in lines:
            json.loads(line)

    def test_a_full_disk_loses_records_counts_them_and_never_stalls_calls(self):
        port = free_port()
        command = ["--metrics", f"127.0.0.1:{port}"]
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))  # of the process to come
        try:
            lb = self.logging_balancer("json", *command)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        call = self.channel(lb.port).unary_unary("/test.Echo/Call")

        def lost():
            for _ in range(20):
                call(b"x", timeout=LIMIT_S)
            _, page = http_get(port, "/metrics")
            return int(re.search(r"^weir_log_records_lost_total\{[^}]*\} (\d+)", page, re.M).group(1)) > 0
        wait_until(lost, "records are lost and counted", LIMIT_S)
        for line in self.lines("access", 1):
            json.loads(line)  # whole lines only
        self.assertIn("records are lost", lb.said())

    def test_folders_that_cannot_be_made_are_said_and_calls_go_on(self):
        os.makedirs(self.logs)
        with open(self.logs + "/access", "w", encoding="ascii") as file:
            file.write("in the way")
        lb = self.logging_balancer("json")
        self.assertEqual(self.call(lb), b"hello")
        wait_until(lambda: "log file" in lb.said(), "the balancer says what is wrong", LIMIT_S)
        self.assertEqual(self.call(lb), b"hello")


if __name__ == "__main__":
    unittest.main()
