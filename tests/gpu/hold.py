"""Does the host wait for the GPU? Hold the GPU up, let the host go on, and see which of the two is done first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

#: Ends when the host writes into `released`, or after so many nanoseconds.
SOURCE = r"""
extern "C" __global__ void hold(volatile int* released, unsigned long long nanoseconds) {
    unsigned long long start, now;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(start));
    do {
        asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
    } while (!*released && now - start < nanoseconds);
}
"""


def host_waits(action: Callable[[], object], seconds: float = 1.0) -> bool:
    """Return whether the host waits for the GPU while it runs `action`.

    A kernel that does nothing occupies the stream: what `action` submits cannot begin before the kernel has ended. If
    the kernel still runs when `action` has returned, the host did not wait, and releases it. Otherwise the host waited,
    for `seconds`. Call `action` once before: kernels are compiled, and memory is taken, at the first call. It must take
    less than `seconds`, and submit fewer than a thousand kernels: a longer queue is full, and then the host waits.
    """
    import cupy

    memory = cupy.cuda.alloc_pinned_memory(4)  # the GPU sees what the host writes there
    released = np.frombuffer(memory, np.int32, 1)
    released[0] = 0
    kernel: Any = cupy.RawKernel(SOURCE, "hold")
    held = cupy.cuda.Event()
    cupy.cuda.Device().synchronize()
    kernel((1,), (1,), (np.uint64(memory.ptr), np.uint64(seconds * 1e9)))
    held.record()
    try:
        action()
        return bool(held.done)
    finally:
        released[0] = 1
        cupy.cuda.Device().synchronize()
