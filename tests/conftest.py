"""What pytest offers to every test."""

from fixtures import example, simulated, trained
from processes import nothing_left

__all__ = ["example", "nothing_left", "simulated", "trained"]
