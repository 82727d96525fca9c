"""Tests: the layout mirrors minigrad/; records/ holds what the operator checks run over."""
