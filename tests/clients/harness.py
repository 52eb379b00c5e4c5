"""Runs a real daemon for a test and asks it what it knows.

A case is a function marked `@case`; it raises AssertionError when the daemon
is wrong and Skip when a tool is not there. Standard library only.
"""

import json
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CASES = []


class Skip(Exception):
    """The case needs something that this machine lacks."""


class Options:
    """What `run.py` was told; read by the cases."""

    bin = ROOT / "target" / "debug" / "statsdeck"
    tools = ROOT / "target" / "test-tools"
    screenshots = ROOT / "target" / "screenshots"
    kills = 5
    seed = None


def case(function):
    """Registers a case under its own name; its docstring says what holds."""
    CASES.append(function)
    return function


def need_program(name):
    path = shutil.which(name)
    if path is None:
        raise Skip(f"no {name} on this machine")
    return path


def need_module(name):
    try:
        return __import__(name)
    except ImportError:
        raise Skip(f"the Python package {name} is not installed") from None


def need_node_package(name):
    """The folder in which node finds `name`."""
    need_program("node")
    modules = Options.tools / "node" / "node_modules"
    if not (modules / name).is_dir():
        raise Skip(f"the npm package {name} is not installed")
    return modules


def free_port(kind=socket.SOCK_STREAM):
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(what, ask, timeout=20.0, pause=0.1):
    """The first true answer of `ask`; fails naming `what` after `timeout` s."""
    deadline = time.monotonic() + timeout
    while True:
        answer = ask()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"waited {timeout:g} s for {what}"
        time.sleep(pause)


def fetch(url, body=None, headers=None, method=None, timeout=30.0):
    """Status and text of an HTTP answer; an error status is an answer too."""
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers=headers or {}, method=method)
    if body is not None and not request.has_header("Content-type"):
        request.add_header("Content-Type", "application/json")
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


class Daemon:
    """A statsdeck with a data directory of its own, on free ports."""

    def __init__(self, config="", dialect="statsd", interval="1s", env=None, prefix=(), receive_buffer="8MiB", http=""):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="statsdeck-test-"))
        self.udp_port = free_port(socket.SOCK_DGRAM)
        self.http_port = free_port()
        self.url = f"http://127.0.0.1:{self.http_port}"
        self.log_path = self.folder / "daemon.log"
        self.env = env or {}
        self.prefix = list(prefix)
        self.process = None
        self.config_path = self.folder / "config.toml"
        self.config_path.write_text(
            f'[[listen]]\naddress = "udp://127.0.0.1:{self.udp_port}"\ndialect = "{dialect}"\n'
            f'receive_buffer = "{receive_buffer}"\n'
            f'[http]\naddress = "127.0.0.1:{self.http_port}"\n{http}\n'
            f'[window]\ninterval = "{interval}"\n{config}'
        )

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, kind, error, trace):
        self.kill()
        if error is not None and not isinstance(error, Skip):
            print(f"    log of the daemon, its end:\n{indent(self.log()[-3000:])}")
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self):
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [*self.prefix, Options.bin, "--config", self.config_path, "--data-dir", self.folder / "data"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **self.env},
            )
        wait_for("the daemon to be ready", self.is_ready, timeout=30.0)

    def is_ready(self):
        ended = self.process.poll()
        assert ended is None, f"the daemon ended with {ended}:\n{indent(self.log()[-3000:])}"
        try:
            return fetch(self.url + "/-/ready")[0] == 200
        except OSError:
            return False

    def kill(self):
        """As `kill -9`: no chance to write anything more."""
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def stop(self):
        """As a service manager does; answers the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=30)

    def log(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def send(self, *lines):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for line in lines:
                sender.sendto(line.encode(), ("127.0.0.1", self.udp_port))

    def api(self, path, **parameters):
        """`data` of a Prometheus API answer."""
        status, text = fetch(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}")
        assert status == 200, f"{path} {parameters} answered {status}: {text[:500]}"
        answer = json.loads(text)
        assert answer["status"] == "success", answer
        return answer["data"]

    def vector(self, expr, **parameters):
        """The result of an instant query: a list of labels and value."""
        data = self.api("query", query=expr, **parameters)
        assert data["resultType"] == "vector", f"{expr} gave {data['resultType']}"
        return data["result"]

    def value(self, expr, **parameters):
        """The one number that `expr` gives, None when it gives nothing."""
        result = self.vector(expr, **parameters)
        assert len(result) <= 1, f"{expr} gave {len(result)} series: {result[:5]}"
        return float(result[0]["value"][1]) if result else None

    def page(self):
        """The scrape page as text."""
        status, text = fetch(self.url + "/metrics")
        assert status == 200, f"/metrics answered {status}"
        return text

    def own(self, name):
        """Sum over the labels of one of the daemon's own series."""
        lines = re.findall(rf"^{name}(?:\{{[^}}]*\}})? (\S+)", self.page(), re.MULTILINE)
        return sum(map(float, lines)) if lines else None

    def expect(self, wanted, timeout=20.0):
        """Waits until each expression of `wanted` gives its number, and then
        makes sure that the next flush does not change that."""

        def wrong():
            gave = {expr: self.value(expr) for expr in wanted}
            return {expr: got for expr, got in gave.items() if not close(got, wanted[expr])}

        deadline = time.monotonic() + timeout
        while off := wrong():
            table = "".join(f"\n      {e}: sent {wanted[e]!r}, got {got!r}" for e, got in off.items())
            assert time.monotonic() < deadline, f"totals differ from what was sent:{table}"
            time.sleep(0.2)
        time.sleep(1.2)
        off = wrong()
        assert not off, f"totals changed without anything being sent: {off}, sent {wanted}"

    def expect_balance(self, lines=None):
        """The ledger is even: every line that came in is accounted for."""
        received, accepted, rejected, limited = (
            self.own(f"statsdeck_lines_{what}_total") or 0.0
            for what in ("received", "accepted", "rejected", "limited")
        )
        assert received == accepted + rejected + limited, (received, accepted, rejected, limited)
        assert received > 0, "no line was received"
        if lines is not None:
            assert received == lines, f"{lines} lines were sent, {received:g} received"


def close(got, wanted, tolerance=1e-9):
    """Equal but for the order in which floats were added."""
    if got is None or wanted is None:
        return got is wanted
    return abs(got - wanted) <= tolerance * max(1.0, abs(wanted))


def kernel_drops(port):
    """Packets that the kernel could not hand to the UDP sockets on `port`."""
    rows = [row.split() for row in pathlib.Path("/proc/net/udp").read_text().splitlines()[1:]]
    return sum(int(row[-1]) for row in rows if int(row[1].split(":")[1], 16) == port)


def random_source():
    """Seeded; the seed is printed, so that a failure can be run again."""
    seed = Options.seed if Options.seed is not None else random.SystemRandom().randrange(1 << 32)
    print(f"    seed {seed}")
    return random.Random(seed)


def indent(text):
    return "".join(f"      | {line}\n" for line in text.splitlines())
