"""Known differences, each with its reason.

`(peer, expression, way, difference, reason)`: the three in the middle are
regular expressions that are looked for; "" is in everything. What concerns
rates of a Prometheus 2.42 is computed a second time by `by_hand.py`.
"""

OLD, OTHER = "prometheus", "victoria-metrics"
NUMBERS = r"\d, theirs -?\d"

KNOWN = [
    (OLD, "atan2", "", "only (ours|theirs) has", "2.42 keeps the name after atan2; Prometheus 3 drops it"),
    (OLD, "offset 0s", "", "theirs error bad_data", "2.42 refuses an offset of 0; Prometheus 3 takes it"),
    (
        OLD,
        r"(rate|increase)\((gaps|.*offset|latency_seconds_bucket\[10m|\(balance \^)",
        "",
        NUMBERS,
        "2.42 stretches a counter that began within the range up to where it would have been 0; Prometheus 3 by "
        "half a step at most",
    ),
    (OLD, r"std(dev|var)\b.*bool 5", "", "nan, theirs 0.0", "2.42 finds no deviation in a single infinity; Prometheus 3 NaN"),
    (OLD, r"(top|bottom)k\(-9223372036854775808", "", "error execution", "2.42 takes the least integer; Prometheus 3 refuses it"),
    (OLD, "^(1h|1_000|0x_f)$", "", "theirs error bad_data", "2.42 has no durations as numbers, and no _ in them"),
    (OLD, '"(a-b|b-c)"', "", "theirs error execution", "2.42 wants plain names of labels; Prometheus 3 takes any"),
    (
        OLD,
        r"(top|bottom)k\(3.*(NaN|-Inf|\* 0|\^|bool 0)",
        "",
        "only (ours|theirs)",
        "which of equal ones are taken is left open; here the first by their labels",
    ),
    (OTHER, r"\b(rate|increase|irate)\(", "", "", "rates are not stretched, and know the sample before the range"),
    (OTHER, r"\b(changes|resets|delta|idelta)\(", "", "", "the sample before the range counts, too"),
    (OTHER, r"\bgaps\b", "", "", "how old a value may be is derived from how near the samples are to each other"),
    (OTHER, r"\[.*:.*\]", "", "", "subqueries end with the data, and their steps are that of the query"),
    (OTHER, r"^[^(]*\[\d+[smh]\]$", "range", "error bad_data", "a range vector is evaluated as if it were a function's"),
    (OTHER, "double_exponential_smoothing", "", NUMBERS, "its holt_winters begins with other values"),
    (OTHER, r"sgn|\^ 0", "", "only theirs", "a value of nothing (NaN) has a sign and a power"),
    (OTHER, "day_of_year", "", "theirs error 422", "1.79 does not know it"),
    (OTHER, r"round\(temperature, 0.3\)", "", NUMBERS, "rounds to one place behind the point"),
    (OTHER, r"clamp.*(21, 19|NaN)", "", "only theirs", "bounds that contradict each other are taken"),
    (OTHER, r"timestamp\(temperature \+ 0\)", "", NUMBERS, "looks through the addition"),
    (OTHER, '^"', "", "theirs (vector|matrix)", "a string alone is no result"),
    (OTHER, "> 20 or.*(on|ignoring)", "", "only theirs", "or keeps all of the right side's group members"),
    (OTHER, r"topk\(scalar\(steps\)", "", "error execution", "NaN as a number of series is 0, not an error"),
    (OTHER, r"histogram_quantile\((-1|2),", "", "only theirs", "no data are a quantile, too"),
    (OTHER, r'le!="\+Inf"', "", "only theirs", "a histogram may do without its +Inf"),
    (OTHER, r"scalar\(steps\) / 20", "", "theirs error 422", "takes constants alone where a quantile is asked for"),
    (OTHER, r"label_replace.*(\"app\"\)|nope)", "", "only theirs", "sets the label where nothing matches, too"),
]
