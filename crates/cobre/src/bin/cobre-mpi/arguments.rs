//! The command line, with the words of the Python command `cobre`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Certified policies for hydrothermal dispatch, by one process or by the ranks of a job.
///
/// `COBRE_COMM_BACKEND` chooses how ranks find each other: auto (the default), mpi, tcp, shm or local.
#[derive(Debug, Parser)]
#[command(name = "cobre-mpi", disable_version_flag = true)]
pub(crate) struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What the program can do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Train a policy and write it to DIR/policy.
    Train(Train),
    /// Simulate a policy and write what was done to DIR/simulation.
    Simulate(Simulate),
    /// List every problem of a case, or say what it holds.
    Validate {
        /// Directory of the case.
        #[arg(value_name = "CASE")]
        case: PathBuf,
    },
    /// Print the version.
    Version {
        /// Also print the backends of this build and the libraries it uses.
        #[arg(long)]
        features: bool,
    },
}

/// The arguments of a training.
#[derive(Args, Debug)]
pub(crate) struct Train {
    /// Directory of the case.
    #[arg(value_name = "CASE")]
    pub(crate) case: PathBuf,
    /// Where the results go.
    #[arg(long, short, value_name = "DIR")]
    pub(crate) output: PathBuf,
    /// Stop after so many iterations.
    #[arg(long, value_name = "N")]
    pub(crate) iterations: Option<u64>,
    /// Stop after so many seconds.
    #[arg(long, visible_alias = "time-limit", value_name = "SECONDS")]
    pub(crate) seconds: Option<f64>,
    /// Iterations between two checkpoints.
    #[arg(long, value_name = "N")]
    pub(crate) checkpoint_every: Option<u64>,
    /// Go on from the checkpoint in DIR.
    #[arg(long)]
    pub(crate) resume: bool,
    /// How to run.
    #[command(flatten)]
    pub(crate) running: Running,
}

/// The arguments of a simulation.
#[derive(Args, Debug)]
pub(crate) struct Simulate {
    /// Directory of the case.
    #[arg(value_name = "CASE")]
    pub(crate) case: PathBuf,
    /// Where the tables go.
    #[arg(long, short, value_name = "DIR")]
    pub(crate) output: PathBuf,
    /// Directory of the policy; where a training with the same output wrote it by default.
    #[arg(long, short, value_name = "DIR")]
    pub(crate) policy: Option<PathBuf>,
    /// Number of scenarios.
    #[arg(long, value_name = "N")]
    pub(crate) scenarios: Option<u64>,
    /// How to run.
    #[command(flatten)]
    pub(crate) running: Running,
}

/// What trainings and simulations have in common.
#[derive(Args, Debug)]
pub(crate) struct Running {
    /// Seed of the random paths.
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Threads of each rank; by default the ranks of a machine share its processors.
    #[arg(long)]
    pub(crate) threads: Option<usize>,
    /// Print nothing but errors.
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn words_are_read() {
        let line = "cobre-mpi train case -o out --seed 3 --threads 2 --iterations 8 --time-limit 1.5 \
                    --checkpoint-every 4 --resume --quiet";
        let Command::Train(train) = Arguments::try_parse_from(line.split_whitespace()).unwrap().command
        else {
            panic!("a training")
        };
        assert_eq!((train.iterations, train.seconds, train.checkpoint_every), (Some(8), Some(1.5), Some(4)));
        assert!(train.resume && train.running.quiet);
        assert_eq!((train.running.seed, train.running.threads), (Some(3), Some(2)));
        for wrong in
            ["cobre-mpi", "cobre-mpi train case", "cobre-mpi validate", "cobre-mpi train c -o o --sed 1"]
        {
            assert!(Arguments::try_parse_from(wrong.split_whitespace()).is_err(), "{wrong}");
        }
    }
}
