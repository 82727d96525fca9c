"""Tests: the layout mirrors minigrad/; samples.py is the table that the operator checks run over."""
