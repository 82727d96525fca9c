"""Small files of CIFAR-10's format, for the tests of several demos."""

import numpy as np
import pytest

#: The number of records of each file.
TRAIN, TEST = {f"data_batch_{i}.bin": 30 for i in range(1, 6)}, {"test_batch.bin": 60}


@pytest.fixture(scope="session")
def root(tmp_path_factory):
    """Write files of the official format, but with few records: a label byte, then the red, green and blue planes."""
    rng = np.random.default_rng(0)
    root = tmp_path_factory.mktemp("cifar")
    folder = root / "cifar-10-batches-bin"
    folder.mkdir()
    for name, n in (TRAIN | TEST).items():
        records = rng.integers(0, 256, (n, 1 + 3 * 32 * 32), dtype=np.uint8)
        records[:, 0] = np.arange(n) % 10
        records[:, 1:] //= 8
        records[:, 1:] += 20 * records[:, :1]  # the higher the label, the brighter the image
        records.tofile(folder / name)
    return root
