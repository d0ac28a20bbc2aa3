//! Fair queue of the requests that wait for one upstream: no client holds up another, however many requests it sends.
//!
//! Networks take turns, and so do the connections within a network. If each connection waits with one request, as
//! HTTP/1 clients do, the order is that of arrival.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::net::IpAddr;

/// The unit of fairness: a client's network and connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Flow {
    /// The client's address, or its /64 for IPv6. `None` if the address is not known: those clients share one turn.
    pub network: Option<IpAddr>,
    /// The connection; `None` behind a trusted proxy, whose connections carry many clients.
    pub connection: Option<u64>,
}

/// Handle of an item in a [`Queue`], to take it out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EntryId {
    flow: Flow,
    number: u64,
}

/// A queue of items that clients wait for.
#[derive(Debug)]
pub(crate) struct FairQueue<T> {
    networks: RoundRobin<Option<IpAddr>, RoundRobin<Option<u64>, Fifo<T>>>,
    issued: u64,
}

/// The items of one connection, in the order of arrival.
type Fifo<T> = VecDeque<(u64, T)>;

impl<T> Default for FairQueue<T> {
    fn default() -> Self {
        Self { networks: RoundRobin::default(), issued: 0 }
    }
}

impl<T> FairQueue<T> {
    /// Returns the number of items.
    pub(crate) fn len(&self) -> usize {
        self.networks.length
    }

    /// Adds an item to a queue of at most `most` items. Returns `None` if there is no room for this client.
    ///
    /// A client may use only a share of the room that is left. So one client cannot fill the queue, and a client
    /// without items finds room.
    pub(crate) fn join(&mut self, flow: Flow, item: T, most: usize) -> Option<EntryId> {
        let room = most.saturating_sub(self.len());
        let network = self.networks.lanes.get(&flow.network);
        let of_network = network.map_or(0, |lane| lane.length);
        let of_connection = network.and_then(|lane| lane.lanes.get(&flow.connection)).map_or(0, VecDeque::len);
        let fits = room > 0
            && of_network < room.saturating_mul(NETWORK_SHARE)
            && (flow.connection.is_none() || of_connection < room.div_ceil(CONNECTION_SHARE));
        if !fits {
            return None;
        }
        self.issued += 1;
        let number = self.issued;
        self.networks.push(flow.network, |lane| lane.push(flow.connection, |fifo| fifo.push_back((number, item))));
        Some(EntryId { flow, number })
    }

    /// Returns the item whose turn it is, and leaves it in the queue.
    pub(crate) fn front(&mut self) -> Option<&T> {
        self.networks.front()?.front()?.front().map(|(_, item)| item)
    }

    /// Takes the item whose turn it is.
    pub(crate) fn pop(&mut self) -> Option<T> {
        self.networks.take(|lane| lane.take(VecDeque::pop_front)).map(|(_, item)| item)
    }

    /// Takes out an item before its turn.
    pub(crate) fn leave(&mut self, id: EntryId) -> Option<T> {
        let of_fifo = |fifo: &mut Fifo<T>| {
            let index = fifo.iter().position(|(number, _)| *number == id.number)?;
            fifo.remove(index)
        };
        let of_lane = |lane: &mut RoundRobin<_, _>| lane.remove(id.flow.connection, of_fifo);
        self.networks.remove(id.flow.network, of_lane).map(|(_, item)| item)
    }

    /// Returns the clients that wait.
    pub(crate) fn flows(&self) -> impl Iterator<Item = Flow> {
        self.networks.lanes.iter().flat_map(|(&network, lane)| {
            let waiting = lane.lanes.iter().filter(|(_, fifo)| !fifo.is_empty());
            waiting.map(move |(&connection, _)| Flow { network, connection })
        })
    }
}

/// Something that holds items.
trait IsEmpty {
    fn is_empty(&self) -> bool;
}

impl<T> IsEmpty for VecDeque<T> {
    fn is_empty(&self) -> bool {
        Self::is_empty(self)
    }
}

impl<K, L> IsEmpty for RoundRobin<K, L> {
    fn is_empty(&self) -> bool {
        self.length == 0
    }
}

/// Lanes that take turns.
#[derive(Debug)]
struct RoundRobin<K, L> {
    order: VecDeque<K>,
    /// A lane that became empty before its turn stays until that turn, or until there are too many empty lanes.
    lanes: HashMap<K, L>,
    /// Items in all lanes.
    length: usize,
}

impl<K, L> Default for RoundRobin<K, L> {
    fn default() -> Self {
        Self { order: VecDeque::new(), lanes: HashMap::new(), length: 0 }
    }
}

impl<K: Copy + Eq + Hash, L: Default + IsEmpty> RoundRobin<K, L> {
    /// Puts an item into a lane. A new lane has its turn after all others.
    fn push(&mut self, key: K, push: impl FnOnce(&mut L)) {
        let Self { order, lanes, length } = self;
        let lane = lanes.entry(key).or_insert_with(|| {
            order.push_back(key);
            L::default()
        });
        push(lane);
        *length += 1;
    }

