"""What pytest offers to every test."""

from fixtures import example, simulated, trained

__all__ = ["example", "simulated", "trained"]
