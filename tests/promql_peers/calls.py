"""Requests that a Prometheus and the daemon must answer alike: status, kind of
error, and data. START is the first window's start; END the last one's end.

The third is our status, the fourth why the data may differ: then only the status
is checked.
"""

import json
import urllib.parse

from harness import fetch
from samples import SPAN

RANGE = {"start": "START", "end": "END"}
Q, R = "query", "query_range"

REQUESTS = [
    # Times.
    (Q, {"query": "line", "time": "START1000"}, 200),
    (Q, {"query": "line", "time": "START1000.123"}, 200),
    (Q, {"query": "line", "time": "START1000.9999"}, 200),
    (Q, {"query": "line", "time": "2024-05-01T12:00:00Z"}, 200),
    (Q, {"query": "time()", "time": "2024-05-01T12:00:00.5Z"}, 200),
    (Q, {"query": "time()", "time": "2024-05-01T12:00:00.123456+02:00"}, 200),
    (Q, {"query": "time()", "time": "2024-05-01 12:00:00"}, 400),
    (Q, {"query": "time()", "time": "2024-05-01"}, 400),
    (Q, {"query": "time()", "time": "-1.5"}, 200),
    (Q, {"query": "time()", "time": "0"}, 200),
    (Q, {"query": "time()", "time": "1e9"}, 200),
    (Q, {"query": "time()", "time": "noon"}, 400),
    (Q, {"query": "time()", "time": " 1"}, 400),
    # Numbers.
    (Q, {"query": "vector(1e6)", "time": "1"}, 200),
    (Q, {"query": "vector(1e21)", "time": "1"}, 200),
    (Q, {"query": "vector(123456789.123456789)", "time": "1"}, 200),
    (Q, {"query": "vector(1e-7)", "time": "1"}, 200),
    (Q, {"query": "vector(-0)", "time": "1"}, 200),
    (Q, {"query": "-1/0", "time": "1"}, 200),
    (Q, {"query": "0/0", "time": "1"}, 200),
    (Q, {"query": "'a \"b\" <&> é\\n'", "time": "1"}, 200),
    (Q, {"query": 'label_replace(vector(1), "x", "<&> \\"é\\" \\u2028", "", "")', "time": "1"}, 200),
    # Queries.
    (Q, {}, 400),
    (Q, {"query": ""}, 400),
    (Q, {"query": "sum("}, 400),
    (Q, {"query": "rate(line)"}, 400),
    (Q, {"query": "line", "timeout": "5s"}, 200),
    (Q, {"query": "line", "timeout": "5"}, 200),
    (Q, {"query": "line", "timeout": "soon"}, 400),
    (Q, {"query": "line", "timeout": "1d", "time": "START1000"}, 200),
    (Q, {"query": "line", "stats": "true", "time": "START1000"}, 200),
    (Q, {"query": "temperature * on(job) group_left balance", "time": "START1000"}, 422),
    (Q, {"query": "topk(NaN, line)", "time": "START1000"}, 422),
    (Q, {"query": "line[1m]", "time": "START1003"}, 200),
    (Q, {"query": "line[5m:1m]", "time": "START1003"}, 200),
    (Q, {"query": "nothing_at_all"}, 200),
    (Q, {"query": "line offset 5m", "time": "START1000"}, 200),
    # Ranges.
    (R, {"query": "line", **RANGE, "step": "60"}, 200),
    (R, {"query": "line", **RANGE, "step": "60.5"}, 200),
    (R, {"query": "line", **RANGE, "step": "1m"}, 200),
    (R, {"query": "line", **RANGE, "step": "1m30s"}, 200),
    (R, {"query": "line", **RANGE, "step": "1.5m"}, 400),
    (R, {"query": "line", **RANGE, "step": "0.001"}, 400),
    (R, {"query": "line", "start": "START", "end": "START", "step": "1"}, 200),
    (R, {"query": "line", "start": "START0.5", "end": "START10.5", "step": "2.5"}, 200),
    (R, {"query": "line", "start": "END", "end": "START", "step": "60"}, 400),
    (R, {"query": "line", "start": "0", "end": "11000", "step": "1"}, 200),
    (R, {"query": "line", "start": "0", "end": "11001", "step": "1"}, 400),
    (R, {"query": "line", **RANGE, "step": "0"}, 400),
    (R, {"query": "line", **RANGE, "step": "-1"}, 400),
    (R, {"query": "line", **RANGE, "step": "NaN"}, 400),
    (R, {"query": "line", **RANGE, "step": "fast"}, 400),
    (R, {"query": "line", **RANGE}, 400),
    (R, {"query": "line", "start": "START", "step": "60"}, 400),
    (R, {"query": "line", "end": "END", "step": "60"}, 400),
    (R, {**RANGE, "step": "60"}, 400),
    (R, {"query": "line[5m]", **RANGE, "step": "60"}, 400),
    (R, {"query": "'a'", **RANGE, "step": "60"}, 400),
    (R, {"query": "1", **RANGE, "step": "600"}, 200),
    (R, {"query": "time()", **RANGE, "step": "600"}, 200),
    (R, {"query": "nothing_at_all", **RANGE, "step": "60"}, 200),
    (R, {"query": "sum(", **RANGE, "step": "60"}, 400),
    (R, {"query": "line", **RANGE, "step": "1w"}, 200),
    # What there is.
    ("series", {}, 400),
    ("series", {"match[]": "line", **RANGE}, 200),
    ("series", {"match[]": "line"}, 200),
    ("series", {"match[]": ["line", "temperature"], **RANGE}, 200),
    ("series", {"match[]": '{job="api",__name__=~"t.*|b.*"}', **RANGE}, 200),
    ("series", {"match[]": "line", "start": "0", "end": "1000"}, 200),
    ("series", {"match[]": "{}"}, 400),
    ("series", {"match[]": '{job=~".*"}'}, 400),
    ("series", {"match[]": "sum(line)"}, 400),
    ("series", {"match[]": "line[5m]"}, 400),
    ("series", {"match[]": "line", "start": "x"}, 400),
    ("series", {"match[]": "line", "start": "END", "end": "START"}, 200),
    ("series", {"match[]": ""}, 400),
    ("labels", {}, 200, "our own series have labels, too"),
    ("labels", RANGE, 200),
    ("labels", {"match[]": "line", **RANGE}, 200),
    ("labels", {"match[]": ["line", "build_info"], **RANGE}, 200),
    ("labels", {"match[]": "nothing_at_all", **RANGE}, 200),
    ("labels", {"match[]": "{}"}, 400),
    ("labels", {"match[]": "x{"}, 400),
    ("labels", {"start": "x"}, 400),
    ("labels", {"start": "0", "end": "1000"}, 200),
    ("label/job/values", {}, 200),
    ("label/__name__/values", RANGE, 200),
    ("label/job/values", {"match[]": "build_info", **RANGE}, 200),
    ("label/instance/values", {"match[]": ["temperature", "line"], **RANGE}, 200),
    ("label/nope/values", {}, 200),
    ("label/a-b/values", {}, 200, "Prometheus 3 takes all names, 2.42 did not"),
    ("label/job/values", {"match[]": "{}"}, 400),
    ("label/job/values", {"end": "x"}, 400),
    ("metadata", {}, 200, "what is scraped has metadata, what is written has not"),
    ("metadata", {"limit": "x"}, 400),
    ("metadata", {"limit": "1", "metric": "nothing_at_all"}, 200),
    # The rest.
    ("format_query", {"query": "sum(rate( x [5m]))by(a)"}, 200),
    ("format_query", {"query": "x{a='b'}+on(c)group_left y"}, 200),
    ("format_query", {"query": "("}, 400),
    ("format_query", {}, 400),
    ("query_exemplars", {"query": "line", **RANGE}, 200),
    ("query_exemplars", {"query": "sum(", **RANGE}, 400),
    ("query_exemplars", {"query": "line", "start": "x", "end": "END"}, 400),
    ("query_exemplars", {"query": "line", "start": "END", "end": "START"}, 400),
    ("rules", {}, 200),
    ("rules", {"type": "alert"}, 200),
    ("rules", {"type": "record"}, 200),
    ("rules", {"type": "both"}, 400),
    ("alerts", {}, 200),
    ("targets", {}, 200),
    ("targets", {"state": "active"}, 200),
    ("alertmanagers", {}, 200),
    ("status/buildinfo", {}, 200, "another version"),
    ("status/tsdb", {}, 200, "another store"),
    ("nothing", {}, 404),
]
# What can be sent as a form.
POSTS = (Q, R, "series", "labels", "format_query", "query_exemplars")


