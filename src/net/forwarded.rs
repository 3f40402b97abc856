//! Whom a trusted proxy speaks for.

use std::net::IpAddr;

use hyper::HeaderMap;
use ipnet::IpNet;

use super::Peer;

impl Peer {
    /// The client that a request is from according to `X-Forwarded-For`, if the peer is one of the
    /// `trusted` proxies and says it.
    pub fn forwarded(&self, headers: &HeaderMap, trusted: &[IpNet]) -> Option<IpAddr> {
        let is_trusted = |ip: IpAddr| trusted.iter().any(|net| net.contains(&ip));
        if !is_trusted(self.address.ip().to_canonical()) {
            return None;
        }
        // Read from the end: what stands before the last proxy that is trusted is anybody's claim.
        let values = headers.get_all("x-forwarded-for").iter().filter_map(|v| v.to_str().ok());
        let hops: Vec<_> = values.flat_map(|value| value.split(',')).map(str::trim).collect();
        let hops = hops.iter().rev().map_while(|hop| hop.parse::<IpAddr>().ok());
        hops.map(|ip| ip.to_canonical()).find(|ip| !is_trusted(*ip))
    }
}
