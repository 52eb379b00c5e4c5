"""The daemon, a Prometheus and a VictoriaMetrics that hold the same samples."""

import pathlib
import subprocess
import tempfile
import time

from harness import Daemon, Options, fetch, free_port, need_program, wait_for
from samples import SPAN, all_series, as_text, remote_writes

BLOCK = 7200


def middle_of_the_samples():
    """The samples lie on both sides of the end of a block, well before the open one."""
    return int(time.time()) // BLOCK * BLOCK - 2 * BLOCK


class Peer:
    """A program under test: its name, where it answers, how it is ended."""

    def __init__(self, name, url, end):
        self.name, self.url, self.end = name, url, end


def statsdeck(start):
    # Lateness is of no use here, and keeps blocks open.
    daemon = Daemon(interval="10s")
    text = daemon.folder / "samples.txt"
    text.write_text(as_text(all_series(start)))
    command = [Options.bin, "import", "--config", daemon.config_path, "--data-dir", daemon.folder / "data", text]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"statsdeck import: {done.stdout}{done.stderr}"
    assert "left out" not in done.stdout, done.stdout
    daemon.start()
    return Peer("statsdeck", daemon.url, lambda: daemon.__exit__(None, None, None))


def prometheus(start):
    port = free_port()
    # A lookback that leaves out what is exactly 5 minutes old, as Prometheus 3 does.
    flags = ["--web.enable-remote-write-receiver", "--query.lookback-delta=4m59s999ms"]
    return started(
        "prometheus",
        start,
        port,
        lambda folder: [
            f"--config.file={written(folder / 'prometheus.yml', 'global: {}')}",
            f"--storage.tsdb.path={folder}",
            f"--web.listen-address=127.0.0.1:{port}",
            *flags,
        ],
        "/-/ready",
    )


def victoria_metrics(start):
    port = free_port()
    return started(
        "victoria-metrics",
        start,
        port,
        lambda folder: [
            f"-storageDataPath={folder}",
            f"-httpListenAddr=127.0.0.1:{port}",
            "-search.maxStalenessInterval=5m",
            "-search.latencyOffset=0s",
            "-retentionPeriod=1y",
            "-search.disableCache",
        ],
        "/health",
    )


def started(program, start, port, arguments, ready):
    path = need_program(program)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="statsdeck-peer-"))
    url = f"http://127.0.0.1:{port}"
    with open(folder / "peer.log", "wb") as log:
        process = subprocess.Popen([path, *arguments(folder)], stdout=log, stderr=log)

    def end():
        process.kill()
        process.wait()
        subprocess.run(["rm", "-rf", folder], check=False)

    def answers(path):
        assert process.poll() is None, (folder / "peer.log").read_text(errors="replace")[-2000:]
        try:
            return fetch(url + path)[0] == 200
        except OSError:
            return False

    try:
        wait_for(f"{program} to be ready", lambda: answers(ready), timeout=60.0)
        headers = {
            "Content-Type": "application/x-protobuf",
            "Content-Encoding": "snappy",
            "X-Prometheus-Remote-Write-Version": "0.1.0",
        }
        for body in remote_writes(all_series(start)):
            status, text = fetch(url + "/api/v1/write", body=body, headers=headers)
            assert status in (200, 204), f"{program} took no samples: {status} {text}"
        last = f"/api/v1/query?query=count(requests_total)&time={start + SPAN}"
        wait_for(f"{program} to hold the samples", lambda: '"24"' in fetch(url + last)[1], timeout=60.0)
    except BaseException:
        end()
        raise
    return Peer(program, url, end)


def written(path, text):
    path.write_text(text)
    return path
