"""Expressions at the edges: numbers that are none, ranges without a sample or with
one, steps larger than the range, times fixed at an end, labels that collide or are
long. Values that are not finite are made by subqueries, since samples have none.
"""

# What they hold besides numbers: both infinities, and NaN.
ODD = {
    "infinite at first": "(line / (steps > bool 5))",
    "not a number at times": "(balance ^ 0.5)",
    "both": "(balance / (balance > bool 0))",
    "never a number": "(temperature * NaN)",
    "always infinite": "(temperature * -Inf)",
    "zero of both signs": "(balance * 0)",
}
FOLDS = (
    "avg_over_time count_over_time last_over_time max_over_time min_over_time present_over_time stddev_over_time"
    " stdvar_over_time sum_over_time changes resets rate increase delta irate idelta deriv"
).split()
AGGREGATIONS = ("sum", "avg", "min", "max", "count", "group", "stddev", "stdvar")
LONG = "v" * 3000


def not_finite():
    for odd in ODD.values():
        for fold in FOLDS:
            yield f"{fold}({odd}[7m:35s])"
        for aggregation in AGGREGATIONS:
            yield f"{aggregation}({odd})"
            yield f"{aggregation} by (job) ({odd})"
        for share in ("0", "0.4", "1", "-Inf", "+Inf"):
            yield f"quantile_over_time({share}, {odd}[7m:35s])"
            yield f"quantile by (job) ({share}, {odd})"
        yield f"predict_linear({odd}[7m:35s], 60)"
        yield f"double_exponential_smoothing({odd}[7m:35s], 0.3, 0.7)"
        yield f"sort({odd})"
        yield f"sort_desc({odd})"
        yield f"sort(topk(3, {odd}))"
        yield f"sort_desc(bottomk(3, {odd}))"
        yield f'count_values("value", {odd})'
        for comparison in ("==", "!=", ">", "<="):
            yield f"{odd} {comparison} {odd}"
            yield f"{odd} {comparison} bool Inf"
        for function in ("abs", "sgn", "round", "ceil", "floor", "exp", "ln", "sqrt", "acosh", "atanh", "deg"):
            yield f"{function}({odd})"
        yield f"clamp({odd}, -1, 1)"
        yield f"clamp_min({odd}, NaN)"
        yield f"clamp_max({odd}, Inf)"
        yield f"{odd} % 3"
        yield f"3 % {odd}"
        yield f"{odd} atan2 1"
        yield f"{odd} or temperature"
        yield f"scalar({odd})"
        yield f"absent({odd})"
        yield f"histogram_quantile(0.5, latency_seconds_bucket * on () group_left () sum({odd}))"
    for number in ("NaN", "Inf", "-Inf", "1e300", "-0"):
        for operator in ("+", "*", "/", "%", "^", "atan2"):
            yield f"{number} {operator} -0"
            yield f"0 {operator} {number}"
            yield f"balance {operator} {number}"
            yield f"{number} {operator} balance"
        yield f"vector({number}) == bool vector({number})"
        yield f"round(balance, {number})"
        yield f"predict_linear(line[5m], {number})"
        yield f"vector({number}) and vector(1)"
    for number in ("Inf", "-Inf", "1e300", "9223372036854775807", "-9223372036854775808"):
        yield f"sort(topk({number}, temperature))"
        yield f"sort(bottomk({number}, temperature))"
    for month in ("hour", "day_of_week", "month", "year", "days_in_month", "minute"):
        for second in ("0", "-1", "951782400", "-62135596801", "4102444800", "253402300799", "1e12", "-1e13"):
            yield f"{month}(vector({second}))"


def ranges():
    """Ranges that hold nothing, one sample, or all there is."""
    for fold in FOLDS:
        yield f"{fold}(gaps[1m])"
        yield f"{fold}(temperature[1ms])"
        yield f"{fold}(temperature[10s])"
        yield f"{fold}(steps[2h])"
        yield f"{fold}(temperature[5m] offset 2h)"
        yield f"{fold}(temperature[5m] offset -50m)"
        yield f"{fold}(temperature[5m] @ 0)"
        yield f"{fold}(sawtooth[5m] @ end())"
        yield f"{fold}(sawtooth[5m] @ start() offset -7m)"
        # Steps as large as the range, and larger.
        yield f"{fold}(sawtooth[5m:5m])"
        yield f"{fold}(sawtooth[1m:5m])"
        yield f"{fold}(sawtooth[1s:1h])"
        yield f"{fold}(sawtooth[299999ms:7s] @ end() offset 3m)"
        yield f"{fold}((sawtooth > 20)[5m:30s])"
        yield f"{fold}(nothing_at_all[5m:30s])"
    yield "max_over_time(min_over_time(sawtooth[595s:1m])[595s:5m] @ end())"
    yield "max_over_time(sum_over_time(sawtooth[175s:30s] @ start())[10m:3m] offset -10m)"
    yield "sum_over_time(sum_over_time(steps[595s:1m] offset 5m)[10m:1m] offset -5m)"
    yield "count_over_time((temperature @ end())[5m:1m])"
    yield "sum_over_time((time() - timestamp(rare_total))[299999ms:7s])"
    yield "timestamp(gaps offset -1m)"
    yield "timestamp(timestamp(gaps))"
    yield "timestamp(gaps @ end())"
    yield "absent_over_time(gaps[1m])"
    yield "absent_over_time(gaps[1m] @ end())"
    yield 'absent_over_time(gaps{gap="part"}[1m:20s])'
    yield "absent(gaps)"
    yield "temperature @ 1e9"
    yield "temperature @ -1"
    yield "temperature @ start() - temperature @ end()"
    yield "sum(temperature @ end()) by (job) / scalar(count(steps @ start()))"


