"""The expressions that are compared, by area.

All are PromQL of Prometheus 2.42 but for names that have changed since; those
are translated in `compare.py`. NEAR is a time shortly after the middle of the
samples. Ranges inside of subqueries, whose times are round, end between windows.
"""

import edges

COUNTERS = ("requests_total", "cpu_seconds_total", "rare_total", "idle_total", "latency_seconds_bucket")
GAUGES = ("temperature", "balance", "sawtooth", "line", "steps", "gaps", "huge", "tiny")
MATHS = (
    "abs acos acosh asin asinh atan atanh ceil cos cosh deg exp floor ln log10 log2 rad round sgn sin sinh sqrt"
    " tan tanh"
).split()
DATES = "day_of_month day_of_week day_of_year days_in_month hour minute month year".split()
OVER_TIME = (
    "avg_over_time count_over_time last_over_time max_over_time min_over_time present_over_time stddev_over_time"
    " stdvar_over_time sum_over_time changes"
).split()
ARITHMETIC = ("+", "-", "*", "/", "%", "^", "atan2")
COMPARISONS = ("==", "!=", ">", "<", ">=", "<=")
AGGREGATIONS = ("sum", "avg", "min", "max", "count", "group", "stddev", "stdvar")


def expressions():
    """Pairs of area and expression, each expression once."""
    seen = set()
    for area, texts in AREAS.items():
        for text in texts():
            if text not in seen:
                seen.add(text)
                yield area, text


def selectors():
    yield from COUNTERS
    yield from GAUGES
    yield from (
        'requests_total{job="api"}',
        'requests_total{job!="api"}',
        'requests_total{job=~"a.+"}',
        'requests_total{job!~"a.+"}',
        'requests_total{job=~"api|batch",instance=~"[01]"}',
        'requests_total{code=~"5.."}',
        'requests_total{code!~"5..",method="get"}',
        'requests_total{nope=""}',
        'requests_total{nope!=""}',
        'requests_total{nope=~".*"}',
        'requests_total{nope=~".+"}',
        'requests_total{job=~""}',
        'requests_total{job=~"AP"}',
        'requests_total{job=~"(?i)API"}',
        '{__name__="line"}',
        '{__name__=~"li.*|steps"}',
        '{__name__!~"latency.*|requests.*|cpu.*",job="api"}',
        '{job="api",__name__=~"t.*"}',
        '{path="/srv/app-7/bin"}',
        '{path=~"/srv/[a-z]+-\\\\d/bin"}',
        "nothing_at_all",
        'line{job="nobody"}',
        "requests_total{job='api'}",
        "requests_total{job=`api`}",
        "requests_total{job=\"a\\u0070i\"}",
    )
    for text in ("temperature[1m]", 'gaps{gap="short"}[5m]', "line[30s]", "requests_total[25s]", "nothing[5m]"):
        yield text


def functions_of_ranges():
    for function in OVER_TIME:
        for series in ("temperature", "sawtooth", "gaps", "requests_total"):
            yield f"{function}({series}[5m])"
        yield f"{function}(balance[35s])"
    for function in ("rate", "increase", "irate", "idelta", "delta", "resets", "deriv"):
        for series in COUNTERS if function in ("rate", "increase", "irate", "resets") else ():
            yield f"{function}({series}[5m])"
            yield f"{function}({series}[45s])"
        for series in ("temperature", "line", "steps", "gaps", "sawtooth", "balance"):
            yield f"{function}({series}[5m])"
    for share in ("0", "0.5", "0.95", "1", "-1", "2", "NaN"):
        yield f"quantile_over_time({share}, temperature[5m])"
    for ahead in ("0", "60", "-60", "3600"):
        yield f"predict_linear(line[5m], {ahead})"
        yield f"predict_linear(temperature[10m], {ahead})"
    for factors in ("0.5, 0.5", "0.1, 0.9", "0.9, 0.01"):
        yield f"double_exponential_smoothing(temperature[5m], {factors})"
    yield "sum_over_time(huge[5m])"
    yield "avg_over_time(huge[5m])"
    yield "sum_over_time(tiny[5m])"
    yield "stddev_over_time(tiny[5m])"
    yield "absent_over_time(nothing_at_all[5m])"
    yield 'absent_over_time(nothing_at_all{job="api",x=~"a"}[5m])'
    yield "absent_over_time(line[5m])"
    yield "rate(rare_total[1m])"
    yield "rate(gaps[10m])"
    yield "increase(requests_total[9s])"


