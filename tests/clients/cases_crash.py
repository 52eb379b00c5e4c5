"""`kill -9` under load: what a flush finished is there after it."""

import math
import re
import socket
import threading
import time

from harness import Daemon, Options, case, random_source, wait_for

SERIES = 2000
BURST = 50


class Load:
    """Counts into many series without pause until it is stopped."""

    def __init__(self, port):
        self.going = True
        self.thread = threading.Thread(target=self.run, args=(port,))
        self.thread.start()

    def run(self, port):
        at = 0
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            while self.going:
                lines = (f"load.{(at + n) % SERIES}:1|c" for n in range(BURST))
                try:
                    sender.sendto("\n".join(lines).encode(), ("127.0.0.1", port))
                except ConnectionRefusedError:
                    pass
                at += BURST
                time.sleep(0.001)

    def stop(self):
        self.going = False
        self.thread.join()


def totals(daemon, at):
    """Running total of every series at `at`, by name."""
    result = daemon.vector('{__name__=~"load.+"}', time=f"{at:.3f}")
    return {row["metric"]["__name__"]: float(row["value"][1]) for row in result}


def last_flush(daemon):
    return daemon.own("statsdeck_flush_last_end_timestamp_seconds") or 0.0


@case
def kill_9_loses_nothing_that_a_flush_wrote():
    """At random moments: the store opens, every finished flush is in it, and
    the totals go on from there without a gap or a repeat."""
    random = random_source()
    with Daemon() as daemon:
        at, seen, watched = 0.0, {}, 0
        for moment in range(Options.kills):
            load = Load(daemon.udp_port)
            began = time.time()
            kill_at = began + 1.2 + random.random() * 2.0
            if moment % 2:
                # While a window is being written.
                kill_at = math.ceil(kill_at) + random.random() * 0.03
            try:
                # Watch until the moment comes: what was shown last must survive.
                while time.time() < kill_at - 0.15:
                    flushed = last_flush(daemon)
                    if flushed > began and flushed > at:
                        at, seen = flushed, totals(daemon, flushed)
                    time.sleep(0.02)
                watched += at > began
                time.sleep(max(0.0, kill_at - time.time()))
                daemon.kill()
            finally:
                load.stop()
            daemon.start()
            after = totals(daemon, at)
            lost = {name: (total, after.get(name)) for name, total in seen.items() if after.get(name) != total}
            assert not lost, f"kill {moment}: {len(lost)} series differ at {at}: {list(lost.items())[:3]}"
        torn = sum(map(int, re.findall(r'"frames_lost":(\d+)', daemon.log())))
        print(f"    {Options.kills} kills, {watched} with a flush just before, {torn} in the middle of a write")
        assert len(seen) == SERIES, f"only {len(seen)} series were seen before a kill"

        before = totals(daemon, time.time())
        daemon.send(*(f"load.{n}:1|c" for n in range(SERIES)))
        wanted = sum(before.values()) + SERIES
        wait_for("totals to go on", lambda: sum(totals(daemon, time.time()).values()) == wanted)


@case
def sigterm_writes_the_open_window():
    """A stop loses nothing, not even what came in a moment before it."""
    with Daemon(interval="10s") as daemon:
        daemon.send(*["late.count:1|c"] * 100, "late.gauge:5|g", "late.time:20|ms")
        wait_for("the lines", lambda: daemon.own("statsdeck_lines_received_total") == 102)
        assert daemon.stop() == 0
        daemon.start()
        # The window's end may still lie ahead.
        later = f"{time.time() + 10:.3f}"
        assert daemon.value("late_count", time=later) == 100
        assert daemon.value("late_gauge", time=later) == 5
        count = daemon.value("histogram_count(sum_over_time(late_time[10m]))", time=later)
        assert count == 1, f"{count} timings instead of one"
