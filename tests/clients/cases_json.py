"""A plain client that posts JSON with a bearer token."""

import hashlib
import json

from harness import Daemon, case, fetch


@case
def json_client_with_a_bearer_token_is_counted():
    """API key → bearer token → `POST /metrics`; a wrong token is refused."""
    key = "sdk_" + "5" * 64
    config = f"""
[[http.token]]
name = "etl"
hash = "sha256:{hashlib.sha256(key.encode()).hexdigest()}"
scopes = ["write"]
"""
    with Daemon(config) as daemon:
        status, text = fetch(daemon.url + "/api/v1/token", {"api_key": key})
        assert status == 200, f"/api/v1/token answered {status}: {text}"
        answer = json.loads(text)
        token = answer.get("access_token") or answer.get("token")
        assert token, f"no token in {sorted(answer)}"
        bearer = {"Authorization": f"Bearer {token}"}

        def post(body, headers=bearer):
            return fetch(daemon.url + "/metrics", body, headers)

        for _ in range(20):
            status, text = post({"metric": "etl.errors", "value": 2, "type": "count"})
            assert status in (200, 202, 204), f"{status}: {text}"
        status, text = post({"metric": "etl.lag", "value": 12.5, "type": "gauge", "tags": {"job": "nightly"}})
        assert status in (200, 202, 204), f"{status}: {text}"
        status, text = post(
            [{"metric": "etl.rows", "value": n, "type": "count"} for n in range(10)]
            + [{"metric": "etl.time", "value": 1500, "type": "timing"}]
        )
        assert status in (200, 202, 204), f"{status}: {text}"
        status, text = post([{"metric": "a", "value": 1, "type": "count"}, {"metric": "b", "type": "count"}])
        assert status == 400 and "1" in text and "value" in text, f"{status}: {text}"
        assert post({"metric": "x", "value": 1, "type": "count"}, {})[0] == 401
        assert post({"metric": "x", "value": 1, "type": "count"}, {"Authorization": "Bearer no"})[0] == 401
        assert fetch(daemon.url + "/api/v1/token", {"api_key": "no"})[0] in (401, 403)
        daemon.expect(
            {
                "etl_errors": 40,
                'etl_lag{job="nightly"}': 12.5,
                "etl_rows": 45,
                "histogram_sum(sum_over_time(etl_time[10m]))": 1.5,
                "x": None,
            }
        )
        assert key not in daemon.log() and token not in daemon.log(), "a secret is in the log"
