"""Data sets, transforms of their images, and the DataLoader."""

# fmt: off

from minigrad.data import transforms
from minigrad.data.cifar import CIFAR10, CIFAR100
from minigrad.data.dataset import Dataset, TensorDataset
from minigrad.data.digits import Digits
from minigrad.data.loader import DataLoader
from minigrad.data.mnist import MNIST, FashionMNIST
from minigrad.data.subset import Subset, split

__all__ = [
    "CIFAR10", "CIFAR100", "MNIST", "DataLoader", "Dataset", "Digits", "FashionMNIST", "Subset", "TensorDataset",
    "split", "transforms",
]
