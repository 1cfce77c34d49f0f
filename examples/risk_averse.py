"""A planner who fears dry years pays a little more on average, and less in the worst years.

python examples/risk_averse.py
"""

import cobre

case = cobre.Case.load(cobre.example_case())
measures: dict[str, cobre.CVaR | cobre.Expectation] = {
    "expectation": cobre.Expectation(),
    "half CVaR of the worst quarter": cobre.CVaR(alpha=0.25, weight=0.5),
    "CVaR of the worst tenth": cobre.CVaR(alpha=0.1),
}

print(f"{'policy':32}{'mean cost [$]':>16}{'worst 5 % [$]':>16}")
for name, risk in measures.items():
    policy = cobre.train(case, seed=42, risk=risk, stopping=[cobre.IterationLimit(50)]).policy
    # The same seed gives every policy the same inflows.
    costs = sorted(cobre.simulate(case, policy, scenarios=400, seed=7).costs)
    worst = costs[-len(costs) // 20 :]
    print(f"{name:32}{sum(costs) / len(costs):16.4e}{sum(worst) / len(worst):16.4e}")
