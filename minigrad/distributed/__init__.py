"""One run on many processes, equal to the last bit for every number of them.

The processes are MPI's (`mpiexec -n 2 python program.py`). Without MPI, one process computes all shards of a batch one
after the other, in the memory of one.
"""

from minigrad.distributed.processes import agree, alone, broadcast, gather, rank, size, world
from minigrad.distributed.shards import Shards, owned, split, sum_gradients, total

__all__ = [
    "Shards",
    "agree",
    "alone",
    "broadcast",
    "gather",
    "owned",
    "rank",
    "size",
    "split",
    "sum_gradients",
    "total",
    "world",
]
