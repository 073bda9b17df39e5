"""Numbers as a page shows them; ``templates/page.js`` has the same rules, so that a sorted row reads as before."""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Decimal, localcontext
from statistics import median

from logreg.core.numbers import is_finite

NOTHING = "–"  # noqa: RUF001
LARGEST = 1e7  # from here on, and below half of the last digit, a number has an exponent
DIGITS = 4  # that count, of the middle one of a column


def shown_number(value: float | None, decimals: int = 4) -> str:
    """A number with ``decimals``, or with an exponent where those would say nothing; ``NOTHING`` for none."""
    if value is None or math.isnan(value):
        return NOTHING
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    size = abs(value)
    exact = Decimal(float(value) + 0.0)  # without the sign of a zero
    with localcontext(rounding=ROUND_HALF_UP):  # away from zero, as scripts round
        if size and (size >= LARGEST or size < 5 * 10.0 ** -(decimals + 1)):
            mantissa, _, exponent = f"{exact:.2e}".partition("e")
            return f"{mantissa}e{int(exponent)}"
        return f"{exact:.{decimals}f}"


def decimals_of(values: Sequence[object]) -> int:
    """How many decimals a column needs, so that its numerals align and its middle number has `DIGITS` that count."""
    sizes = [abs(value) for value in values if is_finite(value) and value]
    if not sizes or all(float(size).is_integer() and size < LARGEST for size in sizes):
        return 0
    return max(0, min(6, DIGITS - 1 - math.floor(math.log10(median(sizes)))))


def spoken_seconds(seconds: object) -> str:
    """A duration as people say it."""
    if not is_finite(seconds):
        return NOTHING
    if seconds < 100:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def spoken_bytes(count: int) -> str:
    """The size of a file."""
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"
