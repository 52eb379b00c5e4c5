"""Those who query: promtool, vmalert, what Grafana sends, and our own command line."""

import contextlib
import gzip
import http.server
import json
import os
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

from harness import Daemon, Options, case, fetch, free_port, indent, need_program, wait_for

RULES = """
groups:
- name: etl
  interval: 1s
  rules:
  - record: job:etl_errors:sum
    expr: sum by (job) (etl_errors)
    labels: {team: data}
  - alert: EtlErrors
    expr: sum by (job) (etl_errors) > 10
    labels: {severity: page}
    annotations: {summary: "{{ $value }} errors of {{ $labels.job }}"}
  - alert: NothingWrong
    expr: sum(etl_errors) > 1e9
"""
RULE_TESTS = """
rule_files: [rules.yml]
evaluation_interval: 1s
tests:
- interval: 1s
  input_series:
  - {series: 'etl_errors{job="daily"}', values: '12 12 12'}
  - {series: 'etl_errors{job="hourly"}', values: '3 3 3'}
  promql_expr_test:
  - expr: job:etl_errors:sum
    eval_time: 2s
    exp_samples:
    - {labels: 'job:etl_errors:sum{job="daily",team="data"}', value: 12}
    - {labels: 'job:etl_errors:sum{job="hourly",team="data"}', value: 3}
  alert_rule_test:
  - alertname: EtlErrors
    eval_time: 2s
    exp_alerts:
    - exp_labels: {job: daily, severity: page}
      exp_annotations: {summary: 12 errors of daily}
"""
LINES = ("etl.errors:12|c|#job:daily", "etl.errors:3|c|#job:hourly", "etl.time:300|ms|#job:daily", "load:1.5|g")


@contextlib.contextmanager
def filled(config=""):
    """A daemon that has flushed `LINES`."""
    with Daemon(config) as daemon:
        daemon.send(*LINES)
        wait_for("the first flush", lambda: daemon.value("sum(etl_errors)") == 15)
        yield daemon


def run(*command, **options):
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=60, **options)


@case
def promtool_queries_and_reads_what_was_sent():
    promtool = need_program("promtool")
    with filled() as daemon:
        now = int(time.time())
        span = (f"--start={now - 60}", f"--end={now + 60}")
        wanted = (
            (("instant", daemon.url, 'etl_errors{job="daily"}'), '{__name__="etl.errors", job="daily"} => 12 @'),
            (("instant", daemon.url, "histogram_count(increase(etl_time[1m]))"), '{job="daily"} => 1 @'),
            (("instant", daemon.url, "1 + 1"), "scalar: 2 @"),
            (("range", *span, "--step=1s", daemon.url, "sum(etl_errors)"), "15 @"),
            (("series", *span, "--match=load", daemon.url), '{__name__="load"}'),
            (("labels", *span, daemon.url, "job"), "daily\nhourly"),
        )
        for arguments, expected in wanted:
            done = run(promtool, "query", *arguments)
            # 2.42 writes a name with a dot in front of the brackets.
            said = done.stdout.replace('etl.errors{job', '{__name__="etl.errors", job')
            assert done.returncode == 0 and expected in said, f"promtool query {arguments}:\n{indent(said + done.stderr)}"
        done = run(promtool, "query", "instant", daemon.url, "sum(")
        assert done.returncode != 0 and "parse error" in done.stderr, done.stderr


class Notices:
    """Keeps the alerts that are posted as to an Alertmanager."""

    def __init__(self):
        self.taken = []
        notices = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                notices.taken += json.loads(body)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@contextlib.contextmanager
