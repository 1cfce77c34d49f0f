"""Train a policy for the four-reservoir system, simulate it, and compare bound and cost.

python examples/first_policy.py
"""

import cobre

case = cobre.Case.load(cobre.example_case())
print(case)

result = cobre.train(case, seed=42)
print(f"lower bound after {result.iterations} iterations: {result.final_lower_bound:.4e} $")

simulation = cobre.simulate(case, result.policy, scenarios=500, seed=7)
print(f"simulated cost: {simulation.mean_cost:.4e} ± {simulation.half_width:.1e} $")

gap = (simulation.mean_cost - result.final_lower_bound) / simulation.mean_cost
print(f"the policy costs at most about {100 * gap:.1f} % more than the best one")
