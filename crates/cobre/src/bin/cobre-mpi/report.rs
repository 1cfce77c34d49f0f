//! What the program prints. A reader that stops reading is no error.

use std::io::Write;

use cobre::{SimulationResult, TrainingResult};
use cobre_core::{Error, Event, Phase, System};

/// Prints a line on standard output.
pub(crate) fn say(text: &str) {
    drop(writeln!(std::io::stdout(), "{text}"));
}

/// Prints a line on standard error.
pub(crate) fn complain(text: &str) {
    drop(writeln!(std::io::stderr(), "{text}"));
}

/// Prints an error with its kind; with the rank where several may speak.
pub(crate) fn failure(error: &Error, rank: usize, size: usize) {
    let speaker = if size > 1 && rank > 0 { format!("rank {rank}: ") } else { String::new() };
    // Problems of an input carry their own kinds.
    let kind =
        if error.problems().is_empty() { format!(" [{}]", error.kind().as_str()) } else { String::new() };
    complain(&format!("{speaker}error: {error}{kind}"));
}

/// Prints a line per iteration of a training, or per block of a simulation.
pub(crate) fn progress(event: &Event) {
    let figure = |name| event.metric(name).unwrap_or(f64::NAN);
    match (event.system, event.phase) {
        (System::Train, Phase::Started) => {
            say(&format!(
                "{:>9}  {:>18}  {:>18}  {:>9}  {:>9}",
                "iteration", "lower bound [$]", "simulated [$]", "gap [%]", "time [s]"
            ));
        }
        (System::Train, Phase::Progress) => say(&format!(
            "{:>9}  {:>18.2}  {:>18.2}  {:>9.3}  {:>9.2}",
            event.iteration,
            figure("lower_bound"),
            figure("upper_bound"),
            100.0 * figure("gap"),
            event.elapsed_secs
        )),
        (System::Simulate, Phase::Progress) => say(&format!(
            "{:>9} of {} scenarios, mean cost $ {:.2}, {:.2} s",
            event.done,
            event.total.unwrap_or(event.done),
            figure("mean_cost"),
            event.elapsed_secs
        )),
        _ => {}
    }
}

/// Prints what a training came to.
pub(crate) fn training(result: &TrainingResult) {
    say("");
    facts(&[
        ("lower bound", format!("$ {:.2}", result.lower_bound())),
        (
            "upper bound (estimate)",
            result.last().map_or("-".into(), |last| format!("$ {:.2}", last.upper_bound)),
        ),
        ("gap", result.last().map_or("-".into(), |last| format!("{:.2} %", 100.0 * last.gap))),
        ("iterations", result.policy.policy.iterations.to_string()),
        ("ended by", result.termination.as_str().to_owned()),
        ("cuts", result.policy.policy.total_cuts().to_string()),
    ]);
}

/// Prints what a simulation came to.
pub(crate) fn simulation(result: &SimulationResult) {
    let costs = &result.costs;
    say("");
    facts(&[
        ("mean cost", format!("$ {:.2} ± {:.2} (95 %)", costs.mean_cost, costs.half_width)),
        ("standard deviation", format!("$ {:.2}", costs.std_cost)),
        ("scenarios", costs.scenarios.to_string()),
    ]);
}

/// Prints names and values, one pair per line.
pub(crate) fn facts(pairs: &[(&str, String)]) {
    let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, value) in pairs {
        say(&format!("{name:width$}  {value}"));
    }
}
