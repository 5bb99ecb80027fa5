#!/usr/bin/python3
"""The chat server against each client, nothing between them: what fails here is not the load balancer's.

    direct_test.py FOLDER_OF_CHAT_SERVER_AND_CHAT_CLIENT
"""
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))


@contextlib.contextmanager
def server(folder):
    """Yields the process and its address."""
    process = subprocess.Popen([folder + "/chat_server", "--address", "127.0.0.1:0"], stdout=subprocess.PIPE, text=True,
                               env=dict(os.environ, TASK_ID="direct"))
    try:
        port = re.search(r"port (\d+)", process.stdout.readline()).group(1)
        yield process, "127.0.0.1:" + port
    finally:
        process.kill()
        process.wait()


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    result = json.loads(done.stdout.strip().splitlines()[-1])
    if done.returncode != 0 or not result["ok"]:
        sys.exit(f"{command}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}")
    print("ok    ", os.path.basename(command[0]), os.path.basename(command[1]))
    return result


def clients_agree_with_the_server(folder, to):
    run(folder + "/chat_client", "all", *to)
    run("/usr/bin/python3", HERE + "/python/chat_client.py", *to)
    if os.path.isdir(HERE + "/node/node_modules"):
        run("node", HERE + "/node/chat_client.js", *to)
    else:
        print("node client left out: npm ci --prefix tests/clients/node")


def streams_survive_the_servers_stop(folder, process, to):
    """SIGTERM while streams are under way: each ends whole, then the server exits 0."""
    load = subprocess.Popen([folder + "/chat_client", "load", *to, "--streams", "12", "--seconds", "2", "--stream-kinds",
                             "chat,watch,collect", "--message-interval", "20"], stdout=subprocess.PIPE, text=True)
    time.sleep(0.7)
    process.send_signal(signal.SIGTERM)
    output, _ = load.communicate(timeout=60)
    result = json.loads(output.strip().splitlines()[-1])
    if load.returncode != 0 or result["failed"] or result["tasks"]["direct"]["all"] != 12:
        sys.exit(f"streams failed while the server stopped:\n{output}")
    if process.wait(timeout=30) != 0:
        sys.exit(f"the server's exit code is {process.returncode}")
    print("ok     12 streams ended whole after SIGTERM")


def main():
    folder = sys.argv[1]
    with server(folder) as (process, address):
        to = ("--plaintext", "--address", address)
        clients_agree_with_the_server(folder, to)
        result = run(folder + "/chat_client", "load", *to, "--rpcs", "5000", "--connections", "4")
        if result["kinds"]["say"] != {"total": 5000, "ok": 5000, "failed": 0, "failures": {}, "messages_sent": 5000,
                                      "messages_received": 5000}:
            sys.exit(f"load: {result}")
        streams_survive_the_servers_stop(folder, process, to)


main()
