"""Rates as Prometheus 3 defines them, by a second way: straight from the samples.

The 2.42 that is asked differs from 3 in where it stretches to, so that alone it
would be no proof.
"""

from compare import Way, ask, close, points
from samples import SPAN, all_series

NAMES = ("gaps", "requests_total", "rare_total", "sawtooth", "latency_seconds_bucket")


def rate(samples, end, length):
    """What is in (end - length, end], stretched to its ends."""
    inside = [(at, value) for at, value in samples if end - length < at <= end]
    if len(inside) < 2:
        return None
    (first, begin), (last, _) = inside[0], inside[-1]
    grown = inside[-1][1] - begin
    grown += sum(before for (_, before), (_, after) in zip(inside, inside[1:]) if after < before)
    seen = last - first
    step = seen / (len(inside) - 1)

    def reach(gap):
        return step / 2 if gap >= step * 1.1 else gap

    ahead = reach(first - (end - length))
    if grown > 0 and begin >= 0:
        ahead = min(ahead, seen * begin / grown)
    return grown * (seen + ahead + reach(end - last)) / seen / length


def differences(us, start):
    """How many values were compared, and what differs."""
    every, count, wrong = all_series(start), 0, []
    for name in NAMES:
        for length in (45, 300, 600):
            for step in (15, 300):
                first, last = start - 297, start + SPAN + 603
                way = Way("", "query_range", False, start=first, end=last, step=step)
                found = points(*ask(us, f"rate({name}[{length}s])", way))
                for one in (one for one in every if one.name == name):
                    values = found.get(tuple(sorted(one.labels.items())), {})
                    for at in range(first, last + 1, step):
                        count += 1
                        wanted, got = rate(one.points, at, length), values.get(at)
                        if (wanted is None) != (got is None) or not (wanted is None or close(wanted, got)):
                            wrong.append(f"rate({name}[{length}s]) of {one.labels} at {at}: {got}, by hand {wanted}")
    return count, wrong
