#!/usr/bin/env python3
"""One template, one command, streams through it: the whole line with the real binary and real containers."""
import glob
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from harness import ROOT, TEMPLATE, WEIR, Machine, wait_until  # noqa: E402


class ARunningStack(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.machine = Machine()
        cls.addClassCleanup(cls.machine.close)
        cls.machine.import_image()
        cls.machine.up(DesiredCount=2)

    def tasks(self):
        return self.machine.tasks()

    def scale(self, count):
        self.machine.up(DesiredCount=count)
        wait_until(f"{count} tasks", lambda: len(self.tasks()) == count, 60)
        wait_until("healthy targets", lambda: self.machine.target_states() == ["healthy"] * count, 30)

    def test_answers_every_call_type_of_the_cpp_client(self):
        code, report, output = self.machine.client("all")
        self.assertEqual(code, 0, output)
        self.assertTrue(report["ok"])

    def test_answers_the_python_client(self):
        done = subprocess.run(["/usr/bin/python3", os.path.join(ROOT, "tests/clients/python/chat_client.py"),
                               *self.machine.client_arguments()], capture_output=True, text=True, timeout=120)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_spreads_the_rpcs_of_one_connection_over_its_tasks(self):
        code, report, output = self.machine.client("load", "--rpcs", "4000", "--connections", "1", "--concurrency", "32")
        self.assertEqual(code, 0, output)
        counts = [task["say"] for task in report["tasks"].values()]
        self.assertEqual(len(counts), len(self.tasks()))
        self.assertLessEqual(max(counts) - min(counts), 0.01 * sum(counts), counts)

    def test_speaks_h2_over_tls_to_openssl(self):
        done = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{self.machine.port}", "-alpn", "h2",
                               "-CAfile", self.machine.ca(), "-verify_return_error", "-servername", "localhost"],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=30)
        self.assertIn("ALPN protocol: h2", done.stdout)
        self.assertIn("Verify return code: 0 (ok)", done.stdout)

    def test_scales_under_load_without_a_failed_rpc_or_stream(self):
        self.scale(2)
        unary = self.machine.start_client("load", "--unary-seconds", "25", "--connections", "4", "--concurrency", "16",
                                          "--rpc-interval", "5")
        streams = self.machine.start_client("load", "--streams", "60", "--seconds", "25", "--stream-seconds", "3",
                                            "--connections", "3")
        time.sleep(2)
        self.scale(4)
        time.sleep(2)
        self.scale(1)
        for process in (unary, streams):
            code, report, output = self.machine.end_client(process)
            self.assertEqual(code, 0, output)
            self.assertEqual(report["failed"], 0, output)
        self.scale(2)

    def test_streams_survive_the_death_of_the_control_plane(self):
        streams = self.machine.start_client("load", "--streams", "200", "--seconds", "12", "--stream-kinds", "chat",
                                            "--connections", "4")
        time.sleep(2)
        tasks = sorted(self.machine.task_pids())
        os.kill(self.machine.serve_pid(), signal.SIGKILL)
        time.sleep(1)
        code, report, output = self.machine.client("load", "--rpcs", "500")
        self.assertEqual(code, 0, output)
        self.assertEqual(len(self.tasks()), 2)  # `status` starts the control plane again
        self.assertIsNotNone(self.machine.serve_pid())
        self.assertEqual(sorted(self.machine.task_pids()), tasks)
        code, report, output = self.machine.end_client(streams)
        self.assertEqual(code, 0, output)
        self.assertEqual(report["failed"], 0, output)

    def test_a_drain_that_ends_without_the_control_plane_is_over_when_it_returns(self):
        self.scale(1)
        self.scale(2)  # a target that came by an update; the youngest goes first
        streams = self.machine.start_client("load", "--streams", "40", "--seconds", "8", "--stream-kinds", "chat",
                                            "--connections", "2")
        self.addCleanup(streams.kill)
        time.sleep(1)
        update = self.machine.start_up(DesiredCount=1)
        self.addCleanup(update.kill)
        wait_until("a target that drains", lambda: "draining" in self.machine.target_states())
        os.kill(self.machine.serve_pid(), signal.SIGKILL)
        update.communicate(timeout=60)  # it lost its server
        code, report, output = self.machine.end_client(streams)
        self.assertEqual(code, 0, output)
        self.assertEqual(report["failed"], 0, output)
        # Not after the deregistration delay of five minutes.
        wait_until("one task", lambda: len(self.tasks()) == 1, 40)
        wait_until("the end of the update", lambda: self.machine.status()["Status"] == "UPDATE_COMPLETE", 40)
        self.scale(2)

    def test_replaces_a_task_that_is_killed(self):
        before = {t["Id"] for t in self.tasks()}
        victim = self.machine.task_pids()[0]
        os.kill(victim, signal.SIGKILL)
        wait_until("a replacement", lambda: len(self.tasks()) == 2 and {t["Id"] for t in self.tasks()} != before, 40)
        wait_until("healthy targets", lambda: self.machine.target_states() == ["healthy", "healthy"], 20)
        code, report, output = self.machine.client("load", "--rpcs", "1000")
        self.assertEqual(code, 0, output)
        self.assertEqual(len(report["tasks"]), 2, output)

    def test_a_killed_balancer_is_back_within_a_second(self):
        balancer = self.machine.balancer_pids()
        self.assertEqual(len(balancer), 1)
        os.kill(balancer[0], signal.SIGKILL)
        killed = time.monotonic()
        wait_until("a new balancer", lambda: [p for p in self.machine.balancer_pids() if p != balancer[0]], 5)
        code, report, output = self.machine.client("load", "--rpcs", "200", "--wait-for-ready")
        self.assertEqual(code, 0, output)
        self.assertLess(time.monotonic() - killed, 10)
        self.assertNotIn("initial", self.machine.target_states())

    def test_the_task_port_answers_nobody_but_the_balancer(self):
        address = self.tasks()[0]["Address"]
        fabric = [n for n in os.listdir("/run/netns") if n.startswith("weir") and n not in self.machine.before["namespaces"]]
        probe = ("import socket,sys\ns=socket.socket(); s.settimeout(1.5)\n"
                 f"try: s.connect(('{address}', 50051)); print('open')\nexcept OSError as e: print(type(e).__name__)")
        answers = {}
        for name in fabric:
            done = subprocess.run(["nsenter", f"--net=/run/netns/{name}", sys.executable, "-c", probe],
                                  capture_output=True, text=True)
            answers[name] = done.stdout.strip()
        opened = [name for name, answer in answers.items() if answer == "open"]
        # The balancer's namespace reaches it, and the task itself over its own address.
        self.assertLessEqual(len(opened), 2, answers)
        self.assertGreaterEqual(len(opened), 1, answers)
        self.assertGreaterEqual(len(fabric) - len(opened), 2, answers)

    def test_logs_show_what_the_tasks_wrote(self):
        service = self.machine.status()["Services"][0]["Name"]
        self.assertIn("50051", self.machine.weir("logs", service).stdout)


