//! The linear programs against hand-computed rows. A block is 10^6 / 3600 hours: one m3/s is one hm3.

mod common;

use cobre_hydro::Model;
use cobre_sddp::{Risk, Step, Trajectory};
use common::{CaseFiles, HOURS, assert_row, column, hydro, row};
use serde_json::json;

#[test]
fn the_balance_of_a_cascade() {
    let model = CaseFiles::new().model();
    let lp = &model.problem.nodes[0].lp;
    assert_row(
        lp,
        "balance[hydro 1]",
        &[("storage[hydro 1]", 1.0), ("turbined[hydro 1, block 0]", 1.0), ("spilled[hydro 1, block 0]", 1.0)],
    );
    assert_row(
        lp,
        "balance[hydro 2]",
        &[
            ("storage[hydro 2]", 1.0),
            ("turbined[hydro 2, block 0]", 1.0),
            ("spilled[hydro 2, block 0]", 1.0),
            ("turbined[hydro 1, block 0]", -1.0),
            ("spilled[hydro 1, block 0]", -1.0),
        ],
    );
    let balance = row(lp, "balance[hydro 2]");
    assert_eq!(lp.incoming.column(1).collect::<Vec<_>>(), [(balance, -1.0)]);
    assert_eq!(*lp.outgoing, [column(lp, "storage[hydro 1]"), column(lp, "storage[hydro 2]")]);
    let states: Vec<(&str, f64)> =
        model.problem.states.iter().map(|s| (s.name.as_str(), s.initial)).collect();
    assert_eq!(states, [("storage:1", 100.0), ("storage:2", 60.0)]);
    // Maximum generation of 80 MW at 2 MW per m3/s is tighter than 50 m3/s.
    assert_eq!(lp.col_upper[column(lp, "turbined[hydro 1, block 0]")], 40.0);
}

#[test]
fn the_balance_of_a_bus_and_its_prices() {
    let mut case = CaseFiles::new();
    case.set("system/buses.json", json!({"buses": [{"id": 0, "name": "A"}, {"id": 1, "name": "B"}]}));
    let capacity = json!({"direct_mw": 30.0, "reverse_mw": 0.0});
    let line = json!({"id": 4, "name": "L", "source_bus_id": 0, "target_bus_id": 1, "capacity": capacity});
    case.set("system/lines.json", json!({"lines": [line]}));
    let model = case.model();
    let lp = &model.problem.nodes[0].lp;
    assert_row(
        lp,
        "load[bus 0, block 0]",
        &[
            ("deficit[bus 0, segment 0, block 0]", 1.0),
            ("excess[bus 0, block 0]", -1.0),
            ("generation[thermal 0, block 0]", 1.0),
            ("generation[thermal 1, block 0]", 1.0),
            ("direct[line 4, block 0]", -1.0),
            ("turbined[hydro 1, block 0]", 2.0),
            ("turbined[hydro 2, block 0]", 2.0),
        ],
    );
    assert!(!lp.col_names.iter().any(|name| name.starts_with("reverse")), "no capacity, no column");
    let cost = |name: &str| lp.col_cost[column(lp, name)];
    assert_eq!(cost("generation[thermal 1, block 0]"), 50.0 * HOURS);
    assert_eq!(cost("deficit[bus 0, segment 0, block 0]"), 1000.0 * HOURS);
    assert_eq!(cost("excess[bus 1, block 0]"), 0.5 * HOURS);
    assert_eq!(cost("direct[line 4, block 0]"), 0.25 * HOURS);
    assert_eq!(cost("spilled[hydro 2, block 0]"), 0.01 * HOURS);
    let load = row(lp, "load[bus 0, block 0]");
    assert_eq!((lp.row_lower[load], lp.row_upper[load]), (150.0, 150.0));
    assert_eq!(lp.row_upper[row(lp, "load[bus 1, block 0]")], 0.0);
}