def running(daemon, name, *arguments):
    with open(daemon.folder / f"{name}.log", "wb") as log:
        process = subprocess.Popen(list(map(str, (name, *arguments))), stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@case
def vmalert_evaluates_rules_on_the_daemon():
    """The rules that promtool checks and tests give the same on real data: what is
    recorded arrives in a VictoriaMetrics, and one alert fires."""
    promtool, notices = need_program("promtool"), Notices()
    for program in ("vmalert", "victoria-metrics"):
        need_program(program)
    with filled() as daemon:
        rules = daemon.folder / "rules.yml"
        rules.write_text(RULES)
        (daemon.folder / "tests.yml").write_text(RULE_TESTS)
        for command in (("check", "rules", rules), ("test", "rules", daemon.folder / "tests.yml")):
            done = run(promtool, *command)
            assert done.returncode == 0, f"promtool {command}:\n{indent(done.stdout + done.stderr)}"
        storage, own = free_port(), free_port()
        storage_url = f"http://127.0.0.1:{storage}"

        def recorded():
            parameters = {"query": "job:etl_errors:sum", "nocache": 1, "time": time.time() + 2}
            try:
                text = fetch(f"{storage_url}/api/v1/query?{urllib.parse.urlencode(parameters)}")[1]
            except OSError:
                return None
            result = json.loads(text)["data"]["result"]
            return sorted((r["metric"]["job"], r["metric"].get("team"), r["value"][1]) for r in result)

        with (
            running(
                daemon,
                "victoria-metrics",
                f"-storageDataPath={daemon.folder / 'vm'}",
                f"-httpListenAddr=127.0.0.1:{storage}",
                "-search.latencyOffset=0s",
            ),
            running(
                daemon,
                "vmalert",
                f"-rule={rules}",
                f"-datasource.url={daemon.url}",
                f"-remoteWrite.url={storage_url}",
                "-remoteWrite.flushInterval=1s",
                f"-notifier.url={notices.url}",
                f"-httpListenAddr=127.0.0.1:{own}",
                "-evaluationInterval=1s",
            ),
        ):
            wanted = [("daily", "data", "12"), ("hourly", "data", "3")]
            wait_for("the recorded series", lambda: recorded() == wanted, timeout=40.0)
            wait_for("the alert", lambda: notices.taken, timeout=20.0)
            told = {alert["labels"]["alertname"] for alert in notices.taken}
            assert told == {"EtlErrors"}, told
            alert = notices.taken[0]
            assert alert["labels"]["job"] == "daily" and alert["labels"]["severity"] == "page", alert
            assert alert["annotations"]["summary"] == "12 errors of daily", alert
            status, text = fetch(f"http://127.0.0.1:{own}/api/v1/rules")
            health = [rule.get("health") for group in json.loads(text)["data"]["groups"] for rule in group["rules"]]
            assert status == 200 and health == ["ok"] * 3, text


@case
def what_grafana_sends_is_answered():
    """The calls of its Prometheus data source: the probe when it is saved, what
    the query builder asks, a panel, an exploration, the list of alerts."""
    config = '[[alert.rule]]\nname = "E"\nexpr = "etl_errors > 1"\n'
    with filled(config) as daemon:
        wait_for("a rate", lambda: daemon.vector("rate(etl_errors[1m])"))
        start, end = str(int(time.time()) - 300), str(int(time.time()) + 60)
        span = {"start": start, "end": end}
        panel = {"query": "sum(rate(etl_errors[1m0s]))", "step": "15", **span}

        def ask(path, form=None, **parameters):
            url = f"{daemon.url}/api/v1/{path}?{urllib.parse.urlencode(parameters, doseq=True)}"
            body = None if form is None else urllib.parse.urlencode(form, doseq=True).encode()
            headers = {"Accept-Encoding": "gzip", "User-Agent": "Grafana/11.3.0", "X-Grafana-Org-Id": "1"}
            if body is not None:
                headers["Content-Type"] = "application/x-www-form-urlencoded"
            request = urllib.request.Request(url, data=body, headers=headers)
            with urllib.request.urlopen(request, timeout=30) as answer:
                raw = answer.read()
                raw = gzip.decompress(raw) if answer.headers["Content-Encoding"] == "gzip" else raw
            told = json.loads(raw)
            assert told["status"] == "success", told
            return told["data"]

        # Saved and tested.
        assert ask("query", {"query": "1+1", "time": f"{time.time():.3f}"})["result"][1] == "2"
        assert ask("status/buildinfo")["version"].startswith("3.")
        # The query builder.
        assert "etl.errors" in ask("label/__name__/values", **span, limit="40000")
        assert ask("label/job/values", **span, **{"match[]": '{__name__="etl_errors"}'}) == ["daily", "hourly"]
        assert "job" in ask("labels", {**span, "match[]": '{__name__="etl_errors"}'})
        assert len(ask("series", {**span, "match[]": ["etl_errors", "load"]})) == 3
        assert ask("metadata", limit="20000")["etl.errors"][0]["type"] == "counter"
        assert ask("metadata", limit_per_metric="1", metric="load")["load"][0]["type"] == "gauge"
        assert "sum by (job)" in ask("format_query", {"query": "sum(etl_errors)by(job)"})
        # Panels: steps as whole and as broken seconds, an instant query beside a range.
        for step in ("15", "15.5", "0.25"):
            data = ask("query_range", {**panel, "step": step})
            assert data["resultType"] == "matrix" and data["result"], data
        assert ask("query", {"query": "etl_time", "time": end})["result"][0]["histogram"][1]["count"] == "1"
        assert ask("query_exemplars", {"query": panel["query"], **span}) == []
        # Long answers come compressed, and are the same.
        wide = {**panel, "query": "{__name__!=''}", "step": "1"}
        assert len(json.dumps(ask("query_range", wide))) > 1500
        # Alerts.
        groups = ask("rules", **{"type": "alert", "exclude_alerts": "true"})["groups"]
        assert [rule["name"] for group in groups for rule in group["rules"]] == ["E"]
        assert isinstance(ask("alerts")["alerts"], list)


@case
def statsdeck_query_shows_tables_json_and_where_a_mistake_is():
    with filled() as daemon:

        def query(*arguments, code=0, **options):
            done = run(Options.bin, "query", *arguments, "--url", daemon.url, **options)
            assert done.returncode == code, f"{arguments}: {done.returncode}\n{indent(done.stdout + done.stderr)}"
            return done

        assert query("etl_errors").stdout == '12  {"etl.errors", job="daily"}\n 3  {"etl.errors", job="hourly"}\n'
        assert query('sum({"etl.errors"})').stdout == "15  {}\n"
        drawn = query("increase(etl_time[1m])").stdout
        assert "count 1, sum 0.3" in drawn and "█" in drawn, drawn
        ranged = query("sum(etl_errors)", "--start", "1m", "--step", "1s").stdout
        assert ranged.startswith("{}\n") and ranged.rstrip().endswith("  15"), ranged
        told = json.loads(query("load", "--json").stdout)
        assert told["data"]["result"][0]["value"][1] == "1.5", told
        assert query("nothing").stdout == "no series\n"
        wait_for("a rate", lambda: daemon.vector("rate(load[5m])"))
        assert "info: PromQL info: metric might not be a counter" in query("rate(load[5m])").stderr
        wrong = query("sum(etl_errors", code=1)
        assert "1:15: parse error" in wrong.stderr and "\n  sum(etl_errors\n                ^" in wrong.stderr, wrong.stderr


@case
def tokens_and_other_origins_are_held_to_the_config():
    """A token opens queries; the pages of one origin may read, and only read."""
    done = run(Options.bin, "token", "new", "--name", "reader")
    key = done.stdout.splitlines()[1].strip()
    entry = done.stdout.split("For the config:\n")[1].replace('["write"]', '["read"]')
    grafana = "https://grafana.example.org"
    # A key of [http] stands before the table of a token.
    config = f'[query]\nsteps = 100\n{entry}'
    with Daemon(config, http=f'cors_origin = "{grafana}"') as daemon:
        command = (Options.bin, "query", "1", "--url", daemon.url)
        refused = run(*command)
        assert refused.returncode == 1 and "STATSDECK_TOKEN" in refused.stderr, refused.stderr
        allowed = run(*command, env={**os.environ, "STATSDECK_TOKEN": key})
        assert allowed.stdout == "1\n", allowed.stdout + allowed.stderr
        bearer = {"Authorization": f"Bearer {key}"}
        status, text = fetch(f"{daemon.url}/api/v1/query_range?query=1&start=0&end=101&step=1", headers=bearer)
        assert status == 400 and "100" in text, text

        def answer(method, path, origin, body=None, **headers):
            headers = {"Origin": origin, **bearer, **headers}
            request = urllib.request.Request(daemon.url + path, data=body, method=method, headers=headers)
            try:
                with urllib.request.urlopen(request, timeout=30) as answer:
                    return answer.status, answer.headers["Access-Control-Allow-Origin"]
            except urllib.error.HTTPError as error:
                return error.code, error.headers["Access-Control-Allow-Origin"]

        form = {"Content-Type": "application/x-www-form-urlencoded"}
        preflight = {"Access-Control-Request-Method": "POST", "Authorization": ""}
        assert answer("GET", "/api/v1/query?query=1", grafana) == (200, grafana)
        assert answer("GET", "/api/v1/query?query=1", "https://evil.example") == (200, None)
        assert answer("POST", "/api/v1/query", grafana, b"query=1", **form) == (200, grafana)
        assert answer("POST", "/api/v1/query", "https://evil.example", b"query=1", **form) == (403, None)
        assert answer("OPTIONS", "/api/v1/query", grafana, **preflight) == (204, grafana)
        assert answer("OPTIONS", "/api/v1/query", "https://evil.example", **preflight)[1] is None
        assert answer("POST", "/metrics", grafana, b"{}", **{"Content-Type": "application/json"})[0] == 403
        assert answer("GET", "/dashboard", grafana)[1] is None
