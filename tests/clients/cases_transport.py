"""The same clients by the other ways in: Unix sockets, TCP, framed packets."""

from cases_node import run_hot_shots
from harness import Daemon, case, free_port, need_module, need_node_package


def listener(address, **keys):
    """A further [[listen]] section."""
    keys = "".join(f'{key} = "{value}"\n' for key, value in keys.items())
    return f'[[listen]]\naddress = "{address}"\n{keys}'


def received(daemon, transport):
    """Lines that came in by one transport."""
    return daemon.value(f'statsdeck_lines_received_total{{transport="{transport}"}}')


def datadog_over(scheme, client_scheme, **keys):
    """Sends a known load with `datadog` over a Unix socket."""
    need_module("datadog")
    from datadog.dogstatsd.base import DogStatsd

    daemon = Daemon()
    path = daemon.folder / "in.sock"
    with daemon.config_path.open("a") as config:
        config.write(listener(f"{scheme}://{path}", dialect="dogstatsd", **keys))
    with daemon:
        client = DogStatsd(
            socket_path=f"{client_scheme}://{path}",
            constant_tags=["env:test"],
            disable_buffering=False,
            disable_telemetry=True,
            # Without it the client gives up what does not fit into the queue.
            socket_timeout=5,
        )
        for n in range(5000):
            client.increment("jobs.done", tags=[f"queue:q{n % 3}"])
            client.distribution("jobs.size", n)
        client.gauge("jobs.balance", -12.25)
        for n in range(90):
            client.set("jobs.users", f"user {n % 30}")
        client.flush()
        client.close_socket()
        assert client.packets_dropped == 0, f"the client dropped {client.packets_dropped} packets"
        daemon.expect(
            {
                'sum(jobs_done{env="test"})': 5000,
                'jobs_done{queue="q2"}': 1666,
                "histogram_count(sum_over_time(jobs_size[10m]))": 5000,
                "histogram_sum(sum_over_time(jobs_size[10m]))": sum(range(5000)),
                "jobs_balance": -12.25,
                "distinct_over_time(jobs_users[10m])": 30,
            }
        )
        daemon.expect_balance(10_091)
        assert received(daemon, scheme) == 10_091


@case
def python_datadog_over_a_unix_datagram_socket():
    """`socket_path` of `datadog`, as it talks to an Agent on the same host."""
    datadog_over("unixgram", "unixgram")


@case
def python_datadog_over_a_unix_stream_socket():
    """The same as a stream: each packet has its length before it."""
    datadog_over("unix", "unixstream", framing="datadog", packet_bytes="8KiB")


def statsd_load(daemon, client, transport):
    """Sends a known load with one of the clients of `statsd`."""
    for n in range(3000):
        client.incr("orders", n)
        client.timing("checkout", n)
    with client.pipeline() as pipeline:
        for n in range(500):
            pipeline.incr("pipelined")
    client.gauge("depth", 40)
    client.close()
    daemon.expect(
        {
            "orders": sum(range(3000)),
            "histogram_count(sum_over_time(checkout[10m]))": 3000,
            "pipelined": 500,
            "depth": 40,
        }
    )
    daemon.expect_balance(6501)
    assert received(daemon, transport) == 6501


@case
def python_statsd_over_tcp():
    """`TCPStatsClient` of `statsd`."""
    statsd = need_module("statsd")
    port = free_port()
    with Daemon(listener(f"tcp://127.0.0.1:{port}")) as daemon:
        statsd_load(daemon, statsd.TCPStatsClient("127.0.0.1", port), "tcp")


@case
def python_statsd_over_a_unix_stream_socket():
    """`UnixSocketStatsClient` of `statsd`: lines, without lengths."""
    statsd = need_module("statsd")
    daemon = Daemon()
    path = daemon.folder / "in.sock"
    with daemon.config_path.open("a") as config:
        config.write(listener(f"unix://{path}"))
    with daemon:
        statsd_load(daemon, statsd.UnixSocketStatsClient(str(path)), "unix")


@case
def node_hot_shots_over_tcp():
    """`protocol: 'tcp'` of `hot-shots`."""
    modules = need_node_package("hot-shots")
    port = free_port()
    with Daemon(listener(f"tcp://127.0.0.1:{port}", dialect="dogstatsd")) as daemon:
        run_hot_shots(modules, port, "tcp")
        daemon.expect(
            {
                "sum(api_calls)": 500,
                "api_connections": 42,
                'histogram_count(sum_over_time(api_latency{route="/users"}[10m]))': 100,
                "histogram_sum(sum_over_time(api_bytes[10m]))": 1024 * sum(range(50)),
                "distinct_over_time(api_users[10m])": 25,
            }
        )
        daemon.expect_balance(500 + 1 + 2 + 100 + 100 + 100)
        assert received(daemon, "tcp") == 803