#[test]
fn diversion_withdrawal_and_soft_limits() {
    let mut case = CaseFiles::new();
    let mut plant = hydro(1, Some(2));
    plant["diversion"] = json!({"downstream_id": 3, "max_flow_m3s": 7.0});
    plant["outflow"] = json!({"min_outflow_m3s": 4.0, "max_outflow_m3s": 60.0});
    plant["generation"]["min_turbined_m3s"] = json!(3.0);
    plant["generation"]["min_generation_mw"] = json!(5.0);
    plant["reservoir"]["min_storage_hm3"] = json!(20.0);
    plant["penalties"] = json!({"diversion_cost": 0.5});
    case.set("system/hydros.json", json!({"hydros": [plant, hydro(2, None), hydro(3, None)]}));
    let storage = json!({"hydro_id": 3, "value_hm3": 0.0});
    case.at("initial_conditions.json", "/storage").as_array_mut().unwrap().push(storage);
    let inflow = case.texts["scenarios/inflow_seasonal_stats.csv"].clone() + "3,0,1,0\n3,1,1,0\n3,2,1,0\n";
    case.text("scenarios/inflow_seasonal_stats.csv", &inflow);
    case.text("constraints/hydro_bounds.csv", "hydro_id,stage_id,water_withdrawal_m3s\n1,0,6\n3,0,-2\n");
    let model = case.model();
    let lp = &model.problem.nodes[0].lp;
    assert_row(
        lp,
        "balance[hydro 1]",
        &[
            ("storage[hydro 1]", 1.0),
            ("turbined[hydro 1, block 0]", 1.0),
            ("spilled[hydro 1, block 0]", 1.0),
            ("diverted[hydro 1, block 0]", 1.0),
            ("withdrawal_below[hydro 1, block 0]", -1.0),
            ("withdrawal_above[hydro 1, block 0]", 1.0),
        ],
    );
    assert_row(
        lp,
        "balance[hydro 3]",
        &[
            ("storage[hydro 3]", 1.0),
            ("turbined[hydro 3, block 0]", 1.0),
            ("spilled[hydro 3, block 0]", 1.0),
            ("diverted[hydro 1, block 0]", -1.0),
            ("withdrawal_below[hydro 3, block 0]", -1.0),
            ("withdrawal_above[hydro 3, block 0]", 1.0),
        ],
    );
    // Inflow 1 m3/s without noise, and 2 m3/s brought in.
    assert!((lp.row_lower[row(lp, "balance[hydro 3]")] - 3.0).abs() < 1e-9);
    let upper = |name: &str| lp.col_upper[column(lp, name)];
    let cost = |name: &str| lp.col_cost[column(lp, name)];
    assert_eq!(upper("withdrawal_below[hydro 1, block 0]"), 6.0);
    assert_eq!(upper("withdrawal_above[hydro 3, block 0]"), 2.0);
    assert_eq!(cost("withdrawal_below[hydro 1, block 0]"), 504.0 * HOURS);
    assert_eq!((upper("diverted[hydro 1, block 0]"), cost("diverted[hydro 1, block 0]")), (7.0, 0.5 * HOURS));
    assert_row(lp, "min_storage[hydro 1]", &[("storage[hydro 1]", 1.0), ("storage_below_min[hydro 1]", 1.0)]);
    assert_eq!((cost("storage_below_min[hydro 1]"), upper("storage_below_min[hydro 1]")), (700.0, 20.0));
    let outflow = [("turbined[hydro 1, block 0]", 1.0), ("spilled[hydro 1, block 0]", 1.0)];
    let with = |extra| outflow.iter().copied().chain([extra]).collect::<Vec<_>>();
    assert_row(lp, "min_outflow[hydro 1, block 0]", &with(("outflow_below_min[hydro 1, block 0]", 1.0)));
    assert_row(lp, "max_outflow[hydro 1, block 0]", &with(("outflow_above_max[hydro 1, block 0]", -1.0)));
    assert_row(
        lp,
        "min_generation[hydro 1, block 0]",
        &[("turbined[hydro 1, block 0]", 2.0), ("generation_below_min[hydro 1, block 0]", 1.0)],
    );
    let max_outflow = row(lp, "max_outflow[hydro 1, block 0]");
    assert_eq!((lp.row_lower[max_outflow], lp.row_upper[max_outflow]), (f64::NEG_INFINITY, 60.0));
    let later = &model.problem.nodes[1].lp;
    assert!(!later.col_names.iter().any(|name| name.starts_with("withdrawal")), "only where it is asked for");
}

#[test]
fn blocks_share_the_water_and_not_the_power() {
    let mut case = CaseFiles::new();
    for stage in 0..3 {
        *case.at("stages.json", &format!("/stages/{stage}/blocks")) =
            json!([{"id": 1, "name": "low", "hours": 300.0}, {"id": 0, "name": "high", "hours": 100.0}]);
    }
    case.set(
        "scenarios/load_factors.json",
        json!({"load_factors": [{"bus_id": 0, "stage_id": 0, "block_factors": [{"block_id": 1, "factor": 0.5}]}]}),
    );
    let model = case.model();
    let lp = &model.problem.nodes[0].lp;
    assert_row(
        lp,
        "balance[hydro 1]",
        &[
            ("storage[hydro 1]", 1.0),
            ("turbined[hydro 1, block 0]", 0.36),
            ("spilled[hydro 1, block 0]", 0.36),
            ("turbined[hydro 1, block 1]", 1.08),
            ("spilled[hydro 1, block 1]", 1.08),
        ],
    );
    assert_eq!(lp.row_lower[row(lp, "load[bus 0, block 0]")], 150.0);
    assert_eq!(lp.row_lower[row(lp, "load[bus 0, block 1]")], 75.0);
}

