"""Chromium opening the dashboard."""

import json
import math
import shutil
import subprocess
import time

from harness import HERE, Daemon, Options, Skip, case, fetch, indent, need_node_package, wait_for


@case
def dashboard_draws_what_was_sent_without_console_errors():
    """Charts are there, nothing fails in the browser, in light and in dark."""
    modules = need_node_package("playwright-core")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        raise Skip("no chromium on this machine")
    Options.screenshots.mkdir(parents=True, exist_ok=True)
    with Daemon() as daemon:
        status, first_run = fetch(daemon.url + "/dashboard")
        assert status == 200, f"the first-run page answered {status}"
        assert str(daemon.udp_port) in first_run, "the first-run page does not say where to send to"
        for second in range(4):
            for n in range(50):
                wave = 100 + 50 * math.sin(second + n / 10)
                daemon.send(
                    "etl.rows:25|c",
                    f"etl.duration:{wave:.1f}|ms",
                    f"queue.depth:{wave:.0f}|g",
                    f"visitors:v{n}|s",
                    "page.<script>alert(1)</script>:1|c|#note:<b>bold</b>",
                )
            time.sleep(1)
        wait_for("the first flush", lambda: daemon.value("etl_rows"))
        browser = subprocess.run(
            [
                *("node", HERE / "browser.js", str(modules / "playwright-core"), chromium),
                *(daemon.url + "/dashboard", str(Options.screenshots)),
            ],
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert browser.returncode == 0, f"the browser failed:\n{indent(browser.stdout + browser.stderr)}"
        for seen in json.loads(browser.stdout):
            assert seen["status"] == 200, seen
            assert not seen["errors"], f"in the console ({seen['scheme']}): {seen['errors']}"
            assert seen["svgs"] >= 3, f"{seen['svgs']} charts are too few: {seen}"
            assert seen["scripts_by_name"] == 0, "a metric's name became markup"
            for name in ("etl.rows", "etl.duration", "queue.depth"):
                assert name in seen["text"], f"{name} is not on the dashboard"
