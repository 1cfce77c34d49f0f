//! Ranks over TCP that die, stop or lose their parent, as real processes. `COBRE_FAULT_ROUNDS` sets how many are
//! killed (20).
#![cfg(feature = "tcp")]

use std::sync::Arc;
use std::time::Duration;

use cobre_comm::{CommError, Communicator, LIFELINE_EXIT_CODE, ReduceOp, Stall, TcpBackend, TcpConfig};
use common::ranks::{Processes, role};
use rustix::process::Signal;
use rustix::time::{ClockId, clock_gettime};
use tcp_jobs::{connect_from_env, processes, threads};

mod common;
mod tcp_jobs;

/// After this the test gives up: nothing here takes long.
const LIMIT: Duration = Duration::from_mins(1);
/// The goal is 100 ms; a loaded machine may take longer to run the ranks.
const NAMED_WITHIN: Duration = Duration::from_secs(1);

fn say(text: &str) {
    use std::io::Write;
    // In one piece, past the buffers of a test program.
    std::io::stdout().write_all(format!("{text}\n").as_bytes()).unwrap();
    std::io::stdout().flush().unwrap();
}

fn now_ns() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Calls collectives of all kinds until one fails.
fn work_until_it_fails(comm: &TcpBackend) -> CommError {
    let (rank, size) = (comm.rank(), comm.size());
    let counts = vec![40_000; size];
    let displs: Vec<usize> = (0..size).map(|rank| rank * 40_000).collect();
    let send = vec![rank as f64; 40_000];
    let mut recv = vec![0.0; size * 40_000];
    for round in 0.. {
        let outcome = match round % 5 {
            0 => comm.barrier(),
            1 => comm.allreduce(&[1.0], &mut [0.0], ReduceOp::Sum),
            2 => comm.allgatherv(&send, &mut recv, &counts, &displs),
            3 => comm.broadcast(&mut recv, round % size),
            _ => comm.allreduce(&send, &mut recv[..40_000], ReduceOp::Max),
        };
        if let Err(error) = outcome {
            return error;
        }
    }
    unreachable!("a job without end")
}

/// What a rank does that is killed, or sees another die.
fn survive() {
    let comm = connect_from_env();
    say("ready");
    let error = work_until_it_fails(&comm);
    say(&format!("failed {} {error:?}", now_ns()));
    assert_eq!(comm.barrier(), Err(CommError::Poisoned));
}

fn await_all(job: &mut Processes, size: usize, text: &str) {
    for rank in 0..size {
        job.await_print(rank, text, LIMIT);
    }
}

/// The time at which a rank failed and the rest of what it said about it.
fn failure(printed: &str) -> (u64, String) {
    let line =
        printed.lines().find_map(|line| line.split_once("failed ")).unwrap_or_else(|| panic!("{printed}"));
    let (at, error) = line.1.split_once(' ').unwrap();
    (at.parse().unwrap(), error.to_owned())
}

/// Numbers that look random (`xorshift64`), seeded by the clock: each run tries other points.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

