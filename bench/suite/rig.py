"""Processes of one measurement: backends, a proxy, the load generator; each on its cpu, all ended afterwards."""
import contextlib
import json
import mmap
import os
import random
import signal
import socket
import subprocess
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class Failure(Exception):
    """A measurement that cannot be made; its text is for the reader."""


def free_ports(count):
    """Ports nobody listens on, below the range that the kernel gives to clients."""
    found = set()
    while len(found) < count:
        port = random.randrange(12000, 32000)
        with contextlib.suppress(OSError), socket.socket() as s:
            s.bind(("127.0.0.1", port))
            found.add(port)
    return list(found)


def descendants(pid):
    """The process and all it has started, read from /proc."""
    parents = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{entry}/stat", encoding="utf-8") as f:
                parents[int(entry)] = int(f.read().rsplit(")", 1)[1].split()[1])
    found = [pid]
    for parent in found:
        found += [child for child, of in parents.items() if of == parent]
    return found


def pss_kib(pids):
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/smaps_rollup", encoding="utf-8") as f:
            total += sum(int(line.split()[1]) for line in f if line.startswith("Pss:"))
    return total


def pin(pid, cpus):
    for task in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(int(task), cpus)


@contextlib.contextmanager
def running(command, cpus, log, **options):
    """A process of ours on these cpus, and what it started; ended when the block is left, however it is left."""
    with open(log, "ab") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True,
                                   preexec_fn=lambda: os.sched_setaffinity(0, cpus), **options)
    try:
        yield process
    finally:
        family = descendants(process.pid)
        process.terminate()
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pid in family[1:]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def touch_memory():
    """A virtual machine gets memory when it first touches it, which costs several times what is done with it then; and
    logs fill gigabytes of page cache. So memory is touched before anything is measured."""
    size = min(2 << 30, os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 4)
    mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE).close()


class Bench:
    """Backends that live as long as the run, and a fresh proxy for each measurement."""

    def __init__(self, options, folder, peers):
        self.options, self.folder, self.peers = options, folder, peers
        self.backends = {}  # kind: [process]
        self.targets = {}   # kind: [(address, port)]
        self.files = {"cert": folder + "/cert.pem", "key": folder + "/key.pem", "both": folder + "/both.pem"}
        touch_memory()
        proxy, load = options.cpus
        self.proxy_cpu, self.load_cpu, self.both_cpus = {proxy}, {load}, {proxy, load}
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                        "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext",
                        "subjectAltName=DNS:localhost,IP:127.0.0.1",
                        "-keyout", self.files["key"], "-out", self.files["cert"]], check=True, capture_output=True)
        with open(self.files["both"], "w", encoding="utf-8") as out:
            for part in ("cert", "key"):
                with open(self.files[part], encoding="utf-8") as f:
                    out.write(f.read())

    def tool(self, name):
        program = os.path.join(self.options.tools, name)
        if not os.access(program, os.X_OK):
            raise Failure(f"{program} is missing; build it: cmake --build --preset release --target bench_{name}")
        return program

    def start_backends(self, stack, kinds):
        """raw and grpc: two servers of one address each; many: two servers of 500 addresses each."""
        for kind in kinds:
            program = self.tool("grpc_backend" if kind == "grpc" else "backend")
            addresses = [["127.0.0.1"], ["127.0.0.1"]]
            if kind == "many":
                addresses = [[f"127.77.{block}.{i}" for block in blocks for i in range(1, 251)]
                             for blocks in ((0, 1), (2, 3))]
            self.backends[kind], served = [], []
            for mine, port in zip(addresses, free_ports(2)):
                listen = [part for a in mine for part in ("--listen", f"{a}:{port}")]
                self.backends[kind].append(stack.enter_context(running(
                    [program, *listen], self.load_cpu, self.folder + "/backends.log")))
                served.append([(a, port) for a in mine])
            self.targets[kind] = [t for pair in zip(*served) for t in pair]  # first server, second, first ...

    def pin_backends(self, kind, cpus):
        for process in self.backends[kind]:
            pin(process.pid, cpus)

    def loadgen(self, port, arguments, cpus, **options):
        address = f"127.0.0.1:{port}" if isinstance(port, int) else port
        command = [self.tool("loadgen"), "--address", address, *arguments]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True,
                                preexec_fn=lambda: os.sched_setaffinity(0, cpus), **options)

    def load(self, port, arguments, cpus, limit):
        """Runs the generator to its end; its JSON line."""
        process = self.loadgen(port, arguments, cpus)
        try:
            output, _ = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return {"operations": 0, "errors": {"did not end": 1}}
        lines = output.strip().splitlines()
        return json.loads(lines[-1]) if lines else {"operations": 0, "errors": {"no output": 1}}

    @contextlib.contextmanager
    def proxy(self, name, targets, cpus=None, prefix=(), patience=15, **settings):
        """A fresh proxy that answers; yields its port and its pids. "direct" is the first target itself."""
        peer = self.peers[name]
        if peer.program is None:
            yield "%s:%d" % targets[0], []
            return
        folder = f"{self.folder}/{name}"
        os.makedirs(folder, exist_ok=True)
        world = dict(self.files, dir=folder, port=free_ports(1)[0], targets=targets, **settings)
        log = f"{self.folder}/{name}.log"
        with contextlib.ExitStack() as stack:
            command = [*prefix, *peer.command(world)]
            process = stack.enter_context(running(command, cpus or self.proxy_cpu, log))
            pids = []
            try:
                stack.enter_context(peer.configured(world, patience))
                deadline = time.monotonic() + patience
                while not pids:
                    tried = self.load(world["port"], ["--warmup", "0.05", "--seconds", "0.1"], self.load_cpu, 30)
                    if tried["operations"] > 0 and not tried["errors"]:
                        pids = descendants(process.pid)
                    elif process.poll() is not None or time.monotonic() > deadline:
                        raise Failure(f"{name} does not serve: {tried['errors']}")
                    else:
                        time.sleep(0.1)
            except (Failure, OSError, AssertionError) as error:
                with open(log, encoding="utf-8", errors="replace") as f:
                    raise Failure(f"{error}\n{f.read()[-2000:]}") from error
            yield world["port"], pids
