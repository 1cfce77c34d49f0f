//! Ranks on two hosts, as far as one machine can be two: network namespaces with a cable between them, which is
//! pulled, and a relay that is slow and cuts everything into pieces. Namespaces need privileges and `ip`.
#![cfg(all(feature = "tcp", target_os = "linux"))]
#![allow(
    clippy::print_stdout,
    reason = "ranks tell the test what happened, and the test tells why it is skipped"
)]

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use cobre_comm::{Communicator, TcpBackend, TcpConfig, Token};
use common::ranks::{RANK, SIZE, on_threads, role};
use tcp_jobs::{TOKEN, connect_from_env, environment};

mod common;
mod tcp_jobs;

const LIMIT: Duration = Duration::from_mins(2);
const HOSTS: [&str; 2] = ["10.213.77.1", "10.213.77.2"];
const PORT: u16 = 29_511;

fn ip(arguments: &str) -> Result<(), String> {
    let outcome = Command::new("ip").args(arguments.split(' ')).output();
    match outcome {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!("ip {arguments}: {}", String::from_utf8_lossy(&output.stderr).trim())),
        Err(error) => Err(format!("ip: {error}")),
    }
}

/// Two network namespaces, taken down when this is dropped.
struct Hosts {
    names: [String; 2],
}

impl Hosts {
    /// Nothing, said aloud, where the user may not make namespaces.
    fn new(label: &str) -> Option<Self> {
        let names = [0, 1].map(|host| format!("cobre-{label}-{}-{host}", std::process::id()));
        let hosts = Self { names };
        match hosts.set_up() {
            Ok(()) => Some(hosts),
            Err(reason) => {
                println!("skipped: no network namespaces here ({reason})");
                None
            }
        }
    }

    fn set_up(&self) -> Result<(), String> {
        let [first, second] = &self.names;
        ip(&format!("netns add {first}"))?;
        ip(&format!("netns add {second}"))?;
        ip(&format!("link add cable netns {first} type veth peer name cable netns {second}"))?;
        for (name, address) in self.names.iter().zip(HOSTS) {
            ip(&format!("-n {name} address add {address}/24 dev cable"))?;
            ip(&format!("-n {name} link set cable up"))?;
            ip(&format!("-n {name} link set lo up"))?;
        }
        Ok(())
    }

    fn pull_the_cable(&self) {
        ip(&format!("-n {} link set cable down", self.names[1])).unwrap();
    }

    /// Starts a rank of the test `test` on a host.
    fn start(&self, host: usize, test: &str, rank: usize, size: usize) -> Rank {
        let program = std::env::current_exe().unwrap();
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.names[host]]).arg(program);
        command.args(["--exact", test, "--nocapture", "--include-ignored"]);
        command.env(RANK, rank.to_string()).env(SIZE, size.to_string()).envs(environment(size, PORT)(rank));
        command.env("COBRE_TCP_COORDINATOR", format!("{}:{PORT}", HOSTS[0]));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Rank(Some(command.spawn().unwrap()))
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for name in &self.names {
            // It may not exist.
            drop(ip(&format!("netns delete {name}")));
        }
    }
}

/// A process that is killed when it is dropped.
struct Rank(Option<Child>);

impl Rank {
    fn wait(mut self) -> Output {
        let started = Instant::now();
        while self.0.as_mut().unwrap().try_wait().unwrap().is_none() {
            assert!(started.elapsed() < LIMIT, "a rank hangs");
            std::thread::sleep(Duration::from_millis(10));
        }
        self.0.take().unwrap().wait_with_output().unwrap()
    }
}

impl Drop for Rank {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

#[test]
fn conformance_of_two_hosts() {
    if role().is_some() {
        let comm = connect_from_env();
        common::conformance::run(&comm);
        return common::sequence::run(&comm, 7, 60, Duration::from_micros(200));
    }
    let Some(hosts) = Hosts::new("run") else { return };
    let ranks = [(0, 0), (1, 1), (0, 2), (1, 3)]
        .map(|(host, rank)| hosts.start(host, "conformance_of_two_hosts", rank, 4));
    for (rank, output) in ranks.into_iter().map(Rank::wait).enumerate() {
        assert!(output.status.success(), "rank {rank}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn a_host_that_is_cut_off_is_named() {
    if role().is_some() {
        let comm = connect_from_env();
        let send = vec![1.0; 100_000];
        let mut recv = vec![0.0; 300_000];
        let displs = [0, 100_000, 200_000];
        let error = loop {
            if let Err(error) = comm.allgatherv(&send, &mut recv, &[100_000; 3], &displs) {
                break error;
            }
        };
        println!("failed: {error:?}");
        return;
    }
    let Some(hosts) = Hosts::new("cut") else { return };
    let ranks = [(0, 0), (0, 1), (1, 2)]
        .map(|(host, rank)| hosts.start(host, "a_host_that_is_cut_off_is_named", rank, 3));
    std::thread::sleep(Duration::from_millis(1_500));
    let pulled = Instant::now();
    hosts.pull_the_cable();
    let expected = [2, 2, 0];
    for (rank, output) in ranks.into_iter().map(Rank::wait).enumerate() {
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        let culprit = format!("failed: PeerLost {{ rank: {},", expected[rank]);
        assert!(
            printed.contains(&culprit),
            "rank {rank}: {printed}{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    println!("all ranks knew after {:?}", pulled.elapsed());
    assert!(pulled.elapsed() < Duration::from_secs(40), "the kernel gives a silent host up after 13 s");
}

/// Passes bytes on, late and in pieces of 1 to 60 000 bytes.
fn relay(mut from: TcpStream, mut to: TcpStream, delay: Duration) {
    let mut buffer = vec![0; 60_000];
    let mut size = 1;
    loop {
        size = (size * 31 + 17) % buffer.len() + 1;
        match from.read(&mut buffer[..size]) {
            Ok(count) if count > 0 => {
                std::thread::sleep(delay);
                if to.write_all(&buffer[..count]).is_err() {
                    break;
                }
            }
            _ => break,
        }
    }
    drop(to.shutdown(Shutdown::Write));
}

#[test]
fn conformance_over_a_slow_line() {
    let size = 3;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let coordinator = listener.local_addr().unwrap();
    let line = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = line.local_addr().unwrap().to_string();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::scope(|lines| {
                for _ in 1..size {
                    let (near, _) = line.accept().unwrap();
                    let far = TcpStream::connect(coordinator).unwrap();
                    far.set_nodelay(true).unwrap();
                    near.set_nodelay(true).unwrap();
                    let (other_near, other_far) = (near.try_clone().unwrap(), far.try_clone().unwrap());
                    lines.spawn(move || relay(near, far, Duration::from_micros(300)));
                    lines.spawn(move || relay(other_far, other_near, Duration::from_micros(300)));
                }
            });
        });
        let connect = |rank| {
            let mut config = TcpConfig::new(rank, size, &address);
            config.token = Token::from_hex(TOKEN);
            if rank == 0 {
                config.listener = Some(listener.try_clone().unwrap());
            }
            TcpBackend::connect(&config).unwrap()
        };
        on_threads(size, connect, common::conformance::run);
    });
}
