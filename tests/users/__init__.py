"""Twenty jobs of practitioners and teachers, each written as one who knows NumPy and PyTorch would guess."""
