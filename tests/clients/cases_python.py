"""Clients from PyPI: statsd, datadog, and gunicorn's own instrumentation."""

import concurrent.futures
import socket
import subprocess
import sys
import time

from harness import HERE, Daemon, case, fetch, free_port, indent, need_module, wait_for


@case
def python_statsd_totals_equal_what_was_sent():
    """Counters, gauges with changes, timers, sets and a pipeline of `statsd`."""
    statsd = need_module("statsd")
    with Daemon() as daemon:
        client = statsd.StatsClient("127.0.0.1", daemon.udp_port, prefix="shop")
        for n in range(1, 101):
            client.incr("orders", n)
        client.decr("orders", 50)
        client.incr("orders", 7, rate=1)
        client.gauge("queue.depth", 40)
        client.gauge("queue.depth", 5, delta=True)
        client.gauge("queue.depth", -20, delta=True)
        client.gauge("temperature", -3.5)
        timings = [1, 2, 5, 10, 20.5, 1000, 12345]
        for ms in timings:
            client.timing("checkout", ms)
        with client.timer("block"):
            time.sleep(0.02)
        lines = 100 + 2 + 3 + 2 + len(timings) + 1
        with client.pipeline() as pipeline:
            for n in range(200):
                pipeline.incr("pipelined")
                pipeline.timing("pipelined_time", n)
            pipeline.gauge("pipelined_gauge", 99)
        lines += 401
        for n in range(300):
            client.set("visitors", f"visitor-{n % 60}")
        lines += 300
        daemon.expect(
            {
                "sum(shop_orders)": 5050 - 50 + 7,
                '{"shop.orders"}': 5050 - 50 + 7,
                "shop_queue_depth": 25,
                "shop_temperature": -3.5,
                "histogram_count(sum_over_time(shop_checkout[10m]))": len(timings),
                "histogram_sum(sum_over_time(shop_checkout[10m]))": sum(timings) / 1000,
                "histogram_count(sum_over_time(shop_block[10m]))": 1,
                "shop_pipelined": 200,
                "histogram_count(sum_over_time(shop_pipelined_time[10m]))": 200,
                "histogram_sum(sum_over_time(shop_pipelined_time[10m]))": sum(range(200)) / 1000,
                "shop_pipelined_gauge": 99,
                "distinct_over_time(shop_visitors[10m])": 60,
            }
        )
        blocked = daemon.value("histogram_sum(sum_over_time(shop_block[10m]))")
        assert 0.019 < blocked < 2.0, f"a block of 20 ms was timed as {blocked} s"
        daemon.expect_balance(lines)


@case
def python_datadog_totals_equal_what_was_sent():
    """Tags, distributions, histograms and buffering of `datadog`."""
    need_module("datadog")
    from datadog.dogstatsd.base import DogStatsd

    with Daemon(dialect="dogstatsd") as daemon:
        client = DogStatsd(
            host="127.0.0.1",
            port=daemon.udp_port,
            constant_tags=["env:test"],
            disable_buffering=False,
            disable_telemetry=True,
        )
        for n in range(300):
            client.increment("jobs.done", tags=[f"queue:q{n % 3}"])
            client.distribution("jobs.size", n, tags=["unit:row"])
            client.histogram("jobs.rows", n * 0.5)
        client.decrement("jobs.done", 10, tags=["queue:q0"])
        client.gauge("jobs.balance", -12.25, tags=["queue:q1"])
        client.timing("jobs.time", 250)
        with client.timed("jobs.block"):
            time.sleep(0.01)
        client.flush()
        for n in range(90):
            client.set("jobs.users", f"user {n % 30}")
        client.flush()
        daemon.expect(
            {
                "sum(jobs_done)": 290,
                'jobs_done{queue="q0",env="test"}': 90,
                'jobs_done{queue="q2"}': 100,
                "jobs_balance": -12.25,
                'histogram_count(sum_over_time(jobs_size{unit="row"}[10m]))': 300,
                "histogram_sum(sum_over_time(jobs_size[10m]))": sum(range(300)),
                "histogram_count(sum_over_time(jobs_rows[10m]))": 300,
                "histogram_sum(sum_over_time(jobs_rows[10m]))": sum(range(300)) / 2,
                "histogram_count(sum_over_time(jobs_time[10m]))": 1,
                "histogram_sum(sum_over_time(jobs_time[10m]))": 0.25,
                "histogram_count(sum_over_time(jobs_block[10m]))": 1,
                "distinct_over_time(jobs_users[10m])": 30,
            }
        )
        daemon.expect_balance(900 + 4 + 90)


@case
def gunicorn_reports_every_request():
    """`gunicorn --statsd-host` under web load: one count and one timing each."""
    need_module("gunicorn")
    requests = 400
    with Daemon() as daemon:
        port = free_port()
        server = subprocess.Popen(
            [
                *(sys.executable, "-m", "gunicorn.app.wsgiapp", "web_app:application", "--chdir", HERE),
                *("--bind", f"127.0.0.1:{port}", "--workers", "2", "--log-level", "warning"),
                *("--statsd-host", f"127.0.0.1:{daemon.udp_port}", "--statsd-prefix", "web"),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        try:

            def listens():
                assert server.poll() is None, f"gunicorn ended:\n{indent(server.stdout.read().decode())}"
                with socket.socket() as probe:
                    return probe.connect_ex(("127.0.0.1", port)) == 0

            wait_for("gunicorn to listen", listens)
            paths = ["/missing" if n % 10 == 0 else "/broken" if n % 10 == 1 else "/" for n in range(requests)]
            with concurrent.futures.ThreadPoolExecutor(8) as pool:
                statuses = list(pool.map(lambda path: fetch(f"http://127.0.0.1:{port}{path}")[0], paths))
            assert [statuses.count(s) for s in (200, 404, 500)] == [320, 40, 40], "the web app is at fault"
            daemon.expect(
                {
                    "web_gunicorn_requests": requests,
                    "web_gunicorn_request_status_200": 320,
                    "web_gunicorn_request_status_404": 40,
                    "web_gunicorn_request_status_500": 40,
                    "histogram_count(sum_over_time(web_gunicorn_request_duration[10m]))": requests,
                    "web_gunicorn_workers": 2,
                }
            )
            slowest = daemon.value("histogram_quantile(1, sum_over_time(web_gunicorn_request_duration[10m]))")
            assert 0 < slowest < 30, f"the slowest request took {slowest} s"
        finally:
            server.terminate()
            server.wait(timeout=30)
        daemon.expect_balance()