class Seeing(unittest.TestCase):
    """Logs and metrics as a template switches them on, all the way through the control plane."""

    @classmethod
    def setUpClass(cls):
        cls.machine = Machine()
        cls.addClassCleanup(cls.machine.close)
        os.chmod(cls.machine.state, 0o711)  # the balancer's user writes into a folder below
        cls.machine.import_image()
        with open(TEMPLATE, encoding="utf-8") as f:
            template = f.read()
        place = "      LoadBalancerAttributes:\n"
        assert template.count(place) == 1
        switches = "".join(f"        - {{Key: {log}.s3.{key}, Value: \"{value}\"}}\n"
                           for log in ("access_logs", "connection_logs", "health_check_logs")
                           for key, value in (("enabled", "true"), ("bucket", "seen"), ("prefix", log)))
        path = os.path.join(cls.machine.state, "seeing.yaml")
        with open(path, "w", encoding="utf-8") as f:
            f.write(template.replace(place, place + switches))
        cls.machine.up(template=path, DesiredCount=1)

    def lines(self, log):
        """Of a log, as its bucket has them now."""
        found = []
        for path in glob.glob(os.path.join(self.machine.state, "s3", "seen", log, "**", "*.log"), recursive=True):
            with open(path, encoding="utf-8") as f:
                found += f.read().splitlines()
        return found

    def metric(self, name, *labels):
        """The sum of a metric over the lines that have the labels."""
        return sum(float(line.rsplit(" ", 1)[1]) for line in self.machine.ask("GET", "/metrics").splitlines()
                   if line.startswith(name + "{") and all(label in line for label in labels))

    def test_logs_and_metrics_tell_of_each_call(self):
        code, report, output = self.machine.client("load", "--rpcs", "300", "--connections", "2", "--concurrency", "4")
        self.assertEqual(code, 0, output)
        target = self.machine.tasks()[0]["Address"] + ":50051"
        calls = wait_until("the access log", lambda: len(self.lines("access_logs")) >= 300 and self.lines("access_logs"))
        for line in calls:
            fields = shlex.split(line)
            self.assertEqual(len(fields), 33, line)
            self.assertEqual([fields[0], fields[4], fields[8], fields[9]], ["grpcs", target, "200", "200"], line)
        said = [line for line in calls if "/Say HTTP/2.0" in line]
        self.assertEqual(len(said), 300)
        connections = wait_until("the connection log", lambda: self.lines("connection_logs"))
        self.assertTrue(any(" TLSv1.3 " in line for line in connections), connections)
        checks = wait_until("the health check log", lambda: self.lines("health_check_logs"))
        self.assertTrue(all(target in line for line in checks), checks)
        self.assertTrue(any(" PASS " in line for line in checks), checks)
        wait_until("300 calls in the metrics", lambda: self.metric("aws_applicationelb_RequestCount") >= 300)
        wait_until("300 calls of the method", lambda: self.metric(
            "weir_grpc_requests_total", "/Say\"", 'grpc_status="OK"') == 300)
        self.assertEqual(self.metric("weir_target_failures_total"), 0)
        self.assertGreaterEqual(self.metric("aws_applicationelb_HealthyHostCount"), 1)


