"""One experiment a file, each runnable alone: ``python -m demos.degradation``."""
