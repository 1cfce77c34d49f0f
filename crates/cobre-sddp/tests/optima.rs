//! Published optima.

mod common;

use cobre_sddp::Risk;
use common::{bound, close, published};

const MEAN: Risk = Risk::Expectation;

#[test]
fn fast_hydro_thermal() {
    close(bound(&published::fast_hydro_thermal(), 10, 2), 10.0, 1e-6);
}

#[test]
fn fast_production_management() {
    close(bound(&published::fast_production(), 30, 2), -23.96, 1e-6);
}

#[test]
fn fast_quickstart() {
    close(bound(&published::fast_quickstart(), 5, 2), -2.0, 1e-6);
}

#[test]
fn first_steps() {
    close(bound(&published::first_steps(200.0, MEAN, MEAN), 30, 4), 25_000.0 / 3.0, 1e-6);
    close(bound(&published::first_steps(0.0, MEAN, MEAN), 30, 4), 25_277.777_777_777, 1e-6);
}

#[test]
fn first_steps_under_risk() {
    let cvar = |weight, alpha| Risk::ExpectationCvar { alpha, weight };
    let cases = [
        (0.5, 0.5, 10_625.0, 11_458.333_333),
        (1.0, 0.5, 13_333.333_333, 15_000.0),
        (0.5, 0.25, 12_500.0, 13_750.0),
    ];
    for (weight, alpha, mean_at_root, risk_at_root) in cases {
        let risk = cvar(weight, alpha);
        close(bound(&published::first_steps(200.0, risk, MEAN), 40, 4), mean_at_root, 1e-6);
        close(bound(&published::first_steps(200.0, risk, risk), 40, 4), risk_at_root, 1e-6);
    }
}

#[test]
fn problem_5_2() {
    close(bound(&published::problem_5_2(2), 60, 2), 340_315.521_7, 1e-6);
    close(bound(&published::problem_5_2(3), 150, 2), 406_712.492_7, 1e-6);
}

#[test]
fn stock() {
    close(bound(&published::stock(), 120, 4), -1.471_075, 1e-6);
}

#[test]
fn farmer() {
    close(bound(&published::farmer(), 30, 2), -108_390.0, 1e-6);
}

#[test]
fn weekly_cycle() {
    close(bound(&published::weekly_cycle(), 150, 2), 119.166_666_667, 1e-6);
}
