"""Drives the real `weir` binary: real containers, real gRPC clients. Needs root.

Each Machine has an own state directory and port, so that tests do not meet a stack that a person has up.
close() takes everything down, by the command first and by force if that fails, and reports leftovers.
"""
import contextlib
import glob
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("WEIR_BUILD", os.path.join(ROOT, "build", "dev"))
WEIR = os.path.join(BUILD, "weir")
CLIENT = os.path.join(BUILD, "examples", "chat", "chat_client")
SERVER = os.path.join(BUILD, "examples", "chat", "chat_server")
TEMPLATE = os.path.join(ROOT, "examples", "chat", "template.yaml")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def processes():
    """pid -> command line, of everything that runs."""
    found = {}
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            with open(path, "rb") as f:
                found[int(path.split("/")[2])] = f.read().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            pass
    return found


def wait_until(what, condition, seconds=20):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.1)
    raise AssertionError(f"not within {seconds} s: {what}")


class Machine:
    def __init__(self, port=None):
        self.state = tempfile.mkdtemp(prefix="weir-e2e-")
        self.port = port or free_port()
        self.environment = dict(os.environ, WEIR_STATE_DIR=self.state)
        self.before = self.footprint()

    # --- commands ---------------------------------------------------------------------------------------
    def weir(self, *arguments, seconds=120, check=True):
        done = subprocess.run([WEIR, *arguments], env=self.environment, cwd=ROOT, capture_output=True, text=True,
                              errors="replace", timeout=seconds, stdin=subprocess.DEVNULL)
        if check and done.returncode != 0:
            raise AssertionError(f"weir {' '.join(arguments)} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
                                 f"\n{self.logs()}")
        return done

    def import_image(self, name="chat:latest"):
        archive = os.path.join(self.state, "chat.tar")
        subprocess.run([os.path.join(ROOT, "examples", "chat", "make-image"), "--server", SERVER, "--output", archive],
                       check=True, capture_output=True)
        self.weir("image", "import", "docker-archive:" + archive, "--name", name)

    def up_arguments(self, template, stack, parameters):
        arguments = ["up", template, "--stack-name", stack, "--detach", "--map", f"443={self.port}"]
        for key, value in parameters.items():
            arguments += ["--parameters", f"{key}={value}"]
        return arguments

    def up(self, template=TEMPLATE, stack="chat", check=True, seconds=120, **parameters):
        return self.weir(*self.up_arguments(template, stack, parameters), check=check, seconds=seconds)

    def start_up(self, template=TEMPLATE, stack="chat", **parameters):
        """The same, without waiting for its end."""
        return subprocess.Popen([WEIR, *self.up_arguments(template, stack, parameters)], env=self.environment, cwd=ROOT,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True)

    def down(self, stack="chat", check=True):
        return self.weir("down", stack, check=check, seconds=180)

    def start_serve(self):
        """The control plane, where it is wanted before the first stack; close() ends it."""
        subprocess.Popen([WEIR, "serve", "--port", "0", "--state-dir", self.state], stdout=subprocess.DEVNULL,
                         stderr=subprocess.DEVNULL)
        wait_until("the control plane", lambda: os.path.exists(os.path.join(self.state, "api.sock")))

    def ask(self, method, path, body=None, **headers):
        """Asks the control plane over its unix socket; the text of the answer."""
        api = http.client.HTTPConnection("localhost", timeout=20)
        api.sock = socket.socket(socket.AF_UNIX)
        with contextlib.closing(api):
            api.sock.connect(os.path.join(self.state, "api.sock"))
            api.request(method, path, body, headers)
            answer = api.getresponse()
            text = answer.read().decode()
            assert answer.status == 200, text
            return text

    def status(self, stack="chat"):
        """The stack as `weir status` tells it."""
        return json.loads(self.weir("status", stack, "--output", "json").stdout)["Stacks"][0]

    def tasks(self):
        """Running tasks of the stack's service."""
        return [task for service in self.status()["Services"] for task in service["Tasks"]
                if task["LastStatus"] == "RUNNING" and task["DesiredStatus"] == "RUNNING"]

    def target_states(self):
        return [target["State"] for balancer in self.status()["LoadBalancers"] for group in balancer["TargetGroups"]
                for target in group["Targets"]]

    def ca(self):
        return self.weir("ca", "--path").stdout.strip()

    def client_arguments(self):
        return ["--address", f"127.0.0.1:{self.port}", "--ca", self.ca(), "--authority", "localhost"]

    def client(self, *arguments, seconds=120):
        """Runs chat_client; returns (exit code, the JSON of its last line, all output)."""
        done = subprocess.run([CLIENT, *self.client_arguments(), *arguments], capture_output=True, text=True,
                              timeout=seconds)
        return self.parse_client(done.returncode, done.stdout + done.stderr)

    def start_client(self, *arguments):
        return subprocess.Popen([CLIENT, *self.client_arguments(), *arguments], stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True, errors="replace")

    def end_client(self, process, seconds=120):
        output, _ = process.communicate(timeout=seconds)
        return self.parse_client(process.returncode, output)

    @staticmethod
    def parse_client(code, output):
        lines = [line for line in output.splitlines() if line.startswith("{")]
        return code, json.loads(lines[-1]) if lines else {}, output

    # --- what runs --------------------------------------------------------------------------------------
    def pids(self, words):
        """Processes with this machine's state directory and all the words in their command line."""
        return [pid for pid, line in processes().items() if self.state in line and all(w in line for w in words)]

    def serve_pid(self):
        found = self.pids(["/weir serve"])
        return found[0] if found else None

    def balancer_pids(self):
        return self.pids(["/weir lb "])

    def task_pids(self):
        return [pid for pid, line in processes().items() if line.split(" ")[0].endswith("/chat_server")
                and os.path.exists(f"/proc/{pid}/ns/net")
                and os.readlink(f"/proc/{pid}/ns/net") != os.readlink("/proc/self/ns/net")]

    def logs(self):
        text = ""
        for path in sorted(glob.glob(os.path.join(self.state, "**", "*.log"), recursive=True)):
            with open(path, errors="replace") as f:
                text += f"--- {os.path.basename(path)}\n{f.read()[-4000:]}\n"
        return text

    # --- leftovers --------------------------------------------------------------------------------------
    def footprint(self):
        def listing(path):
            try:
                return set(os.listdir(path))
            except OSError:
                return set()
        with open("/proc/self/mounts") as f:
            mounts = {line.split()[1] for line in f if "weir" in line}
        cgroups = {os.path.join(folder, name) for folder, names, _ in os.walk("/sys/fs/cgroup") for name in names
                   if "/weir/" in os.path.join(folder, name)}
        links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True).stdout
        instances = {n for n in listing("/run/weir") if n != "groups.lock"}
        return {"instances": instances, "namespaces": {n for n in listing("/run/netns") if n.startswith("weir")}, "mounts": mounts,
                "cgroups": cgroups, "links": {line.split(":")[1].strip() for line in links.splitlines()},
                "routes": set(subprocess.run(["ip", "route", "show", "table", "all"], capture_output=True,
                                             text=True).stdout.splitlines()),
                "rules": {subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True).stdout}}

    def leftovers(self):
        now = self.footprint()
        found = {key: sorted(now[key] - self.before[key]) for key in now if now[key] - self.before[key]}
        alive = self.pids([])
        alive = [pid for pid in alive if pid != os.getpid()]
        if alive:
            found["processes"] = [processes().get(pid, "?") for pid in alive]
        return found

    def close(self):
        try:
            for stack in ("chat", "static"):
                if self.serve_pid() or os.path.exists(os.path.join(self.state, "state.db")):
                    self.down(stack, check=False)
            self.weir("down", "--all", check=False)
        except (subprocess.TimeoutExpired, AssertionError) as error:
            print(f"teardown: {error}", file=sys.stderr)
        for pid in self.pids([]):
            if pid == os.getpid():
                continue
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        shutil.rmtree(self.state, ignore_errors=True)