class TearingDown(unittest.TestCase):
    def test_down_returns_the_machine_to_where_it_was(self):
        machine = Machine()
        self.addCleanup(machine.close)
        machine.import_image()
        machine.up(DesiredCount=2)
        machine.down()
        self.assertEqual(machine.leftovers(), {})


class BadInput(unittest.TestCase):
    def setUp(self):
        self.machine = Machine()
        self.addCleanup(self.machine.close)

    def refuse(self, done, *words):
        text = done.stdout + done.stderr
        self.assertNotEqual(done.returncode, 0, text)
        for word in words:
            self.assertIn(word, text)

    def test_a_taken_port_is_named_with_the_way_out(self):
        self.machine.import_image()
        with socket.socket() as s:
            s.bind(("127.0.0.1", self.machine.port))
            s.listen()
            done = self.machine.up(check=False)
        self.refuse(done, str(self.machine.port), "--map")
        self.machine.down(check=False)
        self.assertEqual(self.machine.leftovers(), {})

    def test_a_missing_image_is_named_and_rolled_back(self):
        done = self.machine.up(check=False, Image="nosuch:latest", seconds=180)
        self.refuse(done, "nosuch:latest", "weir image import")
        self.machine.down(check=False)
        self.assertEqual(self.machine.leftovers(), {})

    def test_a_container_that_exits_at_once_is_named_with_its_exit_code(self):
        archive = os.path.join(self.machine.state, "exits.tar")
        subprocess.run([os.path.join(ROOT, "tools", "make_image"), "--name", "exits:latest", "--output", archive,
                        "--file", "/bin/busybox:/bin/sh", "--entrypoint", '["/bin/sh", "-c", "exit 7"]'],
                       check=True, capture_output=True)
        self.machine.weir("image", "import", "docker-archive:" + archive, "--name", "exits:latest")
        done = self.machine.up(check=False, Image="exits:latest", seconds=240)
        self.refuse(done, "Essential container in task exited", "exit code 7")
        self.machine.down(check=False)
        self.assertEqual(self.machine.leftovers(), {})

    def test_a_broken_image_archive_is_refused_and_leaves_nothing(self):
        archive = os.path.join(self.machine.state, "broken.tar")
        with open(archive, "wb") as f:
            f.write(b"this is no archive" * 1000)
        done = self.machine.weir("image", "import", "docker-archive:" + archive, "--name", "broken:latest", check=False)
        self.refuse(done, "broken.tar")
        self.assertNotIn("broken", self.machine.weir("image", "list").stdout)

    def test_missing_rights_are_named_before_anything_happens(self):
        with tempfile.TemporaryDirectory() as folder:
            os.chmod(folder, 0o777)
            program = os.path.join(folder, "weir")
            shutil.copy(WEIR, program)
            template = os.path.join(folder, "template.yaml")
            shutil.copy(TEMPLATE, template)
            done = subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", program, "up", template,
                                   "--stack-name", "chat", "--detach", "--state-dir", os.path.join(folder, "state")],
                                  capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL, cwd=folder)
            self.refuse(done, "root")

    def test_a_wrong_desired_count_is_refused_before_anything_happens(self):
        done = self.machine.up(check=False, DesiredCount="many")
        self.refuse(done, "DesiredCount")
        self.machine.weir("down", "--all", check=False)
        self.assertEqual(self.machine.leftovers(), {})

    def test_all_mistakes_of_a_template_are_named_at_once_with_their_place(self):
        path = os.path.join(ROOT, "tests", "e2e", "mistakes.yaml")
        done = self.machine.up(template=path, check=False)
        text = done.stdout + done.stderr
        self.assertEqual(done.returncode, 2, text)
        with open(path) as f:
            wanted = [number for number, line in enumerate(f, 1) if "# wrong" in line]
        for number in wanted:
            self.assertIn(f"mistakes.yaml:{number}:", text)
        self.assertGreaterEqual(len(wanted), 10)


if __name__ == "__main__":
    if os.geteuid() != 0:
        print("needs root")
        sys.exit(77)
    unittest.main(verbosity=2)
