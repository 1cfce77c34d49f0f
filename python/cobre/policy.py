"""Policies: the cost-to-go of every stage as a set of cuts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from cobre._native import _core
from cobre._text import format_money, html_table
from cobre.tables import Table

if TYPE_CHECKING:
    from cobre.tables import PathLike

__all__ = ["Policy", "as_policy"]


class Policy:
    """A trained policy: after each stage, a convex lower bound of what the future costs.

    Examples:
        >>> import cobre
        >>> result = cobre.train(cobre.example_case(), stopping=[cobre.IterationLimit(2)], progress=False)
        >>> policy = result.policy
        >>> full = {name: 2.0 * volume for name, volume in policy.initial_state.items()}
        >>> policy.value(0, full) <= policy.value(0, policy.initial_state)
        True
    """

    __slots__ = ("_native",)

    def __init__(self, native: _core.Policy) -> None:
        """Wrap a policy of the compiled part; users get policies from results and files."""
        self._native = native

    @classmethod
    def load(cls, path: PathLike) -> Policy:
        """Read a policy from its directory, or from the output directory of the training that made it.

        Raises:
            IOError: There is none, or its files are damaged.
        """
        directory = Path(path)
        inner = directory / "policy"
        return cls(_core.Policy.load(inner if inner.is_dir() else directory))

    def save(self, path: PathLike) -> None:
        """Write the policy as a directory, replacing an older policy there.

        Raises:
            IOError: The files could not be written.
        """
        self._native.save(os.fspath(path))

    @property
    def states(self) -> list[str]:
        """Names of the states, e.g. ``storage:0``, in the order of cut coefficients."""
        return self._native.states

    @property
    def initial_state(self) -> dict[str, float]:
        """Value of each state before the first stage."""
        return self._native.initial_state

    @property
    def stages(self) -> int:
        """Number of stages."""
        return self._native.stages

    @property
    def nodes(self) -> list[str]:
        """Names of the nodes of the policy graph; in a case node ``t`` is stage ``t``."""
        return self._native.nodes

    @property
    def iterations(self) -> int:
        """Iterations that made the policy."""
        return self._native.iterations

    @property
    def lower_bound(self) -> float:
        """Certified lower bound on the optimal cost, in $; minus infinity before the first iteration."""
        return self._native.lower_bound

    @property
    def total_cuts(self) -> int:
        """Cuts of all stages, active or not."""
        return self._native.total_cuts

    @property
    def seed(self) -> int | None:
        """Seed of the training."""
        return self._native.seed

    @property
    def problem_sha256(self) -> str | None:
        """Fingerprint of the problem the policy was trained on."""
        return self._native.problem_sha256

    def value(self, stage: int | str, state: Mapping[str, float]) -> float:
        """Return the cost-to-go after a stage that ends in a state, in $: a lower bound of the true one.

        Args:
            stage: Index of the stage, negative ones counted from the end, or the name of a node.
            state: A value for every state of :attr:`states`, e.g. storage in hm³.

        Raises:
            ValidationError: There is no such stage, or a state is unknown or missing.
            TypeError: ``state`` is not a mapping.
        """
        if not isinstance(state, Mapping):
            raise TypeError(f"state must be a mapping of state names to values, not {type(state).__name__}")
        return self._native.value(stage, dict(state))

    def cuts(self, stage: int | str | None = None) -> Table:
        """Return the cuts of a stage, or of all stages.

        A cut reads ``theta >= intercept + sum of coefficient · state``, undiscounted, in $. Columns:
        ``node``, ``stage``, ``cut_id``, ``iteration``, ``path``, ``is_active``, ``intercept`` in $, and one
        coefficient per state under the state's name, in $ per unit of state.

        Raises:
            ValidationError: There is no such stage.
        """
        return Table(self._native.cuts(stage))

    def __eq__(self, other: object) -> bool:
        """Compare every bit of two policies."""
        if not isinstance(other, Policy):
            return NotImplemented
        return self._native == other._native

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> tuple[type[Policy], tuple[_core.Policy]]:
        """Pickle by value."""
        return (Policy, (self._native,))

    def _facts(self) -> list[tuple[str, object]]:
        return [
            ("stages", self.stages),
            ("states", len(self.states)),
            ("cuts", self.total_cuts),
            ("iterations", self.iterations),
            ("lower bound", format_money(self.lower_bound)),
        ]

    def __repr__(self) -> str:
        """Show the sizes and the bound."""
        return f"Policy({', '.join(f'{name} {value}' for name, value in self._facts())})"

    def _repr_html_(self) -> str:
        return html_table("Policy", ["", "value"], self._facts())


def as_policy(policy: Policy | PathLike) -> _core.Policy:
    """Return the policy that a caller means by a policy or by a path.

    Raises:
        TypeError: It is neither.
    """
    if isinstance(policy, Policy):
        return policy._native  # noqa: SLF001
    if isinstance(policy, (str, os.PathLike)):
        return Policy.load(policy)._native  # noqa: SLF001
    raise TypeError(f"policy must be a cobre.Policy or the path of one, not {type(policy).__name__}")
