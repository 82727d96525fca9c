"""Tests: the folders mirror minigrad/; records/ holds one record for each operator, which the generic tests run over."""