def functions_of_vectors():
    for function in MATHS:
        yield f"{function}(temperature)"
        yield f"{function}(balance)"
        yield f"{function}(balance / 20)"
        yield f"{function}(huge)"
    for function in DATES:
        yield f"{function}(timestamp(line))"
        yield f"{function}()"
        yield f"{function}(line * 1e7)"
    for nearest in ("1", "10", "0.1", "-5", "0.3"):
        yield f"round(temperature, {nearest})"
    for bounds in ("19, 21", "21, 19", "-Inf, +Inf", "NaN, 5"):
        yield f"clamp(temperature, {bounds})"
    yield from ("clamp_min(balance, 0)", "clamp_max(balance, 0)", "clamp_min(balance, NaN)")
    yield from ("sort(temperature)", "sort_desc(temperature)", "sort(balance)", "sort_desc(balance > 0)")
    yield from ("scalar(line)", "scalar(temperature)", "scalar(nothing_at_all)", "vector(1)", "vector(NaN)")
    yield from ("time()", "pi()", "vector(time())", "timestamp(temperature)", "timestamp(temperature + 0)")
    yield from ("timestamp(gaps)", "timestamp(rare_total)", "absent(line)", "absent(nothing_at_all)")
    yield from ('absent(nothing{job="api",a!="b"})', "absent(sum(nothing_at_all))", "absent(line > 1e9)")


def operators():
    for operator in ARITHMETIC:
        yield f"temperature {operator} balance"
        yield f"temperature {operator} 3"
        yield f"3 {operator} temperature"
        yield f"balance {operator} 0"
        yield f"7 {operator} 2.5"
        yield f"requests_total {operator} ignoring(code) group_left sum without(code) (requests_total)"
    for operator in COMPARISONS:
        yield f"temperature {operator} 20"
        yield f"20 {operator} temperature"
        yield f"temperature {operator} bool 20"
        yield f"temperature {operator} balance"
        yield f"temperature {operator} bool balance"
        yield f"1 {operator} bool 2"
        yield f"steps {operator} on(job) group_right sawtooth"
        yield f"NaN {operator} bool temperature"
    yield from (
        "-temperature",
        "+temperature",
        "--temperature",
        "-2 ^ 2",
        "2 ^ 3 ^ 2",
        "-line ^ 2",
        "1 + 2 * 3 % 4 - 5 / 6",
        "10 % -3",
        "-10 % 3",
        "1 / 0",
        "-1 / 0",
        "0 / 0",
        "1e308 * 10",
        "0x1F + 1",
        "1e-3",
        ".5",
        "Inf - Inf",
        '"a string"',
        "1 + time()",
        "temperature + on(job, instance) balance",
        "temperature * on(job) group_left(version) build_info",
        "temperature * on(job) group_left build_info",
        "requests_total / on(job) group_left quota",
        "quota * on(job) group_right requests_total",
        "build_info * on(job) group_right(version, path) temperature",
        "temperature * ignoring(instance) group_left quota",
        "sum by(job)(rate(requests_total{code=\"500\"}[5m])) / sum by(job)(rate(requests_total[5m]))",
        "temperature > bool ignoring(nope) balance",
        "line == on() group_left() steps",
        "sum(temperature) / count(temperature)",
        "temperature - temperature offset 1m",
        "temperature == temperature",
        "temperature != temperature",
    )


def sets():
    pairs = (
        ("temperature", "balance"),
        ("temperature > 20", "temperature < 21"),
        ("requests_total", 'requests_total{code="500"}'),
        ("line", "steps"),
        ("nothing_at_all", "line"),
        ("gaps", 'gaps{gap="long"}'),
    )
    for left, right in pairs:
        for operator in ("and", "or", "unless"):
            yield f"{left} {operator} {right}"
            yield f"{right} {operator} {left}"
            yield f"{left} {operator} on(job) {right}"
            yield f"{left} {operator} ignoring(instance, code, method) {right}"
            yield f"{left} {operator} on() {right}"
    yield "line or steps and line"
    yield "line unless steps or sawtooth"
    yield "temperature and vector(1)"
    yield "temperature and on() vector(1)"
    yield "line or vector(0)"
    yield "nothing_at_all or on() vector(0)"


