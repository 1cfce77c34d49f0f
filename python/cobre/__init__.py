"""Cobre: policies for hydrothermal dispatch by stochastic dual dynamic programming.

    >>> import cobre
    >>> case = cobre.Case.load(cobre.example_case())
    >>> result = cobre.train(case, seed=42, stopping=[cobre.IterationLimit(5)], progress=False)
    >>> result.iterations
    5
    >>> simulation = cobre.simulate(case, result.policy, scenarios=20, seed=7, progress=False)
    >>> simulation.scenarios
    20

Importing the package does no work: a name is loaded when it is first used (PEP 562).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cobre.case import Case, example_case
    from cobre.errors import CobreError, IOError, Problem, SolverError, ValidationError, WorkerError
    from cobre.events import ProgressEvent
    from cobre.policy import Policy
    from cobre.risk import CVaR, Expectation
    from cobre.simulation import SimulationResult, simulate
    from cobre.stopping import BoundStalling, IterationLimit, TimeLimit
    from cobre.tables import Table
    from cobre.training import IterationRecord, TrainingResult, train
    from cobre.workers import WorkerInfo

__version__ = "0.1.0"

__all__ = [
    "BoundStalling",
    "CVaR",
    "Case",
    "CobreError",
    "Expectation",
    "IOError",
    "IterationLimit",
    "IterationRecord",
    "Policy",
    "Problem",
    "ProgressEvent",
    "SimulationResult",
    "SolverError",
    "Table",
    "TimeLimit",
    "TrainingResult",
    "ValidationError",
    "WorkerError",
    "WorkerInfo",
    "__version__",
    "example_case",
    "simulate",
    "train",
]

_HOME_OF = {
    "BoundStalling": "stopping",
    "CVaR": "risk",
    "Case": "case",
    "CobreError": "errors",
    "Expectation": "risk",
    "IOError": "errors",
    "IterationLimit": "stopping",
    "IterationRecord": "training",
    "Policy": "policy",
    "Problem": "errors",
    "ProgressEvent": "events",
    "SimulationResult": "simulation",
    "SolverError": "errors",
    "Table": "tables",
    "TimeLimit": "stopping",
    "TrainingResult": "training",
    "ValidationError": "errors",
    "WorkerError": "errors",
    "WorkerInfo": "workers",
    "example_case": "case",
    "simulate": "simulation",
    "train": "training",
}


if not TYPE_CHECKING:  # A type checker knows the names above and would accept any other.

    def __getattr__(name: str) -> object:
        """Load a public name from its module, once."""
        home = _HOME_OF.get(name)
        if home is None:
            raise AttributeError(f"module 'cobre' has no attribute {name!r}")
        value = getattr(importlib.import_module(f"cobre.{home}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted(__all__)
