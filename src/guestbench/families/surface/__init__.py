"""Attack surface."""
