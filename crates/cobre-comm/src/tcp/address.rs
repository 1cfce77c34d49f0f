//! Where the coordinator listens: `host`, `host:port`, `[v6]`, `[v6]:port` or a bare IPv6 address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The host and, where it is given, the port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    /// A name or an address, without brackets.
    pub(super) host: String,
    /// Nothing when another setting decides.
    pub(super) port: Option<u16>,
}

impl Address {
    /// Reads an address; `None` when it is none.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text.parse::<Ipv6Addr>().is_ok() {
            return Some(Self { host: text.to_owned(), port: None });
        }
        let (host, port) = if let Some(rest) = text.strip_prefix('[') {
            let (host, rest) = rest.split_once(']')?;
            host.parse::<Ipv6Addr>().ok()?;
            let port = if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) };
            (host, port)
        } else {
            match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            }
        };
        let is_plain = |character: char| !character.is_whitespace() && !"[]:/@%".contains(character);
        let is_address = host.parse::<Ipv6Addr>().is_ok();
        if host.is_empty() || !(is_address || host.chars().all(is_plain)) {
            return None;
        }
        let port = match port {
            // `parse` alone would allow a plus sign.
            Some(digits) if digits.bytes().all(|digit| digit.is_ascii_digit()) => {
                Some(digits.parse().ok().filter(|port| *port != 0)?)
            }
            Some(_) => return None,
            None => None,
        };
        Some(Self { host: host.to_owned(), port })
    }

    /// Whether only this machine can be meant.
    pub(super) fn is_loopback(&self) -> bool {
        self.host.eq_ignore_ascii_case("localhost")
            || self.host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }

    /// The address to listen on when nothing else is set: this machine alone where it is enough.
    pub(super) fn listening(&self) -> IpAddr {
        let is_v6 = self.host.parse::<Ipv6Addr>().is_ok();
        match (self.is_loopback(), is_v6) {
            (true, true) => Ipv6Addr::LOCALHOST.into(),
            (true, false) => self.host.parse().unwrap_or(Ipv4Addr::LOCALHOST.into()),
            (false, true) => Ipv6Addr::UNSPECIFIED.into(),
            (false, false) => Ipv4Addr::UNSPECIFIED.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> Option<(String, Option<u16>)> {
        Address::parse(text).map(|address| (address.host, address.port))
    }

    #[test]
    fn addresses_have_a_host_and_perhaps_a_port() {
        let host = |host: &str, port| Some((host.to_owned(), port));
        assert_eq!(parts("node-1.cluster"), host("node-1.cluster", None));
        assert_eq!(parts("node1:29500"), host("node1", Some(29_500)));
        assert_eq!(parts("10.0.0.1:1"), host("10.0.0.1", Some(1)));
        assert_eq!(parts("[fe80::1]:80"), host("fe80::1", Some(80)));
        assert_eq!(parts("[::1]"), host("::1", None));
        assert_eq!(parts("::1"), host("::1", None));
        for wrong in [
            "", ":", ":80", "a:", "a:0", "a:65536", "a:+1", "a:b", "a b", "[::1", "[a]:1", "[::1]x", "a:1:2",
            "[]",
        ] {
            assert_eq!(parts(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn one_machine_listens_to_itself() {
        let listening = |text| Address::parse(text).unwrap().listening().to_string();
        assert_eq!(listening("localhost:1"), "127.0.0.1");
        assert_eq!(listening("127.0.0.2"), "127.0.0.2");
        assert_eq!(listening("::1"), "::1");
        assert_eq!(listening("node1"), "0.0.0.0");
        assert_eq!(listening("[fe80::1]:2"), "::");
    }
}
