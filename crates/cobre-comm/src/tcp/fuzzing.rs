//! Entry points for bytes that nobody chose: they panic when a promise about them is broken.

use std::collections::BTreeMap;

use super::address::Address;
use super::config::{
    BIND_VARIABLE, CONNECT_TIMEOUT_VARIABLE, COORDINATOR_VARIABLE, PORT_VARIABLE, RANK_VARIABLE,
    SIZE_VARIABLE, TIMEOUT_VARIABLE, TOKEN_VARIABLE, TcpConfig,
};
use super::frame::{CONTROL, HEAD, Incoming, Malformed, decode};
use super::handshake::{Entrance, Gate, Job, Step, Verdict};
use super::token::{Key, Token};

/// Decodes frames as they come from a socket: whole, and byte by byte with the same outcome.
///
/// # Panics
/// When the two differ or a frame takes more than there is.
pub fn frame(bytes: &[u8]) {
    let mut rest = bytes;
    loop {
        let whole = decode(rest);
        let mut grown: Result<Option<(Incoming, usize)>, Malformed> = Ok(None);
        for len in 0..=rest.len().min(4 + CONTROL) {
            grown = decode(&rest[..len]);
            if grown != Ok(None) {
                break;
            }
        }
        assert_eq!(whole, grown);
        let Ok(Some((frame, taken))) = whole else { return };
        assert!((5..=rest.len()).contains(&taken));
        rest = &rest[taken..];
        match frame {
            Incoming::Data { payload, tag, prefix } => {
                assert_eq!(bytes[bytes.len() - rest.len() - HEAD..][..HEAD], prefix.head(tag, payload));
                rest = &rest[payload.min(rest.len())..];
            }
            Incoming::Shutdown(shutdown) => assert!(shutdown.frame().len() <= 4 + CONTROL),
            Incoming::Ack(ack) => assert!(ack.frame().len() <= 4 + CONTROL),
            Incoming::Handshake(content) => assert!(content.len() < CONTROL),
        }
    }
}

/// Feeds the frames in the bytes to both sides of a handshake.
///
/// # Panics
/// When bytes that do not come from someone who knows the token open the door.
pub fn handshake(bytes: &[u8]) {
    let token = Token::from_hex("5ab6cd2e9f1047538a6b1c2d3e4f5061");
    let job = Job::new(Key::new(token.as_ref()), 4);
    let mut gate = Gate::Closed;
    let mut is_open = true;
    let (mut entrance, hello) = Entrance::begin_with(&job, 2, [3; 16]);
    // The first byte tells whether the peer has overheard a hello of the job.
    let (mode, mut rest) = bytes.split_first().unwrap_or((&0, &[]));
    if mode % 2 == 1
        && let Ok(Some((frame, _))) = decode(&hello)
    {
        assert!(matches!(gate.hear(&job, &frame, [9; 16], |_| false), Verdict::Answer(_)));
    }
    while let Ok(Some((frame, taken))) = decode(rest) {
        rest = &rest[taken..];
        if is_open {
            let verdict = gate.hear(&job, &frame, [9; 16], |rank| rank == 1);
            assert!(!matches!(verdict, Verdict::Admit(_)), "a stranger got in");
            is_open = matches!(verdict, Verdict::Answer(_));
        }
        let step = entrance.hear(&frame);
        assert!(!matches!(step, Step::Joined | Step::Answer(_)), "a stranger was believed");
    }
}

/// Reads settings from lines `NAME=value`, and each value as an address.
///
/// # Panics
/// When settings are accepted that cannot be right.
pub fn environment(text: &str) {
    let variables: BTreeMap<&str, &str> = text.lines().filter_map(|line| line.split_once('=')).collect();
    for value in variables.values() {
        if let Some(address) = Address::parse(value) {
            assert!(!address.host.is_empty() && address.port != Some(0));
            let _ = address.listening();
        }
    }
    let known = [
        RANK_VARIABLE,
        SIZE_VARIABLE,
        COORDINATOR_VARIABLE,
        PORT_VARIABLE,
        BIND_VARIABLE,
        CONNECT_TIMEOUT_VARIABLE,
        TIMEOUT_VARIABLE,
        TOKEN_VARIABLE,
    ];
    // The variable that names a file is left out: the bytes shall open none.
    let read =
        |name| Ok(variables.get(name).filter(|_| known.contains(&name)).map(|value| (*value).to_owned()));
    if let Ok(config) = TcpConfig::from_variables(&read) {
        assert!(config.rank < config.size && config.port > 0);
        let is_known = config.token.is_some() || config.size == 1;
        let listens_here = config.listening(Address::parse(&config.coordinator).as_ref());
        let is_local = listens_here.is_ok_and(|address| address.is_loopback())
            || Address::parse(&config.coordinator)
                .is_some_and(|address| config.rank > 0 && address.is_loopback());
        assert!(is_known || is_local, "reachable without a token: {config:?}");
    }
}