def differences(us, peer, start):
    """How many requests were compared, and what differs."""
    count, wrong = 0, []
    for path, parameters, status, *reason in REQUESTS:
        parameters = filled(parameters, start)
        for method in ("GET", "POST") if path in POSTS else ("GET",):
            count += 1
            ours, theirs = (answer(one, method, path, parameters) for one in (us, peer))
            told = f"{method} {path} {parameters}"
            if ours[0] != status:
                wrong.append(f"{told}: {ours[0]} instead of {status}: {ours[1:]}")
            elif not reason and ours != theirs:
                wrong.append(f"{told}:\n    {str(ours)[:600]}\n    {str(theirs)[:600]}")
    return count, wrong


def filled(parameters, start):
    def fill(text):
        if text.startswith("START"):
            return repr(start + float(text[5:] or 0))
        return str(start + SPAN) if text == "END" else text

    return {name: list(map(fill, [text] if isinstance(text, str) else text)) for name, text in parameters.items()}


def answer(peer, method, path, parameters):
    """Status, kind of error, and data in an order of their own."""
    encoded = urllib.parse.urlencode(parameters, doseq=True)
    url, body = f"{peer.url}/api/v1/{path}", None
    if method == "GET":
        url += f"?{encoded}"
    else:
        body = encoded.encode()
    status, text = fetch(url, body=body, headers={"Content-Type": "application/x-www-form-urlencoded"})
    if status == 404:
        return (404,)
    try:
        told = json.loads(text)
    except ValueError:
        return status, text[:100]
    data = told.get("data")
    if path == "query" and isinstance(data, dict) and "stats" in data:
        data["stats"] = sorted(data["stats"])
    if path in ("series", "labels"):
        data = sorted(data, key=str) if data else data
    if path == "targets" and data:
        # Since 2.50.
        data.pop("droppedTargetCounts", None)
    if isinstance(data, dict) and data.get("resultType") in ("vector", "matrix"):
        data["result"].sort(key=lambda series: str(sorted(series["metric"].items())))
    return status, told.get("errorType"), bool(told.get("warnings")), data
