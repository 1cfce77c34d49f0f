//! Strangers, liars and slow ones at the coordinator's door while a job starts, and ranks that do not find each
//! other.
#![cfg(feature = "tcp")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cobre_comm::{BackendError, TcpBackend, TcpConfig, Token};
use tcp_jobs::TOKEN;

mod common;
mod tcp_jobs;

const OTHER: &str = "ffeeddccbbaa99887766554433221100";

fn config(rank: usize, size: usize, address: SocketAddr, token: &str) -> TcpConfig {
    let mut config = TcpConfig::new(rank, size, address.to_string());
    config.token = Token::from_hex(token);
    config.connect_timeout = Duration::from_secs(20);
    config
}

fn refusal(config: &TcpConfig) -> String {
    match TcpBackend::connect(config) {
        Err(error @ BackendError::InitializationFailed { .. }) => error.to_string(),
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("rank {} of {} got in", config.rank, config.size),
    }
}

/// A frame of the handshake's tag, as the protocol of version `version` begins.
fn hello(version: u16, rank: u32, size: u32) -> Vec<u8> {
    let mut payload = b"cobre:".to_vec();
    payload.extend(0x0102u16.to_ne_bytes());
    payload.extend(version.to_be_bytes());
    payload.extend(rank.to_be_bytes());
    payload.extend(size.to_be_bytes());
    payload.extend([0; 32]);
    let mut frame = (payload.len() as u32 + 1).to_be_bytes().to_vec();
    frame.push(8);
    frame.extend(payload);
    frame
}

/// Sends bytes; what comes back before the coordinator closes the connection.
fn provoke(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    // It may be refused before all is sent.
    drop(stream.write_all(bytes));
    let mut answer = Vec::new();
    let mut piece = [0; 512];
    loop {
        match stream.read(&mut piece) {
            Ok(0) => return answer,
            Ok(count) => answer.extend(&piece[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return answer,
            Err(error) => panic!("the coordinator keeps a stranger: {error}"),
        }
    }
}

/// All that can be tried without the token. Every connection ends, and none is worth an answer but a refusal.
fn provoke_with_everything(address: SocketAddr) {
    let bytes_of = |length: u32, tag: u8| [length.to_be_bytes().as_slice(), &[tag]].concat();
    let silent: [Vec<u8>; 7] = [
        bytes_of(0, 8),
        bytes_of(u32::MAX, 1),
        bytes_of(257, 8),
        bytes_of(1, 99),
        bytes_of(1, 8),
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
        // A collective's frame before any handshake.
        [bytes_of(17, 6), vec![0; 16]].concat(),
    ];
    for bytes in &silent {
        assert_eq!(provoke(address, bytes), [], "{bytes:?}");
    }
    for (bytes, reason) in [(hello(2, 1, 3), "version 1"), (hello(1, 1, 3), "another job")] {
        let answer = String::from_utf8_lossy(&provoke(address, &bytes)).into_owned();
        assert!(answer.contains(reason), "{answer}");
    }
    // Cut off in the middle, and nothing more: closed when its time is over.
    let started = Instant::now();
    assert_eq!(provoke(address, &hello(1, 1, 3)[..20]), []);
    assert!(started.elapsed() < Duration::from_secs(8));
}

/// Ends the slow ones also when the test fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_job_starts_among_strangers() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _over = Over(&is_over);
        let coordinator = scope.spawn(|| {
            let mut config = config(0, 3, address, TOKEN);
            config.listener = Some(listener);
            let comm = TcpBackend::connect(&config).unwrap();
            drop(config);
            common::conformance::run(&comm);
        });
        // One byte now and then, from more peers than are let into the hall.
        scope.spawn(|| {
            let frame = hello(1, 1, 3);
            let mut slow: Vec<TcpStream> =
                (0..150).filter_map(|_| TcpStream::connect(address).ok()).collect();
            for byte in frame.iter().cycle() {
                if is_over.load(Ordering::Relaxed) {
                    return;
                }
                slow.retain_mut(|stream| stream.write_all(&[*byte]).is_ok());
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        for _ in 0..200 {
            drop(TcpStream::connect(address).unwrap());
        }
        provoke_with_everything(address);
        assert!(refusal(&config(1, 3, address, OTHER)).contains("another job"));
        assert!(refusal(&config(1, 4, address, TOKEN)).contains("3 ranks, not 4"));
        // A worker that is there keeps its place.
        let first = scope.spawn(|| {
            // Those who know the token and come first have the place, until they give up.
            let comm = loop {
                match TcpBackend::connect(&config(2, 3, address, TOKEN)) {
                    Ok(comm) => break comm,
                    Err(error) => assert!(error.to_string().contains("connected already"), "{error}"),
                }
            };
            common::conformance::run(&comm);
        });
        let started = Instant::now();
        loop {
            let mut thief = config(2, 3, address, TOKEN);
            thief.connect_timeout = Duration::from_millis(100);
            if refusal(&thief).contains("connected already") {
                break;
            }
            assert!(started.elapsed() < Duration::from_secs(20), "the first worker does not arrive");
        }
        let comm = TcpBackend::connect(&config(1, 3, address, TOKEN)).unwrap();
        common::conformance::run(&comm);
        first.join().unwrap();
        coordinator.join().unwrap();
    });
}

#[test]
fn a_taken_port_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut config = TcpConfig::new(0, 2, "localhost");
    config.port = port;
    let error = refusal(&config);
    assert!(error.contains(&port.to_string()) && error.contains("COBRE_TCP_PORT"), "{error}");
}

#[test]
fn those_who_do_not_come_are_named_by_all() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::scope(|scope| {
        let coordinator = scope.spawn(|| {
            let mut config = config(0, 4, address, TOKEN);
            config.connect_timeout = Duration::from_millis(500);
            config.listener = Some(listener);
            refusal(&config)
        });
        let worker = scope.spawn(|| refusal(&config(2, 4, address, TOKEN)));
        for error in [coordinator.join().unwrap(), worker.join().unwrap()] {
            assert!(
                error.contains("ranks 1, 3") && error.contains("COBRE_TCP_CONNECT_TIMEOUT_MS"),
                "{error}"
            );
        }
    });
}

