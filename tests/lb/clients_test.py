"""Real clients in three languages through the balancer, how evenly requests spread, and a target killed under load."""
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

from rig import CHAT, ROOT, Rig, run_chat_client, wait_until

CLIENTS = ROOT + "/tests/clients"


class Clients(Rig):
    def to(self, lb):
        return ["--address", f"127.0.0.1:{lb.port}", "--ca", self.ca, "--authority", "weir.test"]

    def run_client(self, *command):
        done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
        self.assertEqual(done.returncode, 0, f"{command}\n{done.stdout[-3000:]}{done.stderr[-3000:]}")

    def test_every_call_type_with_grpc_cpp_and_python(self):
        lb = self.balancer([s.port for s in self.chat_servers(3)])
        run_chat_client(self, lb.port, "all")
        self.run_client("/usr/bin/python3", CLIENTS + "/python/chat_client.py", *self.to(lb))

    def test_every_call_type_with_node(self):
        if shutil.which("npm") is None:
            self.skipTest("no npm")
        folder = os.environ.get("WEIR_NODE_CLIENT", "")
        if not folder:
            copy = tempfile.TemporaryDirectory(prefix="weir_node_")
            self.addCleanup(copy.cleanup)
            folder = copy.name + "/tests/clients/node"
            shutil.copytree(CLIENTS + "/node", folder, ignore=shutil.ignore_patterns("node_modules"))
            shutil.copytree(ROOT + "/examples/chat/proto", copy.name + "/examples/chat/proto")
            done = subprocess.run(["npm", "ci", "--no-audit", "--no-fund"], cwd=folder, capture_output=True, text=True,
                                  timeout=120, check=False)
            if done.returncode != 0:
                self.skipTest("npm ci: " + done.stderr[-300:])
        lb = self.balancer([s.port for s in self.chat_servers(2)])
        self.run_client("node", folder + "/chat_client.js", *self.to(lb))

    def shares(self, result):
        return {name: counts["all"] for name, counts in result["tasks"].items()}

    def load(self, lb, rpcs, connections):
        """The share of each of the four targets in a load of which nothing failed."""
        result = run_chat_client(self, lb.port, "load", "--rpcs", str(rpcs), "--connections", str(connections),
                                 "--concurrency", "64")
        self.assertEqual(result["failed"], 0)
        shares = self.shares(result)
        self.assertEqual(sum(shares.values()), rpcs)
        self.assertEqual(len(shares), 4)
        return shares

    def check_spread(self, lb, rpcs, connections, tolerance):
        for name, count in self.load(lb, rpcs, connections).items():
            self.assertAlmostEqual(count, rpcs / 4, delta=rpcs / 4 * tolerance, msg=name)

    def test_ten_thousand_rpcs_on_one_connection_spread_within_one_percent(self):
        lb = self.balancer([s.port for s in self.chat_servers(4)], "--workers", "2")
        self.check_spread(lb, 10000, 1, 0.01)

    def test_sixty_four_connections_and_two_workers_spread_within_two_percent(self):
        lb = self.balancer([s.port for s in self.chat_servers(4)], "--workers", "2")
        self.check_spread(lb, 10000, 64, 0.02)

    def test_least_outstanding_requests_starves_nobody(self):
        # How much each target gets follows how fast it answers, which the machine decides here; the exact placement of
        # streams that stay open is in balancing_test.
        lb = self.balancer([s.port for s in self.chat_servers(4)], "--workers", "2", "--algorithm",
                           "least_outstanding_requests")
        for name, count in self.load(lb, 10000, 16).items():
            self.assertGreater(count, 250, name)

    def test_a_killed_target_fails_only_the_streams_it_had_and_only_as_unavailable(self):
        servers = self.chat_servers(4)
        lb = self.balancer([s.port for s in servers], "--workers", "2")
        command = [CHAT + "/chat_client", "load", *self.to(lb), "--streams", "40", "--seconds", "4", "--stream-kinds",
                   "chat,watch,collect", "--message-interval", "20", "--unary-seconds", "4", "--concurrency", "16",
                   "--connections", "4"]
        load = self.start(command, stdout=subprocess.PIPE, text=True)
        time.sleep(1.5)
        servers[0].process.send_signal(signal.SIGKILL)
        output, _ = load.communicate(timeout=90)
        result = json.loads(output.strip().splitlines()[-1])
        codes = set()
        for kind in result["kinds"].values():
            codes |= set(kind["failures"])
        self.assertLessEqual(codes, {"UNAVAILABLE"}, output[-2000:])
        streams_failed = sum(k["failed"] for n, k in result["kinds"].items() if n != "say")
        self.assertLessEqual(streams_failed, 13, "more than the dead target's share of 40 streams")
        self.assertGreater(streams_failed, 0)
        self.assertLessEqual(result["kinds"]["say"]["failed"], 16, "new calls went to the dead target")
        self.assertGreater(result["kinds"]["say"]["ok"], 500)
        wait_until(lambda: lb.process.poll() is None, "the balancer lives")


if __name__ == "__main__":
    unittest.main()
