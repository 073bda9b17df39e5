"""How far a share that was counted may be from the true one."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtri


def wilson(
    share: np.ndarray | float, count: np.ndarray | float, confidence: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """Wilson's score interval of shares of so many rows, lower and upper ends (E. B. Wilson, 1927).

    Weighted rows count for ``(sum of weights)^2 / sum of squared weights`` of them (Kish).
    """
    share, n = np.asarray(share, dtype=np.float64), np.asarray(count, dtype=np.float64)
    z = float(ndtri(0.5 + confidence / 2))
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return np.maximum(centre - half, 0.0), np.minimum(centre + half, 1.0)
