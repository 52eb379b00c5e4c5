"""Prometheus scraping the daemon, and promtool reading the page."""

import json
import re
import subprocess
import urllib.parse

from harness import Daemon, case, close, fetch, free_port, indent, need_program, wait_for

# One series of each type, a name that needs escaping, a tag that does too.
LINES = (
    "shop.orders:120|c",
    "shop.orders:3|c|#region:eu",
    "queue-depth:17|g",
    "checkout.time:100|ms\ncheckout.time:300|ms",
    "basket:5|h\nbasket:15|d",
    "visitors:anna|s\nvisitors:bert|s",
    'odd:1|c|#path:C:\\\\dir "x"',
    "1st.place:9|c",
)


@case
def promtool_accepts_the_page():
    """No parse error, and no lint on the daemon's own series."""
    promtool = need_program("promtool")
    with Daemon() as daemon:
        daemon.send(*LINES)
        page = wait_for("the first flush", lambda: "\nshop_orders" in daemon.page() and daemon.page())
        lint = subprocess.run(
            [promtool, "check", "metrics"], input=page, capture_output=True, text=True, timeout=60
        )
        said = lint.stdout + lint.stderr
        # 3 is lint alone: users name their series as they like.
        assert lint.returncode in (0, 3), f"promtool cannot read the page:\n{indent(said)}"
        own = [line for line in said.splitlines() if line.startswith("statsdeck_")]
        assert not own, f"promtool on our own names:\n{indent(chr(10).join(own))}"
        for line in page.splitlines():
            if line and not line.startswith("#"):
                family = re.match(r"[a-zA-Z_:][a-zA-Z0-9_:]*", line)
                assert family, f"not a sample: {line}"


@case
def prometheus_scrapes_and_answers_the_same():
    """What Prometheus stores after a scrape is what was sent."""
    program = need_program("prometheus")
    with Daemon() as daemon:
        daemon.send(*LINES)
        port = free_port()
        config = daemon.folder / "prometheus.yml"
        config.write_text(
            "global: {scrape_interval: 1s, scrape_timeout: 1s}\n"
            "scrape_configs:\n"
            "- job_name: statsdeck\n"
            f"  static_configs: [{{targets: ['127.0.0.1:{daemon.http_port}']}}]\n"
        )
        with open(daemon.folder / "prometheus.log", "wb") as log:
            prometheus = subprocess.Popen(
                [
                    program,
                    f"--config.file={config}",
                    f"--storage.tsdb.path={daemon.folder / 'prometheus'}",
                    f"--web.listen-address=127.0.0.1:{port}",
                ],
                stdout=log,
                stderr=log,
            )
        try:

            def ask(expr):
                query = urllib.parse.urlencode({"query": expr})
                try:
                    status, text = fetch(f"http://127.0.0.1:{port}/api/v1/query?{query}")
                except OSError:
                    return None
                result = json.loads(text)["data"]["result"] if status == 200 else []
                return float(result[0]["value"][1]) if result else None

            wanted = {
                "up": 1,
                "sum(shop_orders)": 123,
                'shop_orders{region="eu"}': 3,
                "queue_depth": 17,
                "checkout_time_count": 2,
                "checkout_time_sum": 0.4,
                "basket_count": 2,
                "basket_sum": 20,
                "visitors": 2,
                'sum({__name__=~"_?1?st_place"})': 9,
                "count(odd)": 1,
            }
            gave = {}

            def agrees():
                # A set's sample is of one window; this keeps it there.
                daemon.send("visitors:anna|s\nvisitors:bert|s")
                gave.update({expr: ask(expr) for expr in wanted})
                return all(close(gave[expr], value) for expr, value in wanted.items())

            try:
                wait_for("Prometheus to hold what was sent", agrees, timeout=40.0, pause=0.5)
            except AssertionError as late:
                off = {e: (value, gave.get(e)) for e, value in wanted.items() if not close(gave.get(e), value)}
                raise AssertionError(f"{late}; sent and got: {off}") from None
            own = ask("sum(statsdeck_lines_received_total)")
            assert own is not None and own >= 11, f"{own} lines were received, says our own series"
        finally:
            prometheus.kill()
            prometheus.wait()
