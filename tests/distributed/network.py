"""Two machines on one: network namespaces, between which packets take a while. It needs Linux, root and /dev/net/tun.

The kernel's own delay, netem, is a module that many kernels lack. Here a thread carries packets between two tunnels.
"""

import contextlib
import ctypes
import fcntl
import heapq
import itertools
import os
import select
import shutil
import struct
import subprocess
import threading
import time
from pathlib import Path

from tests.distributed.processes import MPIEXEC

#: The names of the namespaces, and their addresses.
SPACES = {f"minigrad{os.getpid()}a": "10.77.0.1", f"minigrad{os.getpid()}b": "10.77.0.2"}

#: For MPICH: only the wire between them.
SETTINGS = {"UCX_TLS": "tcp,self", "UCX_NET_DEVICES": "wire"}

#: Of the kernel: a new network namespace, and a tunnel that carries packets of IP as they are.
CLONE_NEWNET, TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x40000000, 0x400454CA, 0x0001, 0x1000


def ip(*words):
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


def possible():
    """Return whether namespaces can be made here."""
    return os.path.exists("/dev/net/tun") and shutil.which("ip") is not None and os.geteuid() == 0


def cut():
    """Cut the wire."""
    ip("-n", [*SPACES][1], "link", "set", "wire", "down")


def tunnel(space):
    """Return a file in which the packets that a namespace sends appear, and that takes those it receives."""
    libc = ctypes.CDLL(None, use_errno=True)
    found = []

    def within():  # in a thread of its own, which alone changes its namespace
        with open(f"/run/netns/{space}") as file:
            if libc.setns(file.fileno(), CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
        found.append(os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK))
        fcntl.ioctl(found[0], TUNSETIFF, struct.pack("16sH", b"wire", IFF_TUN | IFF_NO_PI))

    thread = threading.Thread(target=within)
    thread.start()
    thread.join()
    return found[0]


def carry(ends, delay, stop, carried):
    """Carry packets from each end to the other, each of which takes `delay` seconds; list their lengths."""
    under_way, number = [], itertools.count()
    while not stop.is_set():
        wait = max(0.0, min(0.05, under_way[0][0] - time.monotonic() if under_way else 0.05))
        for end in select.select(ends, [], [], wait)[0]:
            with contextlib.suppress(BlockingIOError):
                while True:
                    packet = os.read(end, 65536)
                    heapq.heappush(under_way, (time.monotonic() + delay, next(number), ends[end == ends[0]], packet))
        while under_way and under_way[0][0] <= time.monotonic():
            _, _, end, packet = heapq.heappop(under_way)
            with contextlib.suppress(BlockingIOError, OSError):
                carried.append(os.write(end, packet))


@contextlib.contextmanager
def two_machines(folder, delay):
    """Make two namespaces between which a packet takes `delay` seconds.

    Yield the command that starts MPICH on both, and a list of the lengths of the packets that arrived.
    """
    stop, ends, carried = threading.Event(), [], []
    wire = threading.Thread(target=carry, args=(ends, delay, stop, carried))
    try:
        for space, address in SPACES.items():
            ip("netns", "add", space)
            ends.append(tunnel(space))
            ip("-n", space, "addr", "add", f"{address}/24", "dev", "wire")
            for device in ("lo", "wire"):
                ip("-n", space, "link", "set", device, "up")
        wire.start()
        shell = Path(folder) / "shell"  # what mpiexec takes for ssh: host, command
        cases = "".join(f"{address}) space={space} ;;\n" for space, address in SPACES.items())
        shell.write_text(
            f'#!/bin/sh\nwhile [ "${{1#-}}" != "$1" ]; do shift; done\ncase "$1" in\n{cases}esac\nshift\n'
            'exec ip netns exec "$space" sh -c "$*"\n'
        )
        shell.chmod(0o755)
        first, *_ = SPACES
        hosts = ["-hosts", ",".join(SPACES.values()), "-localhost", SPACES[first], "-ppn", "1"]
        command = ["ip", "netns", "exec", first, str(MPIEXEC), "-launcher", "ssh", "-launcher-exec", str(shell), *hosts]
        yield command, carried
    finally:
        stop.set()
        if wire.is_alive():
            wire.join()
        for end in ends:
            os.close(end)
        for space in SPACES:
            subprocess.run(["ip", "netns", "delete", space], check=False, capture_output=True)
