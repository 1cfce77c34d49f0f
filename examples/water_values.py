"""What one more unit of stored water is worth, reservoir by reservoir and month by month.

    python examples/water_values.py

The cost-to-go is a convex function of the storages: its slope, with the sign turned, is the value of water.
"""

import cobre

case = cobre.Case.load(cobre.example_case())
policy = cobre.train(case, seed=42, stopping=[cobre.IterationLimit(30)]).policy
hydros = case.tables["hydros"]
names = dict(zip(hydros.column("hydro_id"), hydros.column("name"), strict=True))

print("water values [$/hm3] at the initial storage\n")
print("stage" + "".join(f"{name:>12}" for name in names.values()))
state = policy.initial_state
for stage in range(policy.stages - 1):
    here = policy.value(stage, state)
    values = []
    for hydro in names:
        more = {**state, f"storage:{hydro}": state[f"storage:{hydro}"] + 1.0}
        values.append(here - policy.value(stage, more))
    print(f"{stage:5d}" + "".join(f"{value:12.1f}" for value in values))
