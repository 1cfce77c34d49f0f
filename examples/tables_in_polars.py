"""Read the tables of a simulation with polars, without copies; pandas, pyarrow and duckdb work the same way.

python examples/tables_in_polars.py
"""

import polars as pl

import cobre

case = cobre.Case.load(cobre.example_case())
policy = cobre.train(case, seed=42, stopping=[cobre.IterationLimit(30)]).policy
simulation = cobre.simulate(case, policy, scenarios=200, seed=7)
print("tables:", ", ".join(simulation.table_names))

names = pl.DataFrame(case.tables["hydros"]).select("hydro_id", "name")
storage = (
    pl.DataFrame(simulation.table("hydros"))
    .group_by("hydro_id", "stage_id")
    .agg(
        pl.col("storage_final_hm3").quantile(0.1).alias("dry"),
        pl.col("storage_final_hm3").mean().alias("mean"),
        pl.col("storage_final_hm3").quantile(0.9).alias("wet"),
    )
    .join(names, on="hydro_id")
    .sort("hydro_id", "stage_id")
)
print("\nstorage at the end of the year [hm3]:")
print(storage.filter(pl.col("stage_id") == case.stages - 1).select("name", "dry", "mean", "wet"))
