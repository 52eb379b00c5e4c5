"""Prometheus and vmagent writing to the daemon, and a file out of it into Prometheus."""

import json
import signal
import subprocess
import time
import urllib.parse

from harness import Daemon, Options, case, close, fetch, free_port, need_program, wait_for

CONFIG = """\
global: {{scrape_interval: 1s, scrape_timeout: 1s, external_labels: {{replica: one}}}}
scrape_configs:
- job_name: statsdeck
  static_configs: [{{targets: ['127.0.0.1:{daemon}']}}]
- job_name: sender
  static_configs: [{{targets: ['127.0.0.1:{sender}']}}]
"""
REMOTE_WRITE = """\
remote_write:
- url: http://127.0.0.1:{daemon}/api/v1/write
  queue_config: {{batch_send_deadline: 500ms}}
"""


class Program:
    """Something that runs beside the daemon."""

    def __init__(self, daemon, name, *arguments):
        self.log = daemon.folder / f"{name}.log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen([need_program(name), *arguments], stdout=log, stderr=log)

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        self.process.kill()
        self.process.wait()
        if error is not None:
            print(self.log.read_text()[-2000:])


def prometheus_on(daemon, port, config, data=None):
    """A Prometheus that keeps its data beside the daemon's, or serves what is in `data`."""
    data = data or daemon.folder / "prometheus"
    address = f"127.0.0.1:{port}"
    return Program(
        daemon, "prometheus", f"--config.file={config}", f"--storage.tsdb.path={data}", f"--web.listen-address={address}"
    )


def instant(url, expr, at):
    """Values of an instant vector by their labels; those of the sender's own are taken away."""
    query = urllib.parse.urlencode({"query": expr, "time": f"{at:.3f}"})
    status, text = fetch(f"{url}/api/v1/query?{query}")
    assert status == 200, f"{expr}: {text}"
    values = {}
    for series in json.loads(text)["data"]["result"]:
        labels = {name: value for name, value in series["metric"].items() if name != "replica"}
        values[json.dumps(labels, sort_keys=True)] = float(series["value"][1])
    return values


@case
def prometheus_writes_and_both_answer_the_same():
    """Counters, gauges and classic histograms of a real Prometheus, by PromQL on both sides."""
    need_program("prometheus")
    with Daemon() as daemon:
        port = free_port()
        config = daemon.folder / "prometheus.yml"
        ports = {"daemon": daemon.http_port, "sender": port}
        config.write_text((CONFIG + REMOTE_WRITE).format(**ports))
        with prometheus_on(daemon, port, config) as prometheus:
            url = f"http://127.0.0.1:{port}"

            def begun():
                daemon.send("orders:3|c", "depth:7|g")
                return len(instant(daemon.url, "count_over_time(up[1m]) >= 40", time.time())) == 2

            # Series begin before what is asked about. Within a range 2.42 stretches a counter down to zero, up to
            # 1.1 steps before its first sample; 3 and we half a step at most.
            wait_for("forty scrapes to be written", begun, timeout=90.0, pause=0.5)
            # Odd milliseconds: whether a range holds its own beginning is no matter then. What is
            # asked about is not on its way any more.
            at = int(time.time()) - 5 + 0.0007
            window = "[15s]"
            for expr in (
                "up",
                "orders",
                "depth",
                f"rate(orders{window})",
                'process_resident_memory_bytes{job="sender"}',
                f"increase(prometheus_tsdb_head_samples_appended_total{window})",
                f'rate(prometheus_http_request_duration_seconds_count{{job="sender"}}{window})',
                f"sum by (le) (increase(prometheus_http_request_duration_seconds_bucket{window}))",
                f"histogram_quantile(0.9, sum by (le) (rate(prometheus_tsdb_compaction_chunk_size_bytes_bucket{window})))",
                'histogram_quantile(0.5, prometheus_http_request_duration_seconds_bucket{handler="/metrics"})',
                f"max_over_time(go_goroutines{window})",
                "count(scrape_duration_seconds)",
                "count({job=~'sender|statsdeck', __name__!~'statsdeck_.*|exported_.*'})",
            ):
                # Where the daemon has its own as well, what was written to it has a job.
                ours = expr.replace("orders", 'orders{job="statsdeck"}').replace("depth", 'depth{job="statsdeck"}')
                theirs, found = instant(url, expr, at), instant(daemon.url, ours, at)
                assert theirs or "compaction" in expr, f"{expr}: nothing in Prometheus"
                assert theirs.keys() == found.keys(), f"{expr}: {theirs.keys() ^ found.keys()}"
                for labels, value in theirs.items():
                    same = value != value and found[labels] != found[labels]
                    assert same or close(found[labels], value), f"{expr} {labels}: {found[labels]}, not {value}"
            # Our own series, scraped and written back, are told apart from those that we count ourselves.
            own = instant(daemon.url, "sum(exported_statsdeck_lines_received_total)", at)
            assert list(own.values())[0] > 0, own

            # A target that goes away ends at once.
            config.write_text((CONFIG + REMOTE_WRITE).format(**ports).replace(f"127.0.0.1:{daemon.http_port}'", "127.0.0.1:9'"))
            ended = 'absent(orders{job="statsdeck"})'
            prometheus.process.send_signal(signal.SIGHUP)
            wait_for("the series of a target that is gone to end", lambda: instant(daemon.url, ended, time.time()), timeout=30.0)
            lost = fetch(f"{url}/metrics")[1]
            for line in lost.splitlines():
                if line.startswith("prometheus_remote_storage_samples_failed_total"):
                    assert line.endswith(" 0"), line
        daemon.expect_balance()


