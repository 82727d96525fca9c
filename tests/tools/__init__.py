"""Tools around the suite: the mutation tester, the table of proofs, the strict array double, the dispatch audit."""
