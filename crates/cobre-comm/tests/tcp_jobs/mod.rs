//! Jobs over TCP, with ranks as threads or as processes.
#![allow(dead_code, unreachable_pub, reason = "each test program uses its part")]

use std::net::TcpListener;

use cobre_comm::{TcpBackend, TcpConfig, Token};

use crate::common::ranks::{Processes, on_threads};

pub const TOKEN: &str = "00112233445566778899aabbccddeeff";

/// Runs `work` on the threads of a job.
pub fn threads<R: Send>(size: usize, work: impl Fn(&TcpBackend) -> R + Sync) -> Vec<R> {
    threads_with(size, |_| {}, work)
}

/// As [`threads`], with settings that `adjust` makes.
pub fn threads_with<R: Send>(
    size: usize,
    adjust: impl Fn(&mut TcpConfig) + Sync,
    work: impl Fn(&TcpBackend) -> R + Sync,
) -> Vec<R> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let connect = |rank| {
        let mut config = TcpConfig::new(rank, size, &address);
        config.token = Token::from_hex(TOKEN);
        if rank == 0 {
            config.listener = Some(listener.try_clone().unwrap());
        }
        adjust(&mut config);
        TcpBackend::connect(&config).unwrap()
    };
    on_threads(size, connect, work)
}

/// The environment of a rank of a job at `port`.
pub fn environment(size: usize, port: u16) -> impl Fn(usize) -> Vec<(String, String)> {
    move |rank| {
        [
            ("COBRE_TCP_RANK", rank.to_string()),
            ("COBRE_TCP_SIZE", size.to_string()),
            ("COBRE_TCP_COORDINATOR", format!("127.0.0.1:{port}")),
            ("COBRE_COMM_TOKEN", TOKEN.to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec()
    }
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

pub fn connect_from_env() -> TcpBackend {
    TcpBackend::connect(&TcpConfig::from_env().unwrap()).unwrap()
}

/// Starts the test `test` again as the ranks of a job, with `more` variables.
pub fn processes(test: &str, size: usize, more: &[(&str, &str)]) -> Processes {
    let variables = environment(size, free_port());
    Processes::start(test, size, |rank| {
        let more = more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        variables(rank).into_iter().chain(more).collect()
    })
}
