//! Places for connections: so many in all, and so many for each network, or one host could take them all.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ipnet::IpNet;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::activity::Patience;
use crate::services::limits::network;

/// Hands out places.
pub(super) struct Places {
    all: Arc<Semaphore>,
    per_network: usize,
    /// Where proxies are, whose connections are everybody's.
    trusted: Vec<IpNet>,
    /// How many each network has. Those without any are left out, so that this is no larger than there are connections.
    taken: Mutex<HashMap<IpAddr, usize>>,
}

impl Places {
    pub(super) fn new(patience: Patience, trusted: Vec<IpNet>) -> Arc<Self> {
        let all = Arc::new(Semaphore::new(patience.connections));
        Arc::new(Self { all, per_network: patience.connections_per_address, trusted, taken: Mutex::default() })
    }

    /// Waits until there is room for one more connection, whoever's it is.
    pub(super) async fn room(&self) -> Option<OwnedSemaphorePermit> {
        // It is never closed.
        Arc::clone(&self.all).acquire_owned().await.ok()
    }

    /// The place of a connection from there; none when its network has as many as it may. Then the room is free again.
    pub(super) fn take(self: &Arc<Self>, room: Option<OwnedSemaphorePermit>, peer: IpAddr) -> Option<Place> {
        let peer = peer.to_canonical();
        if self.trusted.iter().any(|network| network.contains(&peer)) {
            return Some(Place { _room: room, _share: None });
        }
        let network = network(peer);
        let mut taken = self.taken();
        let count = taken.get(&network).copied().unwrap_or_default();
        if count >= self.per_network {
            return None;
        }
        taken.insert(network, count + 1);
        drop(taken);
        Some(Place { _room: room, _share: Some(Share { places: Arc::clone(self), network }) })
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of a connection, until it is dropped.
pub(super) struct Place {
    _room: Option<OwnedSemaphorePermit>,
    /// None for proxies.
    _share: Option<Share>,
}

/// One of a network's places, until it is dropped.
struct Share {
    places: Arc<Places>,
    network: IpAddr,
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        match taken.get_mut(&self.network) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                taken.remove(&self.network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Ten places, two for each network.
    fn places() -> Arc<Places> {
        let time = Duration::from_mins(1);
        let patience =
            Patience { head: time, keep_alive: time, reading: time, connections: 10, connections_per_address: 2 };
        Places::new(patience, vec!["10.0.0.0/8".parse().unwrap()])
    }

    async fn take(places: &Arc<Places>, peer: &str) -> Option<Place> {
        let room = places.room().await;
        places.take(room, peer.parse().unwrap())
    }

    #[tokio::test]
    async fn a_network_has_so_many_places_and_they_are_free_again_when_dropped() {
        let places = places();
        for (first, second, third, other) in [
            ("203.0.113.1", "203.0.113.1", "::ffff:203.0.113.1", "203.0.113.2"),
            ("2001:db8::1", "2001:db8::ffff:0:0:1", "2001:db8::2", "2001:db8:0:1::1"),
        ] {
            let held = (take(&places, first).await.unwrap(), take(&places, second).await.unwrap());
            assert!(take(&places, third).await.is_none(), "{third}");
            let others = take(&places, other).await.unwrap();
            // Who was refused holds nothing.
            assert_eq!(places.all.available_permits(), 7);
            drop(held.0);
            let again = take(&places, third).await.unwrap();
            assert!(take(&places, first).await.is_none(), "{first}");
            drop((held.1, others, again));
            assert!(places.taken().is_empty());
            assert_eq!(places.all.available_permits(), 10);
        }
    }

    #[tokio::test]
    async fn trusted_networks_have_whatever_there_is() {
        let places = places();
        let mut held = Vec::new();
        for peer in ["10.0.0.1", "::ffff:10.0.0.1"].into_iter().cycle().take(10) {
            held.push(take(&places, peer).await.unwrap());
        }
        assert!(places.taken().is_empty());
        assert_eq!(places.all.available_permits(), 0);
        held.clear();
        assert_eq!(places.all.available_permits(), 10);
    }
}
