"""The samples that all of them are fed, and the two forms they are fed in.

One hour of windows of 10 s, seeded, so that every run compares the same. A
series is a name, labels, a type and (seconds, value) pairs.
"""

import random
import struct

WINDOW = 10
SPAN = 3600
BOUNDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, float("inf"))


class Series:
    def __init__(self, name, kind, points, **labels):
        self.name, self.kind, self.points, self.labels = name, kind, points, labels


def all_series(start):
    """Ends of windows from `start` on, a multiple of the window."""
    # Few digits: a VictoriaMetrics keeps about twelve.
    chance = random.Random(20_240)
    times = range(start + WINDOW, start + SPAN + 1, WINDOW)
    made = []

    def add(name, kind, value_of, times=times, **labels):
        made.append(Series(name, kind, [(at, value_of(at)) for at in times], **labels))

    def counter(mean, begin=0.0, whole=True):
        total = [begin]

        def step(_):
            grown = chance.expovariate(1 / mean) if mean else 0.0
            total[0] = round(total[0] + (round(grown) if whole else grown), 4)
            return total[0]

        return step

    def walk(begin, width):
        level = [begin]

        def step(_):
            level[0] = round(level[0] + chance.gauss(0, width), 4)
            return level[0]

        return step

    for job in ("api", "batch"):
        for instance in "012":
            for method in ("get", "post"):
                for code in ("200", "500"):
                    mean = {"200": 40, "500": 2}[code] * (1 + int(instance))
                    begin = 1000.0 if instance == "2" else 0.0
                    labels = dict(job=job, instance=instance, method=method, code=code)
                    add("requests_total", "counter", counter(mean, begin), **labels)
            add("cpu_seconds_total", "counter", counter(0.7, whole=False), job=job, instance=instance)
            add("temperature", "gauge", walk(20.0, 0.5), job=job, instance=instance)
            add("balance", "gauge", walk(0.0, 3.0), job=job, instance=instance)
    add("idle_total", "counter", counter(0), job="api")
    # Of no type that promises anything: falls are resets to those who ask for a rate.
    add("sawtooth", "gauge", lambda at: float((at - start) // WINDOW % 17) * 3, job="api")
    add("sawtooth", "gauge", lambda at: float((at - start) // WINDOW % 23), job="batch")
    add("line", "gauge", lambda at: (at - start) * 0.25 - 100, job="api")
    add("steps", "gauge", lambda at: float((at - start) // 300), job="api")
    add("huge", "gauge", lambda at: 1e300 * (1 if (at - start) // WINDOW % 2 else -1), job="api")
    add("tiny", "gauge", lambda at: 1e-300 * ((at - start) // WINDOW), job="api")
    # Gaps within the lookback and beyond it; a beginning and an end in between.
    add("gaps", "gauge", walk(5, 1), [t for t in times if (t - start) // 120 % 2], gap="short")
    add("gaps", "gauge", walk(5, 1), [t for t in times if (t - start) // 500 % 2], gap="long")
    add("gaps", "gauge", walk(5, 1), [t for t in times if start + 900 < t <= start + 2100], gap="part")
    add("rare_total", "counter", counter(1), [t for t in times if (t - start) % 70 == 0], job="api")
    for job, version in (("api", "1.2"), ("batch", "2.0")):
        add("build_info", "gauge", lambda _: 1.0, job=job, version=version, path="/srv/app-7/bin")
        add("quota", "gauge", lambda _: {"api": 500.0, "batch": 250.0}[job], job=job)
        grown = [0.0] * len(BOUNDS)
        points, sums = [[] for _ in BOUNDS], []
        total = 0.0
        for at in times:
            for _ in range(chance.randrange(0, 9)):
                value = chance.lognormvariate(-1 if job == "api" else 0, 1)
                total = round(total + value, 4)
                for place, bound in enumerate(BOUNDS):
                    grown[place] += value <= bound
            for place, count in enumerate(grown):
                points[place].append((at, count))
            sums.append((at, total))
        for bound, values in zip(BOUNDS, points):
            le = "+Inf" if bound == float("inf") else f"{bound:g}"
            made.append(Series("latency_seconds_bucket", "counter", values, job=job, le=le))
        made.append(Series("latency_seconds_count", "counter", points[-1], job=job))
        made.append(Series("latency_seconds_sum", "counter", sums, job=job))
    return made


def as_text(series):
    """Prometheus text with times in ms, for `statsdeck import`."""
    lines, typed = [], set()
    for one in series:
        if one.name not in typed:
            typed.add(one.name)
            lines.append(f"# TYPE {one.name} {one.kind}")
        labels = ",".join(f'{name}="{value}"' for name, value in one.labels.items())
        lines += [f"{one.name}{{{labels}}} {value!r} {at * 1000}" for at, value in one.points]
    return "\n".join(lines) + "\n"


def remote_writes(series):
    """Bodies of remote write requests (protobuf in a snappy block), in the order
    of time, as Prometheus wants it."""
    times = sorted({at for one in series for at, _ in one.points})
    values = [dict(one.points) for one in series]
    for first in range(0, len(times), 60):
        body = b""
        for one, at_time in zip(series, values):
            samples = [(at, at_time[at]) for at in times[first : first + 60] if at in at_time]
            if samples:
                names = sorted({"__name__": one.name, **one.labels}.items())
                message = b"".join(field(1, field(1, n.encode()) + field(2, v.encode())) for n, v in names)
                for at, value in samples:
                    message += field(2, b"\x09" + struct.pack("<d", value) + b"\x10" + varint(at * 1000))
                body += field(1, message)
        yield snappy(body)


def field(number, payload):
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def varint(number):
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def snappy(data):
    """A snappy block of literals alone: valid, if not small."""
    out = varint(len(data))
    for at in range(0, len(data), 1 << 16):
        piece = data[at : at + (1 << 16)]
        out += b"\xf4" + struct.pack("<H", len(piece) - 1) + piece
    return out