#[test]
fn nobody_at_the_address_is_an_error() {
    let address = ([127, 0, 0, 1], tcp_jobs::free_port()).into();
    let mut config = config(1, 2, address, TOKEN);
    config.connect_timeout = Duration::from_millis(300);
    let error = refusal(&config);
    assert!(error.contains(&address.to_string()) && error.contains("300 ms"), "{error}");
}

#[test]
fn a_coordinator_without_the_token_is_not_believed() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // It answers every hello with a challenge that anybody could have made up, until the worker gives up.
            let mut challenge = vec![0, 0, 0, 50, 9, 1];
            challenge.extend([7; 48]);
            listener.set_nonblocking(true).unwrap();
            let until = Instant::now() + Duration::from_millis(1_500);
            while Instant::now() < until {
                if let Ok((mut stream, _)) = listener.accept() {
                    drop(stream.write_all(&challenge));
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let mut config = config(1, 2, address, TOKEN);
        config.connect_timeout = Duration::from_millis(700);
        let error = refusal(&config);
        assert!(error.contains("does not know the token"), "{error}");
    });
}

#[test]
fn a_token_is_needed_off_the_machine() {
    let mut coordinator = TcpConfig::new(0, 2, "");
    coordinator.bind_address = Some([0, 0, 0, 0].into());
    for config in [coordinator, TcpConfig::new(0, 2, ""), TcpConfig::new(1, 2, "10.255.255.1")] {
        let Err(BackendError::MissingConfiguration { missing_vars, .. }) = TcpBackend::connect(&config)
        else {
            panic!("{config:?} is no setting to start with")
        };
        assert_eq!(missing_vars, ["COBRE_COMM_TOKEN"]);
    }
}

#[test]
fn one_rank_needs_no_network() {
    let comm = TcpBackend::connect(&TcpConfig::new(0, 1, "")).unwrap();
    common::conformance::run(&comm);
}