/// The same openings, entity by entity, at every stage.
fn supply_noise(case: &mut CaseFiles, openings: &[&[f64]]) {
    let mut lines = vec!["stage_id,opening_index,entity_index,value".to_owned()];
    for stage in 0..3 {
        for (opening, values) in openings.iter().enumerate() {
            lines.extend(
                values
                    .iter()
                    .enumerate()
                    .map(|(entity, value)| format!("{stage},{opening},{entity},{value}")),
            );
        }
    }
    case.text("scenarios/noise_openings.csv", &lines.join("\n"));
}

#[test]
fn negative_inflow_may_be_bought() {
    let mut case = CaseFiles::new();
    supply_noise(&mut case, &[&[1.0, 0.5], &[-10.0, -1.0]]);
    let model = case.model();
    let node = &model.problem.nodes[0];
    // Hydro 1: 40 + 5 · (1, -10) = (45, -10); hydro 2: 10 + 2 · (0.5, -1) = (11, 8).
    let slack = column(&node.lp, "inflow_slack[hydro 1]");
    assert!(!node.lp.col_names.iter().any(|name| name == "inflow_slack[hydro 2]"));
    assert_eq!(node.lp.col_cost[slack], 1000.0 * HOURS);
    assert_eq!(node.lp.noise.columns, [slack]);
    let rows = |opening: usize| node.openings[opening].outcome.rows.iter().map(|r| r[0]).collect::<Vec<_>>();
    let near =
        |found: Vec<f64>, expected: [f64; 2]| found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-9);
    assert!(near(rows(0), [45.0, 11.0]) && near(rows(1), [-10.0, 8.0]), "{:?} {:?}", rows(0), rows(1));
    assert_eq!(*node.openings[0].outcome.columns, [[0.0, 0.0]]);
    assert_eq!(*node.openings[1].outcome.columns, [[0.0, 10.0]]);
    assert_eq!(node.openings[1].probability, 0.5);
    case.at("config.json", "")["modeling"] = json!({"inflow_non_negativity": {"method": "none"}});
    assert!(case.model().problem.nodes[0].lp.noise.columns.is_empty());
}

#[test]
fn stochastic_load_never_falls_below_zero() {
    let mut case = CaseFiles::new();
    case.text(
        "scenarios/load_seasonal_stats.csv",
        "bus_id,stage_id,mean_mw,std_mw\n0,0,100,60\n0,1,150,0\n0,2,150,0\n",
    );
    supply_noise(&mut case, &[&[0.5; 3], &[-2.0; 3]]);
    let model = case.model();
    let [first, second] = &model.problem.nodes[0].openings[..] else { panic!("two openings") };
    assert_eq!((first.outcome.rows[2], second.outcome.rows[2]), ([130.0, 130.0], [0.0, 0.0]));
    assert_eq!(model.problem.nodes[1].openings[0].outcome.rows.len(), 2, "no noise, no noisy row");
}

#[test]
fn risk_and_discount_belong_to_the_stage_before() {
    let mut case = CaseFiles::new();
    case.at("stages.json", "/stages/0")["risk_measure"] = json!({"cvar": {"alpha": 0.3, "lambda": 0.6}});
    let arcs = json!([
        {"source_id": 0, "target_id": 1, "probability": 1.0, "annual_discount_rate_override": 0.0},
        {"source_id": 1, "target_id": 2, "probability": 1.0}
    ]);
    case.at("stages.json", "/policy_graph")["transitions"] = arcs;
    let problem = case.model().problem;
    let risk = Risk::ExpectationCvar { alpha: 0.3, weight: 0.6 };
    assert_eq!(
        (problem.root_risk, problem.nodes[0].risk, problem.nodes[1].risk),
        (risk, risk, Risk::Expectation)
    );
    assert_eq!(problem.nodes[0].children[0].discount, 1.0);
    assert!((problem.nodes[1].children[0].discount - 1.1f64.powf(-29.0 / 365.25)).abs() < 1e-15);
}

