//! Who opened a link, as far as a connection tells: a network, what the browser calls itself, and when.

use super::Link;
use crate::catalog::{CatalogError, Change, Entry};
use crate::hub::Hub;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use utoipa::ToSchema;

/// More visitors than this are only counted.
const MAX_VISITORS: usize = 200;
const MAX_AGENT_CHARS: usize = 200;
/// A page asks several things when it is opened: within this it is one opening.
const ONE_OPENING_NS: u64 = 10_000_000_000;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Opening {
    /// The visitor's network: `192.0.2.0/24` or `2001:db8:1::/48`.
    pub(crate) network: String,
    /// What the browser calls itself.
    pub(crate) agent: String,
    pub(crate) first_unix_ns: u64,
    pub(crate) last_unix_ns: u64,
    pub(crate) times: u64,
}

/// Of one link, by its id.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub(crate) struct Openings {
    pub(crate) visitors: Vec<Opening>,
    /// Openings by visitors for whom there was no more room in the list.
    pub(crate) unlisted: u64,
}

impl Entry for Openings {
    const TABLE: &'static str = "link_openings";
}

/// Written down before the visitor sees anything.
pub(crate) async fn note(hub: &Hub, link: &Link, address: IpAddr, agent: &str) -> Result<(), CatalogError> {
    let (id, network) = (link.id.clone(), network(address));
    let agent: String = agent
        .chars()
        .filter(|at| !at.is_control())
        .take(MAX_AGENT_CHARS)
        .collect();
    let write = move |change: &mut Change| {
        let mut openings: Openings = change.get(&id)?.unwrap_or_default();
        openings.add(network, agent, crate::clock::unix_ns());
        change.put(&id, &openings)
    };
    hub.catalog.change(write).await
}

impl Openings {
    pub(crate) fn times(&self) -> u64 {
        self.unlisted + self.visitors.iter().map(|visitor| visitor.times).sum::<u64>()
    }

    fn add(&mut self, network: String, agent: String, unix_ns: u64) {
        let is_full = self.visitors.len() >= MAX_VISITORS;
        let known = self
            .visitors
            .iter_mut()
            .find(|known| known.network == network && known.agent == agent);
        match known {
            Some(known) => {
                let since_ns = unix_ns.saturating_sub(known.last_unix_ns);
                known.times += u64::from(since_ns > ONE_OPENING_NS);
                known.last_unix_ns = unix_ns;
            }
            None if is_full => self.unlisted += 1,
            None => self.visitors.push(Opening {
                network,
                agent,
                first_unix_ns: unix_ns,
                last_unix_ns: unix_ns,
                times: 1,
            }),
        }
    }
}

fn network(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            format!("{a}.{b}.{c}.0/24")
        }
        IpAddr::V6(address) => {
            let [a, b, c, ..] = address.segments();
            format!("{}/48", std::net::Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_lose_their_last_part() {
        for (address, expected) in [
            ("192.0.2.77", "192.0.2.0/24"),
            ("::ffff:192.0.2.77", "192.0.2.0/24"),
            ("2001:db8:1:2:3::4", "2001:db8:1::/48"),
            ("::1", "::/48"),
        ] {
            assert_eq!(network(address.parse().unwrap()), expected);
        }
    }

    #[test]
    fn visitors_are_counted_and_bounded() {
        let mut openings = Openings::default();
        let second = 1_000_000_000;
        for (agent, at) in [("a", 0), ("a", second), ("b", second), ("a", 100 * second)] {
            openings.add("net".to_owned(), agent.to_owned(), at);
        }
        let told: Vec<_> = openings
            .visitors
            .iter()
            .map(|visitor| (visitor.agent.as_str(), visitor.times, visitor.last_unix_ns))
            .collect();
        assert_eq!(told, [("a", 2, 100 * second), ("b", 1, second)]);
        for number in 0..MAX_VISITORS {
            openings.add("net".to_owned(), number.to_string(), 0);
        }
        assert_eq!((openings.visitors.len(), openings.unlisted), (MAX_VISITORS, 2));
    }
}
