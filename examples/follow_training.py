"""Follow a training with a callback, and stop it by a rule of your own.

python examples/follow_training.py
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import cobre

FEWEST, NARROW = 10, 0.05


class Enough(Exception):  # noqa: N818 - it is no error
    """Raised when the bound has risen far enough."""


def follow(event: cobre.ProgressEvent) -> None:
    """Print some iterations; stop when the gap of the iteration is below 5 %."""
    if event.phase != "progress":
        return
    if event.iteration % 5 == 0:
        print(f"{event.iteration:4d}  {event.lower_bound:.4e} $  {event.iteration_time_ms:6.1f} ms")
    if event.iteration >= FEWEST and abs(event.gap) < NARROW:
        raise Enough


with TemporaryDirectory() as folder:
    output = Path(folder) / "output"
    limit = cobre.IterationLimit(200)
    try:
        cobre.train(cobre.example_case(), stopping=[limit], progress_callback=follow, output_dir=output)
    except Enough:
        print("enough: the policy of the last complete iteration was written")
    policy = cobre.Policy.load(output / "policy")
    print(policy)