def aggregations():
    for operator in AGGREGATIONS:
        for series in ("temperature", "requests_total", "gaps", "huge"):
            yield f"{operator}({series})"
            yield f"{operator} by (job) ({series})"
            yield f"{operator} without (instance, code, gap) ({series})"
        yield f"{operator} by (job, method) (rate(requests_total[5m]))"
        yield f"{operator} by (nope) (temperature)"
        yield f"{operator} by () (temperature)"
        yield f"{operator} without () (temperature)"
        yield f"{operator}(nothing_at_all)"
        yield f"{operator} by (__name__) ({{job=\"api\",__name__!~\"huge|tiny\"}})"
    for number in ("1", "3", "0", "100", "-1", "2.7"):
        yield f"sort(topk({number}, temperature))"
        yield f"sort(bottomk({number}, temperature))"
        yield f"topk({number}, balance)"
    yield "topk by (job) (1, rate(requests_total[5m]))"
    yield "bottomk without (instance) (1, temperature)"
    yield "topk(scalar(steps), temperature)"
    for share in ("0", "0.3", "0.5", "1", "-1", "2", "NaN"):
        yield f"quantile({share}, temperature)"
        yield f"quantile by (job) ({share}, rate(requests_total[5m]))"
    yield 'count_values("value", steps)'
    yield 'count_values("value", round(temperature))'
    yield 'count_values by (job) ("value", round(balance / 5))'
    yield 'count_values without (instance) ("job", round(balance / 5))'
    yield "sum(sum by (job) (temperature))"
    yield "sum by (job) (temperature) > 60"
    yield "avg(temperature) by (job)"
    yield "count(count by (__name__) ({job=\"api\"}))"


def times():
    for shift in ("10s", "1m", "7m", "35m", "-1m", "-5m", "0s"):
        yield f"temperature offset {shift}"
        yield f"sum(rate(requests_total[5m] offset {shift}))"
        yield f"max_over_time(temperature[1m] offset {shift})"
    for at in ("@ NEAR", "@ NEAR.5", "@ start()", "@ end()", "@ NEAR offset 1m", "offset -1m @ NEAR"):
        yield f"temperature {at}"
        yield f"rate(requests_total[5m] {at})"
        yield f"sum_over_time(temperature[1m] {at})"
    yield "topk(2, temperature @ end())"
    yield "temperature - temperature @ start()"
    yield "timestamp(temperature offset 1m)"
    yield "timestamp(temperature @ NEAR)"
    yield "sum(temperature @ 0)"


def subqueries():
    for function in ("max_over_time", "avg_over_time", "sum_over_time", "count_over_time", "last_over_time"):
        yield f"{function}(temperature[10m:1m])"
        yield f"{function}(sum(temperature)[10m:30s])"
        yield f"{function}((temperature > 20)[10m:20s])"
        yield f"{function}(temperature[10m:1m] offset 3m)"
        yield f"{function}(temperature[10m:])"
    yield "max_over_time(irate(requests_total[1m])[10m:1m])"
    yield "max_over_time(rate(requests_total[65s])[10m:1m])"
    yield "rate(sum(requests_total)[5m:10s])"
    yield "increase(requests_total[5m:20s])"
    yield "deriv(balance[5m:30s])"
    yield "quantile_over_time(0.9, balance[10m:30s])"
    yield "min_over_time(max_over_time(balance[55s])[10m:1m])"
    yield "sum_over_time(max_over_time(balance[55s:10s])[10m:1m])"
    yield "max_over_time(temperature[5m:10s] @ NEAR)"
    yield "sum_over_time(time()[5m:1m])"
    yield "avg_over_time(vector(3)[5m:1m])"
    yield "absent_over_time(nothing_at_all[5m:10s])"
    yield "temperature[1m:10s]"
    yield "sum(temperature)[1m:20s]"
    yield "count_over_time(gaps[20m:10s])"


def histograms():
    for share in ("0", "0.1", "0.5", "0.9", "0.99", "1", "-1", "2", "NaN"):
        yield f"histogram_quantile({share}, latency_seconds_bucket)"
        yield f"histogram_quantile({share}, sum by (le) (rate(latency_seconds_bucket[5m])))"
        yield f"histogram_quantile({share}, sum by (job, le) (increase(latency_seconds_bucket[10m])))"
    yield 'histogram_quantile(0.5, latency_seconds_bucket{le!="+Inf"})'
    yield 'histogram_quantile(0.5, latency_seconds_bucket{le="+Inf"})'
    yield 'histogram_quantile(0.5, latency_seconds_bucket{le=~"0.1|\\\\+Inf"})'
    yield "histogram_quantile(0.5, temperature)"
    yield "histogram_quantile(scalar(steps) / 20, latency_seconds_bucket)"
    yield "sum by (le) (latency_seconds_bucket)"
    yield "rate(latency_seconds_sum[5m]) / rate(latency_seconds_count[5m])"
    yield 'latency_seconds_bucket{le="0.5"} / ignoring(le) latency_seconds_count'