#[test]
fn the_bound_on_future_costs_is_a_bound() {
    let mut case = CaseFiles::new();
    assert!(case.model().problem.nodes.iter().all(|node| node.cost_to_go_bound == 0.0));
    *case.at("system/thermals.json", "/thermals/0/cost_per_mwh") = json!(-2.0);
    let nodes = case.model().problem.nodes;
    let stage = -2.0 * 100.0 * HOURS;
    let discount = 1.1f64.powf(-29.0 / 365.25);
    assert_eq!(nodes[2].cost_to_go_bound, 0.0);
    assert!((nodes[1].cost_to_go_bound - stage).abs() < 1e-6);
    assert!((nodes[0].cost_to_go_bound - stage * (1.0 + discount)).abs() < 1e-6);
}

#[test]
fn the_order_of_entities_changes_nothing() {
    let mut case = CaseFiles::new();
    let plain = format!("{:?}", case.model().problem);
    for (file, key) in [("system/hydros.json", "/hydros"), ("system/thermals.json", "/thermals")] {
        case.at(file, key).as_array_mut().unwrap().reverse();
    }
    case.at("initial_conditions.json", "/storage").as_array_mut().unwrap().reverse();
    case.at("stages.json", "/stages").as_array_mut().unwrap().rotate_left(1);
    let text = case.texts["scenarios/inflow_seasonal_stats.csv"].clone();
    let (header, rows) = text.split_once('\n').unwrap();
    let reversed: Vec<&str> = rows.lines().rev().collect();
    case.text("scenarios/inflow_seasonal_stats.csv", &format!("{header}\n{}\n", reversed.join("\n")));
    assert_eq!(format!("{:?}", case.model().problem), plain);
}

#[test]
fn trajectories_become_tables() {
    let model = CaseFiles::new().model();
    let lp = &model.problem.nodes[1].lp;
    let mut primal = vec![0.0; lp.columns()];
    primal[column(lp, "turbined[hydro 2, block 0]")] = 10.0;
    primal[column(lp, "storage[hydro 2]")] = 25.0;
    primal[column(lp, "generation[thermal 0, block 0]")] = 100.0;
    primal[column(lp, "deficit[bus 0, segment 0, block 0]")] = 3.0;
    let mut row_duals = vec![0.0; lp.rows()];
    row_duals[row(lp, "balance[hydro 2]")] = -55.0;
    row_duals[row(lp, "load[bus 0, block 0]")] = 50.0 * HOURS;
    let (incoming, stage_cost) = (vec![100.0, 60.0], 1.0);
    let step =
        Step { node: 1, opening: 0, discount: 0.9, stage_cost, cost_to_go: 2.0, incoming, primal, row_duals };
    let trajectory = Trajectory { scenario: 8, cost: 1.0, steps: vec![step] };
    let tables = model.tables(std::slice::from_ref(&trajectory)).unwrap();
    let value = |table: &str, column: &str, row: usize| {
        let batch = &tables.iter().find(|(name, _)| *name == table).unwrap().1;
        let array = batch.column_by_name(column).unwrap_or_else(|| panic!("no {column}")).clone();
        let array = arrow::compute::cast(&array, &arrow::datatypes::DataType::Float64).unwrap();
        arrow::array::AsArray::as_primitive::<arrow::datatypes::Float64Type>(&array).value(row)
    };
    assert_eq!(value("hydros", "hydro_id", 1), 2.0);
    assert_eq!(value("hydros", "scenario_id", 1), 8.0);
    assert_eq!(value("hydros", "storage_initial_hm3", 1), 60.0);
    assert_eq!(value("hydros", "storage_final_hm3", 1), 25.0);
    assert_eq!(value("hydros", "generation_mw", 1), 20.0);
    assert_eq!(value("hydros", "water_value_per_hm3", 1), 55.0);
    assert!((value("buses", "marginal_cost_per_mwh", 0) - 50.0).abs() < 1e-12);
    assert_eq!((value("buses", "load_mw", 0), value("buses", "deficit_mw", 0)), (150.0, 3.0));
    assert_eq!(value("thermals", "generation_mw", 0), 100.0);
    assert!((value("costs", "deficit_cost", 0) - 3000.0 * HOURS).abs() < 1e-6);
    assert!((value("costs", "thermal_cost", 0) - 1000.0 * HOURS).abs() < 1e-6);
    let mut foreign = trajectory;
    foreign.steps[0].primal.pop();
    assert!(model.tables(&[foreign]).is_err());
    let empty = model.tables(&[]).unwrap();
    for ((name, batch), (schema_name, schema)) in empty.iter().zip(Model::schemas()) {
        assert_eq!((*name, batch.num_rows(), batch.schema()), (schema_name, 0, schema));
    }
}
