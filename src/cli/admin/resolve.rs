//! Names of admin listeners, each with all of its addresses: behind one name may be many replicas.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::plan::config::MOST_REPLICAS;

use super::super::exit;
use super::Endpoint;

/// Error of a list that is too long or too short. To ask only some of a fleet would be no word about all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) enum WrongNumber {
    /// Addresses by this number, more than any fleet has.
    TooMany(usize),
    /// Replicas of which fewer were found than the user knows of.
    TooFew {
        /// Number of replicas.
        wanted: usize,
        /// Names of the replicas that were found.
        found: Vec<String>,
    },
}

/// Returns the listeners behind a list of names and addresses, each once, in the order of the list. A name with several
/// addresses becomes these addresses; a name without any stays, and whoever asks it learns why.
///
/// # Errors
/// [`WrongNumber::TooMany`].
pub(in crate::cli) fn resolved(endpoints: Vec<Endpoint>) -> Result<Vec<Endpoint>, WrongNumber> {
    let found = if endpoints.iter().any(|endpoint| name(endpoint).is_some()) {
        match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime.block_on(all(endpoints)),
            // Without a runtime nobody can be asked, which is told then.
            Err(_) => endpoints,
        }
    } else {
        endpoints
    };
    let mut each: Vec<Endpoint> = Vec::new();
    for endpoint in found {
        if !each.contains(&endpoint) {
            each.push(endpoint);
        }
    }
    if each.len() > MOST_REPLICAS { Err(WrongNumber::TooMany(each.len())) } else { Ok(each) }
}

/// Refuses a list that does not have all replicas that the user knows of.
///
/// # Errors
/// [`WrongNumber::TooFew`].
pub(in crate::cli) fn expect(wanted: Option<usize>, found: &[impl fmt::Display]) -> Result<(), WrongNumber> {
    match wanted {
        Some(wanted) if found.len() < wanted => {
            Err(WrongNumber::TooFew { wanted, found: found.iter().map(ToString::to_string).collect() })
        }
        Some(_) | None => Ok(()),
    }
}

/// Resolves all names at once.
async fn all(endpoints: Vec<Endpoint>) -> Vec<Endpoint> {
    let mut resolving = JoinSet::new();
    for (index, endpoint) in endpoints.into_iter().enumerate() {
        resolving.spawn(async move { (index, of(endpoint).await) });
    }
    let mut found = resolving.join_all().await;
    found.sort_unstable_by_key(|(index, _)| *index);
    found.into_iter().flat_map(|(_, endpoints)| endpoints).collect()
}

/// Returns the addresses of a name that has several, and everything else as it is.
async fn of(endpoint: Endpoint) -> Vec<Endpoint> {
    let Some((host, port)) = name(&endpoint) else { return vec![endpoint.clone()] };
    let asked = tokio::time::timeout(PATIENCE, tokio::net::lookup_host((host, port))).await;
    let Ok(Ok(addresses)) = asked else { return vec![endpoint.clone()] };
    let addresses = of_one_family(addresses.collect()).await;
    if addresses.len() < 2 {
        return vec![endpoint.clone()];
    }
    addresses.into_iter().map(|address| Endpoint::Host(address.ip().to_string(), address.port())).collect()
}

/// Returns the addresses of one family. Behind both families there are the same replicas: those of the first one that
/// has a listener are taken.
async fn of_one_family(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let (v6, v4): (Vec<_>, Vec<_>) = addresses.iter().copied().partition(SocketAddr::is_ipv6);
    let (first, second) = if addresses.first().is_some_and(SocketAddr::is_ipv6) { (v6, v4) } else { (v4, v6) };
    if second.is_empty() || any_listens(&first).await { first } else { second }
}

async fn any_listens(addresses: &[SocketAddr]) -> bool {
    let mut trying = JoinSet::new();
    for address in addresses.iter().copied().take(MOST_REPLICAS) {
        trying.spawn(async move { tokio::time::timeout(MOMENT, TcpStream::connect(address)).await });
    }
    trying.join_all().await.iter().any(|tried| matches!(tried, Ok(Ok(_))))
}

/// Returns the name and the port of a listener that may be several. `localhost` is one machine, whatever its addresses.
fn name(endpoint: &Endpoint) -> Option<(&str, u16)> {
    match endpoint {
        Endpoint::Unix(_) => None,
        Endpoint::Host(host, _) if host == "localhost" || host.parse::<IpAddr>().is_ok() => None,
        Endpoint::Host(host, port) => Some((host, *port)),
    }
}

impl WrongNumber {
    /// Returns the exit code: replicas that are not there may come, and a list that is too long stays so.
    pub(in crate::cli) fn code(&self) -> u8 {
        match self {
            Self::TooMany(_) => exit::USAGE,
            Self::TooFew { .. } => exit::UNAVAILABLE,
        }
    }

    /// Returns what would be right.
    pub(in crate::cli) fn help(&self) -> &'static str {
        match self {
            Self::TooMany(_) => "name fewer, or a name with fewer addresses",
            Self::TooFew { .. } => {
                "nothing was written; name the others with `--admin` or in `replicas` of the config, or wait until all \
                 have started and a name has all addresses"
            }
        }
    }
}

impl fmt::Display for WrongNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooMany(count) => {
                write!(f, "{count} admin listeners are named, and at most {MOST_REPLICAS} can be asked")
            }
            Self::TooFew { wanted, found } => {
                let names = if found.is_empty() { "none".to_owned() } else { found.join(", ") };
                write!(f, "{wanted} replicas were to be asked, and {} can be: {names}", found.len())
            }
        }
    }
}

impl std::error::Error for WrongNumber {}

/// Time for a name to be resolved.
const PATIENCE: Duration = Duration::from_secs(5);
/// Time for a listener to take a connection.
const MOMENT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints(texts: &[&str]) -> Vec<Endpoint> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn a_list_has_each_listener_once_and_keeps_what_has_no_address() {
        let list = ["127.0.0.1:1", "unix:/run/a.sock", "127.0.0.1:1", "localhost:1", "[::1]:1", "nowhere.invalid:1"];
        let told = endpoints(&["127.0.0.1:1", "unix:/run/a.sock", "localhost:1", "[::1]:1", "nowhere.invalid:1"]);
        assert_eq!(resolved(endpoints(&list)), Ok(told));
    }

    #[test]
    fn more_than_any_fleet_are_refused() {
        let many = |count: u16| (1..=count).map(|port| Endpoint::Host("127.0.0.1".to_owned(), port)).collect();
        assert_eq!(resolved(many(64)).map(|all| all.len()), Ok(64));
        assert_eq!(resolved(many(65)), Err(WrongNumber::TooMany(65)));
    }

    #[test]
    fn the_family_that_has_a_listener_is_taken() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let v4 = listener.local_addr().unwrap();
        let v6 = |host: &str| SocketAddr::new(host.parse().unwrap(), v4.port());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let taken = |addresses: &[SocketAddr]| runtime.block_on(of_one_family(addresses.to_vec()));
        let other = SocketAddr::new("127.0.0.2".parse().unwrap(), v4.port());
        assert_eq!(taken(&[v6("::1"), v4]), [v4]);
        assert_eq!(taken(&[v4, v6("::1"), other]), [v4, other]);
        assert_eq!(taken(&[v6("::1"), v6("::2")]), [v6("::1"), v6("::2")]);
    }
}
