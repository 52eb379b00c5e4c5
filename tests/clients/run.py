#!/usr/bin/env python3
"""Clients, scrapers and browsers that others wrote, against a real daemon.

    tests/clients/run.py [--bin PATH] [--tools DIR] [--kills N] [--seed N] [NAME ...]

`scripts/test` installs the tools and calls this. Cases whose name holds one
of NAME run, without names all. The last line counts them.
"""

import argparse
import pathlib
import sys
import time
import traceback

import harness
import cases_browser
import cases_crash
import cases_json
import cases_node
import cases_prometheus
import cases_python
import cases_query
import cases_remote_write
import cases_slack
import cases_transport


def main():
    options = harness.Options
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--bin", type=pathlib.Path, default=options.bin, help="the daemon")
    parser.add_argument("--tools", type=pathlib.Path, default=options.tools, help="where npm packages are")
    parser.add_argument("--kills", type=int, default=options.kills, help="moments of the kill -9 case")
    parser.add_argument("--seed", type=int, help="of what is random")
    parser.add_argument("names", nargs="*", metavar="NAME")
    arguments = parser.parse_args()
    options.bin, options.tools = arguments.bin.resolve(), arguments.tools.resolve()
    options.kills, options.seed = arguments.kills, arguments.seed
    if not options.bin.exists():
        parser.error(f"no daemon at {options.bin}; build it, or name it with --bin")

    count = {"passed": 0, "failed": 0, "skipped": 0}
    for function in harness.CASES:
        if arguments.names and not any(name in function.__name__ for name in arguments.names):
            continue
        print(f"  {function.__name__}", flush=True)
        started = time.monotonic()
        try:
            function()
            outcome = "passed"
        except harness.Skip as reason:
            outcome = "skipped"
            print(f"    skipped: {reason}")
        except Exception as error:
            outcome = "failed"
            # An assertion explains itself; anything else is shown with its trace.
            explained = isinstance(error, AssertionError) and str(error)
            print(f"    {error}" if explained else harness.indent(traceback.format_exc()))
        count[outcome] += 1
        print(f"    {outcome} in {time.monotonic() - started:.1f} s", flush=True)
    print("{passed} passed, {failed} failed, {skipped} skipped".format(**count))
    return 1 if count["failed"] or not sum(count.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
