"""Data sets and how to walk over them."""

from minigrad.data.digits import Digits
from minigrad.data.loader import DataLoader

__all__ = ["DataLoader", "Digits"]
