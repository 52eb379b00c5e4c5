"""Clients from npm: hot-shots."""

import subprocess

from harness import HERE, Daemon, case, indent, need_node_package


def run_hot_shots(modules, port, *protocol):
    """Sends what the cases below expect; by UDP, or by another protocol."""
    sender = subprocess.run(
        ["node", HERE / "hot_shots.js", str(modules / "hot-shots"), str(port), *protocol],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert sender.returncode == 0, f"hot-shots failed:\n{indent(sender.stdout + sender.stderr)}"


@case
def node_hot_shots_totals_equal_what_was_sent():
    """Tags, buffers, timings, distributions and sets of `hot-shots`."""
    modules = need_node_package("hot-shots")
    with Daemon(dialect="dogstatsd") as daemon:
        run_hot_shots(modules, daemon.udp_port)
        daemon.expect(
            {
                "sum(api_calls)": 500,
                'sum(api_calls{route="/users"})': 250,
                'sum(api_calls{service="edge"})': 500,
                "api_fallen": -20,
                "api_connections": 42,
                "api_offset": -7,
                'histogram_count(sum_over_time(api_latency{route="/users"}[10m]))': 100,
                'histogram_sum(sum_over_time(api_latency{route="/users"}[10m]))': sum(range(100)) / 1000,
                "histogram_count(sum_over_time(api_bytes[10m]))": 50,
                "histogram_sum(sum_over_time(api_bytes[10m]))": 1024 * sum(range(50)),
                "histogram_count(sum_over_time(api_rows[10m]))": 50,
                "distinct_over_time(api_users[10m])": 25,
            }
        )
        daemon.expect_balance(500 + 1 + 2 + 100 + 100 + 100)
