#!/usr/bin/python3
"""Runs the HTTP/2 conformance cases against a running balancer.

    run.py [--side tls|clear|target|target-tls] [--only TEXT] [--list] [--table FILE] [--peer nghttpx]

Ends with one line of JSON; exit code 1 when a case fails. Environment: WEIR_LB, the balancer's program.
"""
import argparse
import json
import sys
import time
import traceback

import world
from world import CASES, ClientSide, Failed, ServerSide, World

import generic  # noqa: E402,F401  registers its cases, as the others do
import h2frames  # noqa: E402,F401
import h2messages  # noqa: E402,F401
import beyond  # noqa: E402,F401
import targets  # noqa: E402,F401

SIDES = {"tls": "server", "clear": "server", "target": "client", "target-tls": "client"}


def cases_of(side):
    return [c for c in CASES if SIDES[side] in c.sides and (side == "tls" or not c.tls_only)]


def attempt(place, side, one):
    """Runs one case on a connection of its own; returns what went wrong."""
    end = None
    try:
        options = getattr(one.run, "options", {})
        end = ClientSide(place, **options) if SIDES[side] == "client" else ServerSide(place, side == "tls", **options)
        one.run(end)
        place.check_alive()
        return None
    except Failed as failure:
        return str(failure)
    except (OSError, AssertionError, KeyError, ValueError, AttributeError, IndexError) as error:
        return f"{type(error).__name__}: {error}; {traceback.format_exc().splitlines()[-3].strip()}"
    finally:
        if end is not None:
            end.close()


def run_side(side, only, peer):
    results = {}
    place = World(SIDES[side] == "client", peer, target_tls=side == "target-tls")
    try:
        for one in cases_of(side):
            if only in one.id or only in one.text:
                results[one.id] = attempt(place, side, one)
                if results[one.id]:
                    print(f"FAILED {side:6} {one.id}: {one.text}\n       {results[one.id]}", flush=True)
    finally:
        place.close()
    return results


def table(all_results):
    """Rows of docs/conformance.md: one for each case, one column for each side."""
    def cell(side, one):
        if one.id not in all_results.get(side, {}):
            return "–"
        return "passed" if all_results[side][one.id] is None else "FAILED"
    lines = ["| case | requirement | TLS | cleartext | towards targets | towards TLS targets |",
             "| --- | --- | --- | --- | --- | --- |"]
    for one in CASES:
        lines.append(f"| {one.id} | {one.text} | " + " | ".join(cell(s, one) for s in SIDES) + " |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--side", action="append", choices=list(SIDES))
    parser.add_argument("--only", default="")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--table")
    parser.add_argument("--peer", choices=["nghttpx"])
    arguments = parser.parse_args()
    if arguments.list:
        for one in CASES:
            print(f"{one.id:22} {'+'.join(one.sides):14} {one.text}")
        return 0
    began = time.monotonic()
    results = {side: run_side(side, arguments.only, arguments.peer) for side in arguments.side or SIDES}
    if arguments.table:
        with open(arguments.table, "w", encoding="utf-8") as file:
            file.write(table(results))
    failed = sorted(f"{side} {i}" for side, r in results.items() for i, outcome in r.items() if outcome)
    summary = {side: {"cases": len(r), "passed": sum(not v for v in r.values())} for side, r in results.items()}
    print(json.dumps({"ok": not failed, "sides": summary, "failed": failed,
                      "seconds": round(time.monotonic() - began, 1)}))
    ran = sum(len(r) for r in results.values())
    return 1 if failed or ran == 0 else 0


if __name__ == "__main__":
    assert world.CASES is CASES
    sys.exit(main())