@case
def prometheus_keeps_what_a_daemon_that_is_down_cannot_take():
    """After a restart of the daemon no sample of meanwhile is missing."""
    need_program("prometheus")
    with Daemon() as daemon:
        port = free_port()
        config = daemon.folder / "prometheus.yml"
        config.write_text(
            "global: {scrape_interval: 1s, scrape_timeout: 1s}\n"
            "scrape_configs:\n- job_name: sender\n"
            f"  static_configs: [{{targets: ['127.0.0.1:{port}']}}]\n"
            + REMOTE_WRITE.format(daemon=daemon.http_port)
        )
        with prometheus_on(daemon, port, config):

            def counted(at):
                return instant(daemon.url, "sum(count_over_time(up[1m]))", at)

            wait_for("the first scrapes", lambda: sum(counted(time.time()).values()) >= 5, timeout=40.0)
            daemon.stop()
            time.sleep(6)
            daemon.start()
            at = int(time.time()) + 2.0007
            url = f"http://127.0.0.1:{port}"

            def same():
                theirs = instant(url, "sum(count_over_time(up[1m]))", at)
                return time.time() > at + 2 and theirs == counted(at)

            wait_for("what was scraped meanwhile", same, timeout=40.0)


@case
def vmagent_writes():
    """What vmagent scraped is what the page says."""
    need_program("vmagent")
    with Daemon() as daemon:
        port = free_port()
        config = daemon.folder / "scrape.yml"
        config.write_text(CONFIG.format(daemon=daemon.http_port, sender=port).split("\n", 1)[1])
        arguments = (
            f"-promscrape.config={config}",
            f"-remoteWrite.url={daemon.url}/api/v1/write",
            f"-remoteWrite.tmpDataPath={daemon.folder / 'vmagent'}",
            "-remoteWrite.flushInterval=500ms",
            f"-httpListenAddr=127.0.0.1:{port}",
        )
        config.write_text("global: {scrape_interval: 1s}\n" + config.read_text())
        with Program(daemon, "vmagent", *arguments):
            daemon.send("orders:3|c", "orders:4|c", "depth:7|g")
            for expr, value in {
                'orders{job="statsdeck"}': 7,
                'depth{job="statsdeck"}': 7,
                "sum(up)": 2,
                'count(vm_app_uptime_seconds{job="sender"})': 1,
            }.items():
                wait_for(f"{expr} to be {value}", lambda: daemon.value(expr) == value, timeout=40.0)
        daemon.expect_balance()


@case
def promtool_makes_blocks_of_an_export():
    """What the daemon exports as OpenMetrics is in a Prometheus as it was."""
    promtool = need_program("promtool")
    need_program("prometheus")
    with Daemon() as daemon:
        daemon.send("orders.made_total:120|c|#region:e\"u", "depth:7.25|g", "took:100|ms\ntook:300|ms", "who:ann|s")
        daemon.expect({'{"orders.made_total"}': 120, "depth": 7.25})
        daemon.send("orders.made_total:3|c|#region:e\"u")
        daemon.expect({'{"orders.made_total"}': 123})
        at = time.time()
        daemon.stop()
        export = daemon.folder / "all.om"
        command = [Options.bin, "--data-dir", daemon.folder / "data", "export"]
        subprocess.run([*command, "--format", "openmetrics", "-o", export], check=True, capture_output=True)
        blocks = daemon.folder / "blocks"
        made = subprocess.run(
            [promtool, "tsdb", "create-blocks-from", "openmetrics", export, blocks], capture_output=True, text=True
        )
        assert made.returncode == 0, made.stdout + made.stderr
        port = free_port()
        config = daemon.folder / "none.yml"
        config.write_text("{}")
        with prometheus_on(daemon, port, config, data=blocks):
            url = f"http://127.0.0.1:{port}"

            def value(expr):
                return list(instant(url, expr, at).values())

            def is_there():
                try:
                    return value("depth")
                except OSError:
                    return False

            wait_for("Prometheus to answer", is_there, timeout=30.0)
            for expr, expected in {
                "depth": 7.25,
                'orders_made_total{region="e\\"u"}': 123,
                "max_over_time(took_count[1m])": 2,
                "max_over_time(took_sum[1m])": 0.4,
                'max_over_time(took{quantile="0.99"}[1m])': 0.3,
                "max_over_time(who[1m])": 1,
            }.items():
                found = value(expr)
                assert len(found) == 1 and close(found[0], expected, 0.01), f"{expr}: {found}, not {expected}"