def labels():
    yield f'label_replace(line, "long", "{LONG}", "", "")'
    yield f'sum by (long) (label_replace(temperature, "long", "$1{LONG}$1", "job", "(.*)"))'
    yield f'label_join(label_replace(line, "long", "{LONG}", "", ""), "longer", ",", "long", "job", "long")'
    yield f'count_values("{"n" * 500}", steps)'
    yield f'line{{job!="{LONG}"}}'
    yield 'label_replace(line, "job", "", "job", ".*")'
    yield 'label_replace(line, "x", "ä€😀\\n\\"", "", "")'
    yield 'label_replace(line, "x", "$1", "job", "a(?:p)(i)")'
    yield 'label_replace(line, "x", "${0}$", "job", "^api$")'
    yield 'label_replace(line, "x", "$", "job", "api")'
    yield 'label_replace(line, "x", "$x1", "job", "(.*)")'
    yield 'label_replace(line, "x", "$1x", "job", "(.*)")'
    yield 'label_replace(line, "x", "${1}x", "job", "(.*)")'
    yield 'label_replace(line, "__name__", "", "job", ".*")'
    yield 'label_replace(line + 1, "__name__", "again", "", "")'
    yield 'label_join(temperature, "job", "-")'
    yield 'label_join(temperature, "instance", "-", "job", "instance")'
    # Two become the same.
    yield 'label_replace(temperature, "instance", "", "instance", ".*")'
    yield 'label_join(temperature, "instance", "")'
    yield 'sum(label_replace(temperature, "instance", "", "instance", ".*"))'
    yield 'label_replace(temperature, "instance", "same", "instance", "[01]")'
    yield 'rate({__name__=~"sawtooth|steps"}[5m])'
    yield '-{__name__=~"line|steps"}'
    yield 'abs({__name__=~"line|steps"})'
    yield 'max_over_time({__name__=~"line|steps"}[5m])'
    yield 'last_over_time({__name__=~"line|steps"}[5m])'
    yield 'max by (__name__) ({__name__=~"line|steps"})'
    yield 'max without (__name__) ({__name__=~"line|steps"})'
    yield 'count by (job, job) (temperature)'
    yield 'sum without (job, __name__, nope) (temperature)'
    yield "temperature * on (job, job) group_left (version, version) build_info"
    yield "temperature * on (job) group_left (nope) build_info"
    yield "temperature * on (job) group_left (instance) build_info"
    yield "temperature == on (job) group_left (version) (build_info * 20)"
    yield "temperature > bool on (job) group_left (version) (build_info * 20)"
    yield "temperature and on (nope) line"
    yield "line unless on () nothing_at_all"
    yield "line or on () steps"
    yield "line + on () steps"
    yield "{job='api', job!='batch', job=~'.*', __name__='line'}"
    yield "line{job=~'^api$'}"
    yield "line{job=~'ap'}"
    yield "line{job=~'api|'}"
    yield "line{job!~''}"
    yield 'line{__name__!=""}'
    yield "SUM BY (job) (temperature)"
    yield "Sum(temperature) BY (job) > BOOL 1"
    yield "temperature OFFSET 1m"
    yield "nan + INF"
    yield "sum{job='api'}"
    yield "by + on"
    yield "start"
    yield "line # with a comment\n+ 1"
    yield "(((((line)))))"
    yield "- - - line"
    yield "+-+line"
    yield "-1 ^ 0.5"
    yield "2 ^ -1"
    yield "1 - -1"
    yield "1h"
    yield "0b1"
    yield "1_000"
    yield "0x_f"
    yield "1e"
    yield "017"
    yield "08"
    yield "line[5m31s]"
    yield "line[30s5m]"
    yield "line[1h1h]"
    yield "line[5m ]"
    yield "line[ 5m]"
    yield "line [5m]"
    yield "line{} offset 1m"
    yield "line offset 1m [5m]"
    yield "line[5m] offset 1m @ 5"
    yield "line[5m:] @ start() offset -1m"
    yield "line @ start"
    yield "line @ (5)"
    yield "line @ Inf"
    yield "line @ NaN"
    yield "line @ 1e300"
    yield "line offset 300y"
    yield "line[300y]"
    yield "vector(line)"
    yield "scalar(1)"
    yield 'count_values("", line)'
    yield 'count_values("a-b", line)'
    yield 'label_replace(line, "", "x", "job", ".*")'
    yield 'label_replace(line, "a-b", "x", "job", ".*")'
    yield 'label_join(line, "a-b", ",", "job")'
    yield 'label_join(line, "a", ",", "b-c")'
    yield "sum by (a-b) (line)"
    yield "line == bool on (job) group_left steps"
    yield "line or group_left steps"
    yield "line and ignoring (job) steps"
    yield "histogram_quantile(0.5, nothing_at_all)"
    yield 'histogram_quantile(0.5, label_replace(latency_seconds_bucket, "le", "x", "le", "0.5"))'
    yield 'histogram_quantile(0.5, label_replace(latency_seconds_bucket, "le", "0.25", "le", "0.5"))'
    yield 'histogram_quantile(0.5, label_replace(latency_seconds_bucket, "le", "-1", "le", "0.05"))'
    yield "histogram_quantile(0.5, -latency_seconds_bucket)"
    yield "histogram_quantile(0.5, latency_seconds_bucket * 0)"
    yield "histogram_quantile(0.5, latency_seconds_bucket * NaN)"
    yield "histogram_quantile(0.5, latency_seconds_bucket * Inf)"


AREAS = {"numbers that are none": not_finite, "ranges and steps": ranges, "labels and spellings": labels}
