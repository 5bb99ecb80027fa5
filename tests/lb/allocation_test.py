"""In steady state the data path asks the heap for nothing: allocations are counted below it, OpenSSL's too."""
import json
import os
import re
import signal
import subprocess
import unittest

from rig import ROOT, Rig, free_port, wait_until

BENCH = os.environ.get("WEIR_BENCH", ROOT + "/build/dev/bench")
COUNT = os.environ.get("WEIR_COUNT", ROOT + "/build/dev/tests/lb/libweir_count_allocations.so")


class Allocations(Rig):
    def setUp(self):
        super().setUp()
        if not os.path.exists(BENCH + "/backend") or not os.path.exists(BENCH + "/loadgen"):
            self.skipTest("the bench tools are not built")
        self.target_port = free_port()
        self.start([BENCH + "/backend", "--listen", f"127.0.0.1:{self.target_port}"], stdout=subprocess.DEVNULL)
        self.lb = self.balancer([self.target_port], "--workers", "1", environment={"LD_PRELOAD": COUNT})

    def allocations(self):
        before = self.lb.said().count("allocations ")
        self.lb.process.send_signal(signal.SIGUSR2)
        wait_until(lambda: self.lb.said().count("allocations ") > before, "the counter answers")
        return int(re.findall(r"allocations (\d+)", self.lb.said())[-1])

    def per_operation(self, mode, *options):
        """From two runs of different lengths, so that setting up and tearing down cancels out."""
        def run(seconds):
            before = self.allocations()
            done = subprocess.run([BENCH + "/loadgen", "--address", f"127.0.0.1:{self.lb.port}", "--warmup", "0.2",
                                   "--seconds", str(seconds), "--mode", mode, *options], capture_output=True, text=True,
                                  timeout=60, check=False)
            result = json.loads(done.stdout.strip().splitlines()[-1])
            self.assertFalse(result["errors"], result)
            return self.allocations() - before, result["operations"]
        run(1)
        short, few = run(0.5)
        long, many = run(4)
        self.assertGreater(many - few, 5000, "too few operations to say anything")
        print(f"{mode}: {long - short} allocations in {many - few} operations")
        return (long - short) / (many - few)

    def test_unary_calls_allocate_nothing(self):
        self.assertLess(self.per_operation("unary", "--connections", "4", "--streams", "32"), 0.01)

    def test_messages_of_streams_allocate_nothing(self):
        self.assertLess(self.per_operation("pingpong", "--connections", "4", "--streams", "32"), 0.01)


if __name__ == "__main__":
    unittest.main()
