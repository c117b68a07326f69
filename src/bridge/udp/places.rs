use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

/// How many tunnels there may be, in all and of one client.
#[derive(Debug)]
pub(super) struct Places {
    most: u32,
    most_per_client: u32,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: u32,
    /// Of clients that have any; no longer than `most`.
    by_client: HashMap<IpAddr, u32>,
}

/// One tunnel's place, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    client: IpAddr,
}

/// Which bound is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    All,
    Client,
}

impl Places {
    pub(super) fn new(most: u32, most_per_client: u32) -> Arc<Self> {
        Arc::new(Self {
            most,
            most_per_client,
            taken: Mutex::default(),
        })
    }

    pub(super) fn take(self: &Arc<Self>, client: IpAddr) -> Result<Place, Full> {
        let client = key(client);
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.all >= self.most {
            return Err(Full::All);
        }
        let of_client = taken.by_client.get(&client).copied().unwrap_or(0);
        if of_client >= self.most_per_client {
            return Err(Full::Client);
        }
        taken.all += 1;
        taken.by_client.insert(client, of_client + 1);
        Ok(Place {
            places: Arc::clone(self),
            client,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let taken = &self.places.taken;
        let mut taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all -= 1;
        if let Some(of_client) = taken.by_client.get_mut(&self.client) {
            *of_client -= 1;
            if *of_client == 0 {
                taken.by_client.remove(&self.client);
            }
        }
    }
}

/// Who has one network of 64 bits has all of its addresses.
fn key(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(places: &Arc<Places>, client: &str) -> Result<Place, Full> {
        places.take(client.parse().unwrap())
    }

    #[test]
    fn tunnels_are_bounded_in_all_and_for_each_client() {
        let places = Places::new(3, 2);
        let first = take(&places, "192.0.2.1").unwrap();
        let _second = take(&places, "::ffff:192.0.2.1").unwrap();
        assert_eq!(take(&places, "192.0.2.1").unwrap_err(), Full::Client);
        let _third = take(&places, "192.0.2.2").unwrap();
        assert_eq!(take(&places, "192.0.2.3").unwrap_err(), Full::All);
        drop(first);
        let _fourth = take(&places, "192.0.2.1").unwrap();
    }

    #[test]
    fn addresses_of_one_network_are_one_client_and_nothing_is_kept_of_the_gone() {
        let places = Places::new(9, 1);
        let held = take(&places, "2001:db8::1").unwrap();
        assert_eq!(take(&places, "2001:db8::2").unwrap_err(), Full::Client);
        let other = take(&places, "2001:db8:0:1::1").unwrap();
        drop((held, other));
        let taken = places.taken.lock().unwrap();
        assert_eq!((taken.all, taken.by_client.len()), (0, 0));
    }
}
