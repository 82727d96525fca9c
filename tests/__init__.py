"""Tests: the folders mirror minigrad/; records/ holds one record for each operator, for all generic tests."""
