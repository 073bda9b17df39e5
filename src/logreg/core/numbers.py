"""What counts as a number."""

from __future__ import annotations

import math
from typing import TypeGuard


def is_finite(value: object) -> TypeGuard[float]:
    """Whether a value is a finite number, and neither a text nor a truth."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def is_number(text: str) -> bool:
    """Whether a text reads as a finite number."""
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
