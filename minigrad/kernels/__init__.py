"""The fast paths: the same results as the definitions in :mod:`minigrad.ops`, faster. Skip on a first reading."""
