"""The proxies that bench/compare measures, each configured as a competent administrator would for gRPC:
one worker, TLS 1.3 in front, HTTP/2 cleartext to two targets, connections kept, no access log, the
client's address passed on, timeouts that let streams live. What differs from defaults says why.
"""
import os
import shutil
import subprocess
import sys

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
  client_max_body_size 0;
  client_body_timeout {hour};
  grpc_read_timeout {hour};
  grpc_send_timeout {hour};
  upstream targets {{
    server 127.0.0.1:{targets[0]};
    server 127.0.0.1:{targets[1]};
    keepalive 1024;                  # one connection per RPC in flight: keep them all
    keepalive_requests 100000000;
  }}
  server {{
    listen 127.0.0.1:{port} ssl http2 backlog=1024;
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
  tune.h2.initial-window-size 262144   # the default of 64 KiB holds bulk streams back
  tune.h2.max-concurrent-streams 128
defaults
  mode http
  timeout connect 5s
  timeout client {hour}
  timeout server {hour}
  option forwardfor
  http-reuse always
frontend grpc
  bind 127.0.0.1:{port} ssl crt {both} alpn h2
  http-request set-header X-Forwarded-Proto https
  default_backend targets
backend targets
  balance roundrobin
  server a 127.0.0.1:{targets[0]} proto h2
  server b 127.0.0.1:{targets[1]} proto h2
"""


def nginx(world):
    config = os.path.join(world["dir"], "nginx.conf")
    with open(config, "w", encoding="utf-8") as f:
        f.write(NGINX.format(hour=HOUR, **world))
    return [shutil.which("nginx") or "/usr/sbin/nginx", "-p", world["dir"], "-e", world["dir"] + "/nginx.log",
            "-c", config]


def haproxy(world):
    config = os.path.join(world["dir"], "haproxy.cfg")
    with open(config, "w", encoding="utf-8") as f:
        f.write(HAPROXY.format(hour=HOUR, **world))
    return [shutil.which("haproxy") or "/usr/sbin/haproxy", "-f", config, "-db", "-q"]


def nghttpx(world):
    config = os.path.join(world["dir"], "nghttpx.conf")
    open(config, "w", encoding="utf-8").close()
    command = ["nghttpx", "--conf=" + config, f"--frontend=127.0.0.1,{world['port']}"]
    command += [f"--backend=127.0.0.1,{port};/;proto=h2" for port in world["targets"]]
    return command + [
        "--workers=1", "--no-ocsp", "--frontend-http2-max-concurrent-streams=128",
        "--backend-http2-max-concurrent-streams=1000",
        "--backend-http2-window-size=256K", "--backend-http2-connection-window-size=16M",
        "--add-x-forwarded-for", "--no-via", "--no-server-rewrite", "--accesslog-file=/dev/null",
        "--errorlog-file=" + world["dir"] + "/nghttpx.log", "--frontend-http2-read-timeout=" + HOUR,
        "--backend-read-timeout=" + HOUR, "--stream-read-timeout=" + HOUR, "--stream-write-timeout=" + HOUR,
        world["key"], world["cert"]]


def weir(world):
    command = [world["weir"], "lb", "--listen", f"127.0.0.1:{world['port']}", "--cert", world["cert"],
               "--key", world["key"], "--workers", "1", "--idle-timeout", "3600"]
    for port in world["targets"]:
        command += ["--target", f"127.0.0.1:{port}"]
    return command


PEERS = {"weir": weir, "nghttpx": nghttpx, "haproxy": haproxy, "nginx": nginx}


def version(name, world):
    command = {"nginx": ["nginx", "-v"], "haproxy": ["haproxy", "-v"], "nghttpx": ["nghttpx", "-v"],
               "weir": [world["weir"], "--version"]}[name]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = (done.stdout + done.stderr).strip().splitlines()
    return lines[0] if done.returncode == 0 and lines else "unknown"


def available(name, world):
    if name == "weir":
        return bool(world["weir"]) and os.access(world["weir"], os.X_OK)
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin") is not None


if __name__ == "__main__":
    sys.exit("peers.py is a part of bench/compare")
