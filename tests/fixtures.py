"""Trainings that many tests look at are made once."""

from __future__ import annotations

from pathlib import Path

import pytest

import cobre
from support import EXAMPLE


@pytest.fixture(scope="session")
def example() -> cobre.Case:
    return cobre.Case.load(EXAMPLE)


@pytest.fixture(scope="session")
def trained(example: cobre.Case, tmp_path_factory: pytest.TempPathFactory) -> cobre.TrainingResult:
    """A training of ten iterations, written to files."""
    output = tmp_path_factory.mktemp("trained") / "output"
    rules = [cobre.IterationLimit(10)]
    return cobre.train(example, seed=42, stopping=rules, progress=False, output_dir=output)


@pytest.fixture(scope="session")
def simulated(
    example: cobre.Case, trained: cobre.TrainingResult, tmp_path_factory: pytest.TempPathFactory
) -> cobre.SimulationResult:
    """A simulation of a hundred scenarios, written to files."""
    output: Path = tmp_path_factory.mktemp("simulated") / "output"
    return cobre.simulate(example, trained.policy, scenarios=100, seed=7, progress=False, output_dir=output)
