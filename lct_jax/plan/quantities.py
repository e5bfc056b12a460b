"""Names quantities of a plan in units in which small models are not nought and large ones are short."""

from __future__ import annotations

from lct_jax.costs.flops import Flops

Units = tuple[tuple[float, str], ...]
# Units of operations, largest first.
UNITS = ((1e15, "PFLOP"), (1e12, "TFLOP"), (1e9, "GFLOP"))
# Units of time, in seconds, largest first.
SECONDS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"))


def name_flops(flops: float) -> str:
    """Returns operations in the largest unit of which they are one at least, such as `47.2 PFLOP`."""
    size, name = _find_unit(flops, UNITS)
    return f"{flops / size:,.1f} {name}"


def name_parts(flops: Flops) -> str:
    """Returns operations and what they are for, such as `47.2 PFLOP: linear 12.1, attention 35.0`."""
    size, _ = _find_unit(flops.total, UNITS)
    linear, attention = (f"{part / size:,.1f}" for part in flops)
    return f"{name_flops(flops.total)}: linear {linear}, attention {attention}"


def name_count(parameters: int) -> str:
    """Returns a number of parameters, such as `7.5 million` or `2.892 billion`."""
    if parameters < 1e8:
        return f"{parameters / 1e6:,.1f} million"
    return f"{parameters / 1e9:,.3f} billion"


def name_days(days: float) -> str:
    """Returns a time in the largest unit of which it is one at least, or in seconds."""
    for factor, name in ((1, "days"), (24, "hours"), (24 * 60, "minutes")):
        if days * factor >= 1:
            return f"{days * factor:,.1f} {name}"
    return f"{days * 86_400:,.1f} seconds"


def name_seconds(*times: float) -> list[str]:
    """Returns times by two digits behind the point and the unit of all of them, the last: the largest unit of which the
    first time is a tenth at least. `0.00043, 0.0001` gives `0.43`, `0.10`, `ms`."""
    size, name = _find_unit(10 * times[0], SECONDS)
    return [*(f"{time / size:,.2f}" for time in times), name]


def _find_unit(value: float, units: Units) -> tuple[float, str]:
    return next((unit for unit in units if value >= unit[0]), units[-1])