def labels():
    replace = 'label_replace(build_info, "{}", "{}", "{}", "{}")'
    for parts in (
        ("app", "$1", "path", "/srv/([a-z]+)-.*"),
        ("app", "$1", "path", "app"),
        ("app", "${1}_x", "path", ".*/([^/]+)/bin"),
        ("app", "${name}", "path", ".*/(?P<name>[^/]+)/bin"),
        ("app", "$2-$1", "version", "(\\\\d+)\\\\.(\\\\d+)"),
        ("version", "", "version", ".*"),
        ("app", "fixed", "nope", ""),
        ("app", "fixed", "nope", ".+"),
        ("app", "$0", "path", ".*"),
        ("app", "$$1", "version", "(.*)"),
        ("app", "$9", "version", "(.*)"),
        ("job", "all", "job", "api"),
        ("__name__", "renamed", "job", "api"),
    ):
        yield replace.format(*parts)
    yield 'label_replace(temperature, "x", "$1", "instance", "(.)") + 0'
    yield 'sum by (x) (label_replace(temperature, "x", "$1", "job", "(.).*"))'
    for parts in (
        ("to", "-", "job", "version"),
        ("to", "", "job", "version", "path"),
        ("to", "-", "nope", "job"),
        ("job", "/", "version"),
        ("to", ","),
    ):
        yield "label_join(build_info, {})".format(", ".join(f'"{part}"' for part in parts))


def mistakes():
    """What both must refuse, with the same kind of error."""
    yield from (
        "sum(",
        "temperature[5m",
        "temperature{",
        'temperature{job="}',
        "temperature{job==\"a\"}",
        "{}",
        '{job=~".*"}',
        '{job=""}',
        "rate(temperature)",
        "sum(temperature[5m])",
        "temperature[5m] + 1",
        "unknown_function(temperature)",
        "topk(temperature)",
        'topk("a", temperature)',
        "round(temperature, temperature)",
        "temperature offset",
        "temperature @ noon",
        "1 > 2",
        "temperature and 1",
        "temperature + on(job) group_left(job) balance",
        "temperature + on(job) balance",
        "temperature * on(job) group_left requests_total",
        "temperature and on(job) group_left balance",
        'label_replace(temperature, "x", "$1", "job", "(")',
        "label_replace(temperature)",
        'label_replace(temperature, "job", "", "job", ".*") + 0 + temperature{x=~"("}',
        'temperature{job=~"("}',
        "temperature[0s]",
        "temperature[5m:0s]",
        "temperature[1x]",
        "temperature[5m][5m]",
        "rate(temperature[5m:])[5m]",
        "1 2",
        "temperature temperature",
        "(temperature",
        "temperature)",
        '"open',
        "sum by job (temperature)",
        "sum by (job",
        "bool temperature",
        "temperature == bool",
        "temperature offset 5m offset 5m",
        "temperature @ 1 @ 2",
        "sum(temperature) offset 5m",
        "temperature and bool balance",
        "-\"a\"",
        "\"a\" + \"b\"",
        "time(1)",
        "absent()",
        "",
        "   ",
        "# nothing but a comment",
        "label_replace({__name__=~\"line|steps\"}, \"__name__\", \"same\", \"job\", \".*\")",
        '{__name__=~"line|steps"} + 0',
        'label_replace(temperature, "instance", "x", "job", ".*")',
        "temperature{job=\"api\",job=\"batch\"} + nothing + 1 / ",
    )


AREAS = {
    "selectors": selectors,
    "functions of ranges": functions_of_ranges,
    "functions of vectors": functions_of_vectors,
    "operators": operators,
    "set operators": sets,
    "aggregations": aggregations,
    "offset and @": times,
    "subqueries": subqueries,
    "classic histograms": histograms,
    "label functions": labels,
    "mistakes": mistakes,
    **edges.AREAS,
}