fn rounds() -> usize {
    std::env::var("COBRE_FAULT_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(20)
}

#[test]
fn whoever_is_killed_is_named_by_all() {
    if role().is_some() {
        return survive();
    }
    let mut chance = Chance(now_ns() | 1);
    let mut delays = Vec::new();
    for round in 0..rounds() {
        let size = 2 + chance.below(3) as usize;
        let victim = if round % 3 == 0 { 0 } else { chance.below(size as u64) as usize };
        let mut job = processes("whoever_is_killed_is_named_by_all", size, &[]);
        await_all(&mut job, size, "ready");
        std::thread::sleep(Duration::from_micros(chance.below(30_000)));
        let killed = now_ns();
        job.signal(victim, Signal::KILL);
        let ended = job.wait(LIMIT);
        for (rank, ended) in ended.iter().enumerate().filter(|(rank, _)| *rank != victim) {
            let (at, error) = failure(&ended.stdout);
            let expected = format!("PeerLost {{ rank: {victim},");
            assert!(error.starts_with(&expected), "round {round}: rank {rank} of {size}: {error}");
            assert!(ended.status.success(), "rank {rank}: {}", ended.stderr);
            let delay = Duration::from_nanos(at.saturating_sub(killed));
            assert!(delay < NAMED_WITHIN, "rank {rank} needed {delay:?}");
            delays.push(delay);
        }
    }
    delays.sort_unstable();
    let (Some(last), median) = (delays.last(), delays.get(delays.len() / 2)) else { return };
    say(&format!("{} survivors: median {median:?}, longest {last:?}", delays.len()));
}

#[test]
fn a_rank_that_dies_early_keeps_nobody() {
    if role().is_some() {
        let Ok(comm) = TcpBackend::connect(&TcpConfig::from_env().unwrap()) else { return };
        work_until_it_fails(&comm);
        return;
    }
    let mut chance = Chance(now_ns() | 1);
    for _ in 0..rounds().div_ceil(4) {
        let victim = chance.below(3) as usize;
        let settings = [("COBRE_TCP_CONNECT_TIMEOUT_MS", "1500")];
        let job = processes("a_rank_that_dies_early_keeps_nobody", 3, &settings);
        std::thread::sleep(Duration::from_micros(chance.below(15_000)));
        job.signal(victim, Signal::KILL);
        job.wait(Duration::from_secs(20));
    }
}

#[test]
fn those_who_wait_learn_it_while_the_coordinator_computes() {
    if let Some((rank, _)) = role() {
        let comm = connect_from_env();
        say("ready");
        if rank == 0 {
            std::thread::sleep(Duration::from_secs(2));
            say("computed");
        } else if rank == 2 {
            std::thread::sleep(LIMIT);
        }
        let error = comm.barrier().unwrap_err();
        say(&format!("failed {} {error:?}", now_ns()));
        return;
    }
    let mut job = processes("those_who_wait_learn_it_while_the_coordinator_computes", 4, &[]);
    await_all(&mut job, 4, "ready");
    std::thread::sleep(Duration::from_millis(100));
    job.signal(2, Signal::KILL);
    job.await_print(1, "failed", LIMIT);
    job.await_print(3, "failed", LIMIT);
    assert!(!job.printed(0).contains("computed"), "the others did not wait for the coordinator");
    for (rank, ended) in job.wait(LIMIT).iter().enumerate().filter(|(rank, _)| *rank != 2) {
        let (_, error) = failure(&ended.stdout);
        assert!(error.starts_with("PeerLost { rank: 2,"), "rank {rank}: {error}");
    }
}

#[test]
fn an_abort_ends_the_job() {
    if let Some((rank, _)) = role() {
        let comm = connect_from_env();
        comm.barrier().unwrap();
        if rank == 1 {
            comm.abort(7);
        }
        let error = comm.barrier().unwrap_err();
        say(&format!("failed {} {error:?}", now_ns()));
        return;
    }
    let ended = processes("an_abort_ends_the_job", 3, &[]).wait(LIMIT);
    assert_eq!(ended[1].status.code(), Some(7));
    for rank in [0, 2] {
        let (_, error) = failure(&ended[rank].stdout);
        assert!(error.contains("rank: 1") && error.contains("code 7"), "rank {rank}: {error}");
    }
}

#[test]
fn ranks_end_with_their_parent() {
    if let Some((rank, _)) = role() {
        let comm = connect_from_env();
        say("ready");
        if rank == 1 {
            // One computes, the others wait.
            std::thread::sleep(LIMIT);
        }
        drop(comm.barrier());
        std::thread::sleep(LIMIT);
        return;
    }
    let mut job = processes("ranks_end_with_their_parent", 3, &[]);
    await_all(&mut job, 3, "ready");
    job.cut_lifeline();
    for ended in job.wait(Duration::from_secs(10)) {
        assert_eq!(ended.status.code(), Some(LIFELINE_EXIT_CODE));
    }
}

#[test]
fn a_silent_rank_is_an_error_when_the_user_says_so() {
    if role().is_some() {
        return survive();
    }
    for victim in [0, 2] {
        let settings = [("COBRE_TCP_TIMEOUT_SECS", "2")];
        let mut job = processes("a_silent_rank_is_an_error_when_the_user_says_so", 4, &settings);
        await_all(&mut job, 4, "ready");
        job.signal(victim, Signal::STOP);
        let others = (0..4).filter(|rank| *rank != victim);
        for rank in others.clone() {
            job.await_print(rank, "failed", LIMIT);
        }
        job.signal(victim, Signal::KILL);
        let ended = job.wait(LIMIT);
        for rank in others {
            let (_, error) = failure(&ended[rank].stdout);
            let missing = format!("missing: [{victim}] ");
            assert!(error.starts_with("Timeout {") && error.contains(&missing), "rank {rank}: {error}");
            let waited: u64 =
                error.split_once("waited_ms: ").unwrap().1.split(',').next().unwrap().parse().unwrap();
            assert!(waited >= 2_000, "it waits as long as the user says: {error}");
        }
    }
}

#[test]
fn a_silent_rank_is_waited_for_otherwise() {
    if let Some((rank, _)) = role() {
        let mut config = TcpConfig::from_env().unwrap();
        config.stall_notice = Duration::from_millis(300);
        config.on_stall =
            Some(Arc::new(|stall: &Stall| say(&format!("stall {} {:?}", stall.operation, stall.missing))));
        let comm = TcpBackend::connect(&config).unwrap();
        say("ready");
        if rank == 2 {
            let own = rustix::process::getpid();
            rustix::process::kill_process(own, Signal::STOP).unwrap();
            // Another thread may take the signal, and this one runs on for a moment.
            std::thread::sleep(Duration::from_millis(300));
        }
        comm.barrier().unwrap();
        return;
    }
    let mut job = processes("a_silent_rank_is_waited_for_otherwise", 3, &[]);
    await_all(&mut job, 3, "ready");
    for rank in [0, 1] {
        job.await_print(rank, "stall barrier [2]", LIMIT);
    }
    job.signal(2, Signal::CONT);
    job.succeed(LIMIT);
}

#[test]
fn waiting_costs_no_processor() {
    let wait = Duration::from_secs(3);
    let shares = threads(3, |comm| {
        comm.barrier().unwrap();
        if comm.rank() == 1 {
            std::thread::sleep(wait);
        }
        let before = clock_gettime(ClockId::ThreadCPUTime);
        comm.barrier().unwrap();
        let after = clock_gettime(ClockId::ThreadCPUTime);
        let nanoseconds = (after.tv_sec - before.tv_sec) * 1_000_000_000 + after.tv_nsec - before.tv_nsec;
        nanoseconds as f64 / wait.as_nanos() as f64
    });
    assert!(shares.iter().all(|share| *share <= 0.02), "{shares:?}");
}
