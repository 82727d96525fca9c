"""Numbers at which exponentials overflow or lose digits."""

import numpy as np

#: Rows with extremes: both tails, equal elements, differences at which a term is lost.
ROWS = np.array(
    [
        [0.0, 0.0, 0.0, 0.0],
        [1e4, -1e4, 0.0, 1.0],
        [-1e4, -1e4, -1e4 + 1.0, -1e4 - 700.0],
        [1e4, 1e4 + 1.0, 1e4 - 30.0, 1e4 - 650.0],
        [700.0, 709.0, 710.0, 720.0],
        [-745.0, -740.0, -750.0, -700.0],
        [1e-300, -1e-300, 1e-17, 0.0],
        [3.0, -2.0, 0.5, 1.0],
    ]
)

AXES = [0, 1, -1, (0, 1), None]
