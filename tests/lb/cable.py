"""A cable to another network namespace that can be cut: what hangs on its far end vanishes without a word.

A test that uses it begins with own_network(). Root, or a kernel that grants user namespaces; iproute2, util-linux.
"""
import ctypes
import os
import subprocess
import sys
import threading

INSIDE = "WEIR_TEST_OWN_NETWORK"
NEAR, FAR = "10.77.0.1", "10.77.0.2"
NOBODY = "02:00:00:00:00:99"  # a station that is not there


def own_network():
    """Runs this program again in a network namespace of its own, where nothing but loopback is."""
    if os.environ.get(INSIDE):
        return
    mode = "-n" if os.geteuid() == 0 else "-Urn"
    os.environ[INSIDE] = "1"
    os.execvp("unshare", ["unshare", mode, sys.executable, "-B", *sys.argv])


def ip(*words):
    subprocess.run(["ip", *words], check=True, capture_output=True)


class Cable:
    """Between this namespace (NEAR) and one whose only inhabitant is a process that sleeps (FAR)."""

    def __init__(self, test):
        ip("link", "set", "lo", "up")
        self.holder = test.start(["unshare", "-n", "sh", "-c", "echo; exec sleep infinity"], stdout=subprocess.PIPE)
        self.holder.stdout.readline()
        ip("link", "add", "name", "near", "type", "veth", "peer", "name", "far", "netns", str(self.holder.pid))
        test.addCleanup(lambda: ip("link", "delete", "near"))
        ip("address", "add", NEAR + "/24", "dev", "near")
        ip("link", "set", "near", "up")
        self.at_far(lambda: [ip("address", "add", FAR + "/24", "dev", "far"), ip("link", "set", "far", "up"),
                             ip("link", "set", "lo", "up")])

    def at_far(self, act):
        """act() of a thread that is in the far namespace; what it returns."""
        result = []

        def run():
            libc = ctypes.CDLL(None, use_errno=True)
            with open(f"/proc/{self.holder.pid}/ns/net", encoding="ascii") as space:
                if libc.setns(space.fileno(), 0) != 0:
                    raise OSError(ctypes.get_errno(), "setns")
            result.append(act())
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        if not result:
            raise AssertionError("the far end could not do it")
        return result[0]

    def cut(self):
        """No packet finds the other side any more, and nobody says so."""
        ip("neighbour", "replace", FAR, "lladdr", NOBODY, "dev", "near", "nud", "permanent")
        self.at_far(lambda: ip("neighbour", "replace", NEAR, "lladdr", NOBODY, "dev", "far", "nud", "permanent"))
