"""Fetch a data set: ``python -m minigrad.data.fetch cifar10``."""

from minigrad.data.fetch import main

main()
