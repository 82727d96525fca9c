"""A run that is the same for every number of processes: with threads in the suite, or `mpiexec -n 2 python job.py`."""

import argparse
import hashlib
import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

import minigrad as mg
from minigrad import distributed, nn, optim, train
from minigrad.data import DataLoader, Digits, Subset, transforms
from models import cifar_resnet

#: What is measured by the clock.
CLOCK = {"seconds", "images_per_second", "loader_share"}

#: Read once, and not by several threads at a time: NumPy parses the headers of its files by `ast`, and CPython may then
#: raise a SystemError, "AST constructor recursion depth mismatch" (python/cpython, issue 106905).
TRAINING, TEST = Digits(), Digits(train=False)


def small():
    """Return a net with statistics and draws."""
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, bias=False, rng=0),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Dropout(0.2, rng=5),
        nn.GlobalAvgPool2d(),
        nn.Linear(4, 10, rng=1),
    )


def resnet():
    """Return a narrow ResNet-20 for digits, with dropout before its last layer."""
    net = cifar_resnet(20, width=4, in_channels=1, rng=0)
    return nn.Sequential(net, nn.Dropout(0.2, rng=5), nn.Linear(10, 10, rng=1))


def augmented(images, rng):
    return transforms.RandomCrop(8, padding=1)(images, rng)


def run(net, folder, *, iterations, shards=4, resume=False, every=9.0, images=94, batch_size=32, **settings):
    """Train, and return what must be equal to the bit: weights, statistics, the optimizer's state, and the records."""
    sgd = optim.SGD(net.parameters(), 0.1, weight_decay=1e-4)
    batches = DataLoader(Subset(TRAINING, range(images)), batch_size, rng=0, transform=augmented)
    history = train.fit(
        net,
        batches,
        optimizer=sgd,
        schedule=optim.CosineLR(sgd, 40),
        iterations=iterations,
        evaluate_on={"test": DataLoader(Subset(TEST, range(60)), 40)},
        evaluate_every=5,
        checkpoint=train.Checkpoint(Path(folder) / "run.safetensors", every=every, resume=resume),
        log=Path(folder) / "log.jsonl",
        shards=shards,
        **settings,
    )
    return digest(net, sgd), [timeless(record) for record in history]


def timeless(record):
    """Return the numbers of a record that do not depend on the clock, as text that tells all bits apart."""
    return {name: float(value).hex() for name, value in record.items() if name not in CLOCK}


def digest(net, optimizer):
    """Return a checksum of all weights, statistics, and velocities."""
    sums = hashlib.sha256()
    for array in [*net.state_dict().values(), *optimizer.state_dict()["velocity"]]:
        sums.update(np.ascontiguousarray(array).tobytes())
    return sums.hexdigest()


# Faults --------------------------------------------------------------------------------------


class Faulty(nn.Sequential):
    """A net that does something to its process in the forward of one shard."""

    fault, at, slow = staticmethod(lambda: None), None, 0.0

    def forward(self, x):
        time.sleep(self.slow)
        if self.at is not None and self.training:
            self.at -= 1
            if self.at == 0:
                self.fault()
        return super().forward(x)


def to_itself(number):
    return lambda: os.kill(os.getpid(), number)


def fail():
    raise LookupError("this image is broken")


def no_more_space():
    """Let the next write of more than a few bytes fail."""
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))


FAULTS = {
    "kill": to_itself(signal.SIGKILL),
    "stop": to_itself(signal.SIGSTOP),
    "term": to_itself(signal.SIGTERM),
    "interrupt": to_itself(signal.SIGINT),
    "raise": fail,
    "exit": lambda: sys.exit("enough"),
    "full": no_more_space,
}


def main():
    """Run, and let rank 0 print the results as JSON."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--net", choices=["small", "resnet"], default="small")
    parser.add_argument("--iterations", type=int, default=30)
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--every", type=float, default=0.0)
    parser.add_argument("--fault", choices=FAULTS)
    parser.add_argument("--rank", type=int, default=1, help="whose fault it is; -1: everybody's")
    parser.add_argument("--at", type=int, default=40, help="in which of its forwards")
    parser.add_argument("--late", type=float, default=0.0, help="the seconds that this rank starts late")
    parser.add_argument("--slow", type=float, default=0.0, help="the seconds that a forward takes longer")
    options = parser.parse_args()
    mg.set_num_threads(options.threads)
    net = Faulty(*(small() if options.net == "small" else resnet()))
    net.slow = options.slow
    if options.rank in (-1, distributed.rank()):
        time.sleep(options.late)
        if options.fault:
            net.fault, net.at = FAULTS[options.fault], options.at
    settings = {"iterations": options.iterations, "shards": options.shards, "resume": options.resume}
    settings["images"] = int(os.environ.get("IMAGES", 94))
    results = run(net, options.folder, every=options.every, **settings)
    if distributed.rank() == 0:
        print(json.dumps(results))


if __name__ == "__main__":
    main()
