"""Tests: the folders mirror minigrad/; records/ has a record for each operator, which the generic tests run over."""