    /// Returns the lane whose turn it is.
    fn front(&mut self) -> Option<&mut L> {
        while let Some(key) = self.order.front()
            && self.lanes.get(key).is_none_or(IsEmpty::is_empty)
        {
            self.lanes.remove(key);
            self.order.pop_front();
        }
        self.lanes.get_mut(self.order.front()?)
    }

    /// Takes an item from the lane whose turn it is, and moves that lane behind all others.
    fn take<T>(&mut self, take: impl FnOnce(&mut L) -> Option<T>) -> Option<T> {
        let lane = self.front()?;
        let item = take(lane)?;
        let has_more = !lane.is_empty();
        let key = self.order.pop_front()?;
        if has_more {
            self.order.push_back(key);
        } else {
            self.lanes.remove(&key);
        }
        self.length -= 1;
        Some(item)
    }

    /// Takes an item from a given lane.
    fn remove<T>(&mut self, key: K, take: impl FnOnce(&mut L) -> Option<T>) -> Option<T> {
        let item = take(self.lanes.get_mut(&key)?)?;
        self.length -= 1;
        if self.lanes.len() > self.length * 2 + SPARE_LANES {
            self.lanes.retain(|_, lane| !lane.is_empty());
            self.order.retain(|key| self.lanes.contains_key(key));
        }
        Some(item)
    }
}

/// Items of a network, as a multiple of the room that is left. Thus a network gets at most four fifths of an empty
/// queue.
const NETWORK_SHARE: usize = 4;

/// Divisor of the room that is left: the result is the share of a connection.
const CONNECTION_SHARE: usize = 8;

/// Empty lanes that are kept, so that they are removed many at a time.
const SPARE_LANES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn client(network: u8, connection: u64) -> Flow {
        Flow { network: Some(IpAddr::from([192, 0, 2, network])), connection: Some(connection) }
    }

    fn all(queue: &mut FairQueue<&'static str>) -> Vec<&'static str> {
        std::iter::from_fn(|| queue.pop()).collect()
    }

    #[test]
    fn clients_that_wait_for_one_thing_each_are_served_in_the_order_of_arrival() {
        let mut queue = FairQueue::default();
        for (connection, item) in ["a", "b", "c", "d"].into_iter().enumerate() {
            queue.join(client(1, connection as u64), item, 100).unwrap();
        }
        assert_eq!((queue.len(), queue.front()), (4, Some(&"a")));
        assert_eq!(queue.pop(), Some("a"));
        queue.join(client(1, 0), "again", 100).unwrap();
        assert_eq!(all(&mut queue), ["b", "c", "d", "again"]);
        assert_eq!((queue.len(), queue.front()), (0, None));
    }

    #[test]
    fn neither_a_connection_nor_a_network_holds_up_another() {
        let mut queue = FairQueue::default();
        for item in ["a1", "a2", "a3"] {
            queue.join(client(1, 1), item, 100).unwrap();
        }
        queue.join(client(1, 2), "b1", 100).unwrap();
        queue.join(client(2, 3), "c1", 100).unwrap();
        queue.join(client(2, 3), "c2", 100).unwrap();
        assert_eq!(queue.flows().count(), 3);
        assert_eq!(all(&mut queue), ["a1", "c1", "b1", "c2", "a2", "a3"]);
    }

    #[test]
    fn who_leaves_is_passed_over_and_leaves_nothing_behind() {
        let mut queue = FairQueue::default();
        let first = queue.join(client(1, 1), "first", 100).unwrap();
        queue.join(client(1, 2), "second", 100).unwrap();
        assert_eq!((queue.leave(first), queue.leave(first)), (Some("first"), None));
        assert_eq!((queue.len(), queue.pop(), queue.pop()), (1, Some("second"), None));
        for connection in 0..10_000 {
            let id = queue.join(client(1, connection), "gone", 100).unwrap();
            queue.leave(id).unwrap();
        }
        assert!(queue.networks.lanes.values().all(|lane| lane.lanes.len() <= SPARE_LANES));
        assert_eq!((queue.len(), queue.front()), (0, None));
    }

    #[test]
    fn a_client_cannot_fill_the_queue_before_another_comes() {
        let mut queue = FairQueue::default();
        let fill = |queue: &mut FairQueue<()>, flow: Flow| (0..1000).filter_map(|_| queue.join(flow, (), 1000)).count();
        let of_one = fill(&mut queue, client(1, 1));
        assert!((100..120).contains(&of_one), "{of_one}");
        for connection in 2..500 {
            fill(&mut queue, client(1, connection));
        }
        assert!((790..=800).contains(&queue.len()), "{}", queue.len());
        assert!(queue.join(client(2, 1000), (), 1000).is_some());
        let mut small = FairQueue::default();
        assert!(small.join(client(1, 1), (), 1).is_some() && small.join(client(2, 2), (), 1).is_none());
        assert!(FairQueue::default().join(client(1, 1), (), 0).is_none());
    }
}
