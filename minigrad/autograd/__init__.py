"""The engine: Tensors, the tape, operators and their rules, and the replay in reverse."""
