//! An address to listen on, as people write it: `127.0.0.1:8443`, `[::1]:8443`, `localhost:8443`,
//! `:8443`.

use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs};

use crate::settings::Mismatch;

/// Describes an address in messages.
const EXPECTED: &str = "an address and a port, such as \"127.0.0.1:8443\", \"[::1]:8443\" or \
                        \"localhost:8443\", or \":8443\" for every IPv4 address of this machine";

/// Parses an address and a port. A name is looked up, and an IPv4 address is preferred, like the
/// defaults. Without a host it is every IPv4 address.
pub(crate) fn listen_address(text: &str) -> Result<SocketAddr, Mismatch> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let bad = || Mismatch::text(text, EXPECTED);
    let (host, port) = text.rsplit_once(':').ok_or_else(bad)?;
    // The parser accepts a sign too.
    let digits = port.bytes().all(|byte| byte.is_ascii_digit());
    let port: u16 = port.parse().ok().filter(|_| digits).ok_or_else(bad)?;
    if host.is_empty() {
        return Ok((Ipv4Addr::UNSPECIFIED, port).into());
    }
    if !host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)) {
        return Err(bad());
    }
    let found = (host, port).to_socket_addrs();
    let mut addresses: Vec<_> = found
        .map_err(|error| {
            Mismatch::new(
                format!("{text:?}, and {host} cannot be looked up ({error})"),
                "a name that this machine knows, or an IP address",
            )
        })?
        .collect();
    addresses.sort_by_key(SocketAddr::is_ipv6);
    addresses.into_iter().next().ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_parsed_as_people_write_them() {
        let check = |text: &str, expected: Option<&str>| {
            let found = listen_address(text).map(|address| address.to_string());
            assert_eq!(found.as_deref().ok(), expected, "{text}: {found:?}");
        };
        check("127.0.0.1:8443", Some("127.0.0.1:8443"));
        check("[::1]:8443", Some("[::1]:8443"));
        check("localhost:8443", Some("127.0.0.1:8443"));
        check(":8443", Some("0.0.0.0:8443"));
        check(":0", Some("0.0.0.0:0"));
        for bad in
            ["", "8443", ":", "localhost", "127.0.0.1", "127.0.0.1:", ":+1", ":65536", "::1:x"]
        {
            check(bad, None);
        }
        for bad in ["https://127.0.0.1:8443", "127.0.0.1:8443/x", "a b:1", "::1:8443x", "[::1:1"] {
            check(bad, None);
        }
    }

    #[test]
    fn an_unknown_host_name_is_in_the_error() {
        let error = listen_address("nowhere.invalid:1").unwrap_err().to_string();
        assert!(error.contains("nowhere.invalid cannot be looked up"), "{error}");
    }
}
