"""Asks one expression of several programs and says where the values differ."""

import json
import math
import re
import urllib.parse

from harness import fetch
from samples import SPAN

# Names that a Prometheus 2.42 and a VictoriaMetrics 1.79 know otherwise.
OLD_NAMES = {"double_exponential_smoothing": "holt_winters"}
RANGE = re.compile(r"\[ ?(\d+)([smh])(?= ?[\]:])")
# What is stretched to the ends of the range, so that its length is in the value.
STRETCHED = re.compile(r"\b(rate|increase|delta)\(")
TOLERANCE = 1e-9


class Way:
    """Instant or range, at which times, and whether these are ends of windows."""

    def __init__(self, name, path, on_windows, **parameters):
        self.name, self.path, self.on_windows, self.parameters = name, path, on_windows, parameters


def ways(start):
    """Times between the windows: there the ranges of Prometheus 2, which hold
    both of their ends, and those of 3, which are open on the left, are the same."""
    made = [
        Way(f"instant at {shift} s", "query", False, time=start + shift)
        for shift in (3, 1207, 1803, SPAN - 3, SPAN + 123, SPAN + 417)
    ]
    made.append(Way("instant at the end of a window", "query", True, time=start + 1500))
    made.append(
        Way("range by 15 s", "query_range", False, start=start + 1203, end=start + 2403, step=15),
    )
    made.append(
        Way("range by 5 m", "query_range", False, start=start - 297, end=start + SPAN + 603, step=300),
    )
    made.append(
        Way("range on windows", "query_range", True, start=start + 1200, end=start + 1800, step=60),
    )
    return made


def applies(way, expr):
    """On windows only what an old Prometheus can be asked in other words."""
    return not (way.on_windows and STRETCHED.search(expr))


def ask(peer, expr, way):
    """`(kind, values)`, or `("error", its type)`."""
    if peer.name != "statsdeck":
        for new, old in OLD_NAMES.items():
            expr = expr.replace(new, old)
        if peer.name == "prometheus" and way.on_windows:
            expr = RANGE.sub(shorter, expr)
    parameters = {"query": expr, **way.parameters}
    if peer.name == "victoria-metrics":
        parameters["nocache"] = 1
    body = urllib.parse.urlencode(parameters).encode()
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    status, text = fetch(f"{peer.url}/api/v1/{way.path}", body=body, headers=headers)
    try:
        answer = json.loads(text)
    except ValueError:
        return "error", f"{status} {text[:200]}"
    if answer["status"] != "success":
        return "error", answer["errorType"]
    return answer["data"]["resultType"], answer["data"]["result"]


def shorter(found):
    """Open on the left, in whole ms: what Prometheus 3 means by the same range."""
    ms = int(found[1]) * {"s": 1000, "m": 60_000, "h": 3_600_000}[found[2]] - 1
    return f"[{ms}ms"


def difference(ours, theirs, ordered):
    """What differs, in words; None where nothing does."""
    if ours[0] != theirs[0]:
        return f"{brief(ours)}, theirs {brief(theirs)}"
    if ours[0] == "error":
        # Which kind of error a VictoriaMetrics gives is no word of Prometheus'.
        return None if ours[1] == theirs[1] or theirs[1].isdigit() else f"{ours[1]}, theirs {theirs[1]}"
    if ours[0] == "string":
        return None if ours[1] == theirs[1] else f"{ours[1]}, theirs {theirs[1]}"
    left, right = points(*ours), points(*theirs)
    if ordered and ours[0] == "vector" and sorted(left) == sorted(right):
        # Equal ones may come in any order.
        if not all(map(close, in_order(left), in_order(right))):
            return "another order"
    for labels in sorted(left.keys() | right.keys()):
        mine, other = left.get(labels), right.get(labels)
        if mine is None or other is None:
            return f"only {'theirs' if mine is None else 'ours'} has {dict(labels)}"
        for at in sorted(mine.keys() | other.keys()):
            if at not in mine or at not in other:
                whose = "theirs" if at not in mine else "ours"
                return f"only {whose} has a value of {dict(labels)} at {at}: {mine.get(at, other.get(at))}"
            if not close(mine[at], other[at]):
                return f"{dict(labels)} at {at}: {mine[at]!r}, theirs {other[at]!r}"
    return None


def seen_as(peer, answer):
    """Without what a VictoriaMetrics does everywhere in its own way: NaN is no
    value, a scalar a vector, and many functions keep the name."""
    kind, result = answer
    if peer.name != "victoria-metrics":
        return answer
    if kind == "scalar":
        kind, result = "vector", [{"metric": {}, "value": result}]
    if kind not in ("vector", "matrix"):
        return answer
    kept = []
    for series in result:
        pairs = series["values"] if kind == "matrix" else [series["value"]]
        pairs = [pair for pair in pairs if pair[1] != "NaN"]
        labels = {name: value for name, value in series["metric"].items() if name != "__name__"}
        if pairs:
            kept.append({"metric": labels, "values": pairs, "value": pairs[-1]})
    return kind, kept


def points(kind, result):
    """Values by time, by labels."""
    if kind == "scalar":
        return {(): {result[0]: float(result[1])}}
    made = {}
    for series in result:
        pairs = series["values"] if kind == "matrix" else [series["value"]]
        labels = tuple(sorted(series["metric"].items()))
        # Without names two series may look the same: both are to be the same.
        while labels in made:
            labels += (("again", ""),)
        made[labels] = {at: float(value) for at, value in pairs}
    return made


def in_order(of):
    return [value for values in of.values() for value in values.values()]


def close(a, b):
    if math.isnan(a) or math.isnan(b):
        return math.isnan(a) and math.isnan(b)
    return a == b or math.isclose(a, b, rel_tol=TOLERANCE, abs_tol=1e-12)


def brief(answer):
    kind, value = answer
    return f"{kind} {value}" if kind == "error" else f"{kind} of {len(value)}"
