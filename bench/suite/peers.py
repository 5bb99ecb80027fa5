"""The proxies that are measured, each configured as a competent administrator would for gRPC: one worker,
TLS 1.3 in front, HTTP/2 cleartext to the targets, connections kept, no access log, the client's address
passed on, timeouts that let streams live. What differs from defaults says why.
"""
import contextlib
import os
import re
import shutil
import subprocess

from . import balancer

HOUR = "1h"

NGINX = """
daemon off;
worker_processes 1;
worker_rlimit_nofile 20000;
pid {dir}/nginx.pid;
error_log {dir}/nginx.log crit;
events {{
  worker_connections 20000;
  multi_accept on;
}}
http {{
  access_log off;
  client_body_temp_path {dir}/body;
  proxy_temp_path {dir}/proxy;
  fastcgi_temp_path {dir}/fastcgi;
  uwsgi_temp_path {dir}/uwsgi;
  scgi_temp_path {dir}/scgi;
  http2_max_concurrent_streams 128;
  http2_chunk_size 16k;
  keepalive_requests 100000000;      # else each connection ends after 1000 RPCs
  keepalive_timeout {hour};
  client_max_body_size 0;
  client_body_timeout {hour};
  grpc_read_timeout {hour};
  grpc_send_timeout {hour};
  upstream targets {{
    {servers}
    keepalive 1024;                  # one connection per RPC in flight: keep them all
    keepalive_requests 100000000;
    keepalive_timeout {hour};
  }}
  server {{
    listen 127.0.0.1:{port} ssl{listen_http2} backlog=1024;
    {http2}
    ssl_certificate {cert};
    ssl_certificate_key {key};
    ssl_protocols TLSv1.3;
    grpc_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    grpc_set_header X-Forwarded-Proto $scheme;
    location / {{ grpc_pass grpc://targets; }}
    location /bench.Bulk {{ grpc_pass grpc://targets; grpc_buffer_size 64k; }}
  }}
}}
"""

HAPROXY = """
global
  nbthread 1
  maxconn 9000
  ssl-default-bind-ciphersuites TLS_AES_128_GCM_SHA256
  {h2}
defaults
  mode http
  timeout connect 5s
  timeout client {hour}
  timeout server {hour}
  option forwardfor
  http-reuse always                  # RPCs of all clients share the connections to a target
frontend grpc
  bind 127.0.0.1:{port} ssl crt {both} alpn h2
  http-request set-header X-Forwarded-Proto https
  default_backend targets
backend targets
  balance roundrobin
  {servers}
"""
# Initial windows: the default of 64 KiB holds bulk streams back. Since 2.8 both sides have their own settings.
HAPROXY_H2_OLD = """tune.h2.initial-window-size 262144
  tune.h2.max-concurrent-streams 128"""
HAPROXY_H2_NEW = """tune.h2.fe.initial-window-size 262144
  tune.h2.be.initial-window-size 262144
  tune.h2.fe.max-concurrent-streams 128
  tune.h2.be.max-concurrent-streams 1000"""


class Peer:
    """One proxy: its program, and how it is started. `program` None: no proxy, the targets themselves."""

    def __init__(self, name, program):
        self.name, self.program = name, program
        self.version = self.ask_version() if program else "no proxy"

    def ask_version(self):
        done = subprocess.run([self.program, "--version" if self.name.startswith("weir") else "-v"],
                              capture_output=True, text=True, check=False)
        lines = (done.stdout + done.stderr).strip().splitlines()
        return lines[0] if done.returncode == 0 and lines else "unknown"

    def newer_than(self, *wanted):
        found = re.search(r"(\d+)\.(\d+)\.?(\d*)", self.version)
        return bool(found) and tuple(int(part or 0) for part in found.groups()) >= wanted

    def command(self, world):
        """Writes the configuration; returns the command line."""
        raise NotImplementedError

    @contextlib.contextmanager
    def configured(self, world, patience):
        """What has to be done once it runs."""
        del world, patience
        yield

    def describe(self):
        """Command line and configuration, for the report."""
        world = {"dir": "DIR", "port": 443, "targets": [("TARGET-A", 1), ("TARGET-B", 2)], "cert": "cert.pem",
                 "key": "key.pem", "both": "both.pem"}
        return " ".join(self.command_line(world)), self.configuration(world)

    def command_line(self, world):
        raise NotImplementedError

    def configuration(self, world):
        del world
        return ""


class WithFile(Peer):
    """A proxy with a file of settings."""

    def command(self, world):
        with open(os.path.join(world["dir"], self.name + ".conf"), "w", encoding="utf-8") as f:
            f.write(self.configuration(world))
        return self.command_line(world)


class Nginx(WithFile):
    def command_line(self, world):
        folder = world["dir"]
        return [self.program, "-p", folder, "-e", folder + "/nginx.log", "-c", f"{folder}/{self.name}.conf"]

    def configuration(self, world):
        own_line = self.newer_than(1, 25, 1)  # "listen ... http2" is deprecated from there on
        servers = "\n    ".join(f"server {a}:{p};" for a, p in world["targets"])
        return NGINX.format(**world, hour=HOUR, servers=servers, listen_http2="" if own_line else " http2",
                            http2="http2 on;" if own_line else "")


class Haproxy(WithFile):
    def command_line(self, world):
        return [self.program, "-f", f"{world['dir']}/{self.name}.conf", "-db", "-q"]

    def configuration(self, world):
        servers = "\n  ".join(f"server t{i} {a}:{p} proto h2" for i, (a, p) in enumerate(world["targets"]))
        return HAPROXY.format(**world, hour=HOUR, servers=servers,
                              h2=HAPROXY_H2_NEW if self.newer_than(2, 8, 0) else HAPROXY_H2_OLD)


class Nghttpx(WithFile):
    def configuration(self, world):
        return ""  # none of the machine's own: all is on the command line

    def command_line(self, world):
        command = [self.program, f"--conf={world['dir']}/{self.name}.conf", f"--frontend=127.0.0.1,{world['port']}"]
        command += [f"--backend={address},{port};/;proto=h2" for address, port in world["targets"]]
        return command + [
            "--workers=1", "--no-ocsp", "--frontend-http2-max-concurrent-streams=128",
            "--backend-http2-max-concurrent-streams=1000",
            "--backend-http2-window-size=256K", "--backend-http2-connection-window-size=16M",
            "--add-x-forwarded-for", "--no-via", "--no-server-rewrite", "--accesslog-file=/dev/null",
            f"--errorlog-file={world['dir']}/nghttpx.log", "--frontend-http2-read-timeout=" + HOUR,
            "--backend-read-timeout=" + HOUR, "--stream-read-timeout=" + HOUR, "--stream-write-timeout=" + HOUR,
            world["key"], world["cert"]]


class Weir(Peer):
    def command(self, world):
        return self.command_line(world)

    def command_line(self, world):
        return balancer.command(self.program, world)

    def configured(self, world, patience):
        return balancer.configured(dict(world, full=self.full), patience)

    def configuration(self, world):
        return balancer.settings(self.full)

    @property
    def full(self):
        return self.name == "weir-full"


class Direct(Peer):
    def command_line(self, world):
        return []


KINDS = {"weir": Weir, "weir-full": Weir, "nghttpx": Nghttpx, "haproxy": Haproxy, "nginx": Nginx}


def find(names, paths):
    """{name: Peer} of those that are here. `paths`: {name: program} given by hand."""
    found = {}
    for name in names:
        program = paths.get(name.split("-")[0])
        if program is None:
            program = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
        if program and os.access(program, os.X_OK):
            found[name] = KINDS[name](name, program)
    return found
