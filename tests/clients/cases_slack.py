"""An alert from packet to notice, at a receiver that behaves as Slack says."""

import http.server
import json
import threading
import time

from harness import Daemon, case, wait_for


class FakeSlack:
    """Answers `script` in turn, then `ok`; keeps the messages it took."""

    def __init__(self, script):
        self.taken = []
        self.refused = []
        self.script = list(script)
        slack = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status, headers, text = slack.script.pop(0) if slack.script else (200, {}, "ok")
                message = (time.monotonic(), self.path, self.headers["Content-Type"], body)
                (slack.taken if status == 200 else slack.refused).append(message)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server.server_port}/services/T000/B000/verysecrettoken"


@case
def slack_gets_one_firing_and_one_resolved_message():
    """Once each, although Slack asks to wait first and breaks once later."""
    slack = FakeSlack(
        [
            (429, {"Retry-After": "2"}, json.dumps({"retry_after": 2, "ok": False, "error": "rate_limited"})),
            (200, {}, "ok"),
            (500, {}, "rollup_error"),
        ]
    )
    with Daemon(
        """
[[alert.rule]]
name = "JobErrors"
expr = 'increase(job_errors[12s]) > 0'
[[receiver]]
name = "on-call"
[receiver.slack]
url_file = "URL_FILE"
"""
    ) as daemon_without_url:
        daemon = daemon_without_url
        daemon.kill()
        url_file = daemon.folder / "slack-url"
        url_file.write_text(slack.url + "\n")
        daemon.config_path.write_text(daemon.config_path.read_text().replace("URL_FILE", str(url_file)))
        daemon.start()
        time.sleep(2.5)
        assert not slack.taken + slack.refused, "a notice without a reason"
        daemon.send("job.errors:1|c")
        wait_for("the firing message", lambda: len(slack.taken) == 1, timeout=40)
        assert slack.taken[0][0] - slack.refused[0][0] >= 1.9, "came back before Retry-After"
        wait_for("the resolved message", lambda: len(slack.taken) == 2, timeout=60)
        time.sleep(4)
        assert len(slack.taken) == 2, f"{len(slack.taken)} messages instead of two"
        assert len(slack.refused) == 2, f"{len(slack.refused)} refusals instead of two"
        for (_, path, content_type, body), word in zip(slack.taken, ("firing", "resolved")):
            message = json.loads(body)
            assert content_type.startswith("application/json"), content_type
            assert path.endswith("verysecrettoken"), path
            assert "JobErrors" in message["text"], message
            assert word in body.decode().lower(), f"not {word}: {message}"
            assert len(message.get("blocks", [])) <= 50, message
        assert "verysecrettoken" not in daemon.log(), "the webhook's address is in the log"
        assert "verysecrettoken" not in daemon.page(), "the webhook's address is on /metrics"
