//! Which connections a listener keeps when there are many.
//!
//! A connection is *pending* until one of its requests is admitted: over TCP, until it has sent the token or a certificate
//! that the daemon accepts. Then it is *admitted*. Pending connections cannot keep other clients out:
//!
//! - A listener never stops accepting. When there are too many pending connections, each new one evicts an older one: of
//!   the same origin (a network address or a local user) if that has too many, and otherwise of the origin that has the
//!   most.
//! - A pending connection has [`PENDING_PATIENCE`] to become admitted, and one request: a refusal closes it.
//! - Admitted connections are counted separately, and stay. When there are too many, the daemon closes those that are idle
//!   between requests, and the next client waits until one ends.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use axum::Extension;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};

use super::PATIENCE;
use super::access::Public;
use crate::problem::{ErrorTag, Problem};
use crate::rest::error::Refusal;

/// Most pending connections of a listener.
const MAX_PENDING: usize = 256;

/// Most pending connections of one origin.
const MAX_PENDING_PER_ORIGIN: usize = 64;

/// Most admitted connections of a listener, and most requests that wait until one of these ends.
const MAX_ADMITTED: usize = 256;

/// How long a client has to agree on TLS, if any, and to send the head of a request that is admitted.
pub(super) const PENDING_PATIENCE: Duration = Duration::from_secs(5);

/// Where a connection comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Origin {
    /// A network address; of an IPv6 address the first 64 bits, because most hosts can use all addresses with these.
    Address(IpAddr),
    /// A local user, if the kernel says which.
    User(Option<u32>),
}

impl Origin {
    pub(super) fn of(address: IpAddr) -> Self {
        Self::Address(match address.to_canonical() {
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
            address => address,
        })
    }
}

/// The connections of one listener.
pub(super) struct Admission {
    /// Oldest first.
    pending: Mutex<Vec<Pending>>,
    numbers: AtomicU64,
    admitted: Arc<Semaphore>,
    waiting: Semaphore,
    /// Changes when a request waits.
    crowded: watch::Sender<()>,
}

struct Pending {
    number: u64,
    origin: Origin,
    evicted: Arc<Notify>,
}

impl Admission {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            pending: Mutex::default(),
            numbers: AtomicU64::new(0),
            admitted: Arc::new(Semaphore::new(MAX_ADMITTED)),
            waiting: Semaphore::new(MAX_ADMITTED),
            crowded: watch::Sender::new(()),
        })
    }

    /// Adds a pending connection. Another one may be evicted.
    pub(super) fn accept(self: &Arc<Self>, origin: Origin) -> Arc<Connection> {
        let (number, evicted) = (self.numbers.fetch_add(1, Ordering::Relaxed), Arc::new(Notify::new()));
        let mut pending = self.pending();
        if let Some(index) = victim(origin, &pending) {
            pending.remove(index).evicted.notify_one();
        }
        pending.push(Pending { number, origin, evicted: Arc::clone(&evicted) });
        drop(pending);
        Arc::new(Connection { admission: Arc::clone(self), number, evicted, permit: OnceLock::new() })
    }

    /// Whether there are so many pending connections that the next one may evict another.
    pub(super) fn may_evict(&self) -> bool {
        self.pending().len() >= MAX_PENDING_PER_ORIGIN
    }

    /// Removes a connection from the pending ones; false if it was not among them.
    fn remove(&self, number: u64) -> bool {
        let mut pending = self.pending();
        let index = pending.binary_search_by_key(&number, |pending| pending.number);
        index.map(|index| pending.remove(index)).is_ok()
    }

    fn pending(&self) -> MutexGuard<'_, Vec<Pending>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The pending connection to evict for a new one from `origin`.
fn victim(origin: Origin, pending: &[Pending]) -> Option<usize> {
    let mut counts: HashMap<Origin, usize> = HashMap::new();
    for connection in pending {
        *counts.entry(connection.origin).or_default() += 1;
    }
    if counts.get(&origin).is_some_and(|count| *count >= MAX_PENDING_PER_ORIGIN) {
        return pending.iter().position(|connection| connection.origin == origin);
    }
    let most = counts.values().max().copied().filter(|_| pending.len() >= MAX_PENDING)?;
    pending.iter().position(|connection| counts[&connection.origin] == most)
}

/// One connection, until it is dropped.
pub(super) struct Connection {
    admission: Arc<Admission>,
    number: u64,
    evicted: Arc<Notify>,
    /// Set once it is admitted.
    permit: OnceLock<OwnedSemaphorePermit>,
}

/// Too many connections are admitted, and none ended in time.
struct Full;

impl Connection {
    /// Waits until the connection must be closed: it is still pending after [`PENDING_PATIENCE`], or evicted.
    pub(super) async fn evicted(&self) {
        tokio::select! {
            () = self.evicted.notified() => return,
            () = sleep(PENDING_PATIENCE) => {}
        }
        if !self.admission.remove(self.number) {
            // It is admitted, or was evicted just now.
            self.evicted.notified().await;
        }
    }

    /// Waits until the connection should close, because others wait: now if it is idle, otherwise after its answer.
    pub(super) async fn crowded_out(&self) {
        let mut crowded = self.admission.crowded.subscribe();
        // It ends with an error only when the sender is gone, and `admission` keeps that.
        while crowded.changed().await.is_ok() && self.permit.get().is_none() {}
    }

    async fn admit(&self) -> Result<(), Full> {
        if self.permit.get().is_some() {
            return Ok(());
        }
        let admission = &*self.admission;
        admission.remove(self.number);
        let permit = match Arc::clone(&admission.admitted).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                let _waiting = admission.waiting.try_acquire().map_err(|_| Full)?;
                admission.crowded.send_replace(());
                let permit = timeout(PATIENCE, Arc::clone(&admission.admitted).acquire_owned());
                permit.await.map_err(|_| Full)?.map_err(|_| Full)?
            }
        };
        // HTTP/1 has one request at a time on a connection, so it has no permit yet.
        let _ = self.permit.set(permit);
        if admission.waiting.available_permits() < MAX_ADMITTED {
            // This connection should not become idle either while others wait.
            admission.crowded.send_replace(());
        }
        Ok(())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.admission.remove(self.number);
    }
}

/// Middleware of all listeners, which admits requests, except for those that anybody may send. Each has its [`Connection`]
/// as an extension.
pub(super) async fn admit(Extension(connection): Extension<Arc<Connection>>, request: Request, next: Next) -> Response {
    if request.extensions().get::<Public>().is_some() {
        return next.run(request).await;
    }
    match connection.admit().await {
        Ok(()) => next.run(request).await,
        Err(Full) => {
            let message = format!("{MAX_ADMITTED} connections are in use: try again later, or close some");
            let problem = Problem::new(ErrorTag::OperationFailed, "", message);
            Refusal::new(StatusCode::SERVICE_UNAVAILABLE, problem).closing().into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Origin {
        Origin::of(text.parse().expect("an address"))
    }

    fn is_evicted(connection: &Connection) -> bool {
        connection.admission.pending().iter().all(|pending| pending.number != connection.number)
    }

    fn evicted(connections: &[Arc<Connection>]) -> Vec<usize> {
        connections
            .iter()
            .enumerate()
            .filter(|(_, connection)| is_evicted(connection))
            .map(|(index, _)| index)
            .collect()
    }

    #[test]
    fn a_network_of_ipv6_is_one_origin() {
        assert_eq!(address("2001:db8::1"), address("2001:db8::ffff:0:0:2"));
        assert_ne!(address("2001:db8::1"), address("2001:db8:0:1::1"));
        assert_eq!(address("::ffff:10.0.0.1"), address("10.0.0.1"));
        assert_ne!(address("10.0.0.1"), address("10.0.0.2"));
    }

    #[test]
    fn a_greedy_origin_evicts_its_own() {
        let admission = Admission::new();
        let other = admission.accept(address("10.0.0.2"));
        let greedy: Vec<_> = (0..MAX_PENDING_PER_ORIGIN + 3).map(|_| admission.accept(address("10.0.0.1"))).collect();
        assert_eq!(evicted(&greedy), [0, 1, 2]);
        assert!(!is_evicted(&other));
    }

    #[test]
    fn many_origins_evict_from_the_one_with_the_most() {
        let admission = Admission::new();
        let first = admission.accept(address("10.0.0.1"));
        let pair = [admission.accept(address("10.0.0.2")), admission.accept(address("10.0.0.2"))];
        let many: Vec<_> = (0..MAX_PENDING as u32).map(|number| admission.accept(Origin::User(Some(number)))).collect();
        // There was room for all but three. First the pair lost one; then all origins had one, and the oldest two were evicted.
        assert_eq!(pair.each_ref().map(|connection| is_evicted(connection)), [true, true]);
        assert!(is_evicted(&first));
        assert_eq!(evicted(&many), [0_usize; 0]);
        drop(many);
        let late = admission.accept(address("10.0.0.1"));
        assert_eq!(admission.pending().len(), 1);
        assert!(!is_evicted(&late));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pending_connection_ends_in_time_unless_it_is_admitted() {
        let admission = Admission::new();
        let [pending, admitted] = [(); 2].map(|()| admission.accept(Origin::User(None)));
        assert!(admitted.admit().await.is_ok());
        let begin = tokio::time::Instant::now();
        pending.evicted().await;
        assert_eq!(begin.elapsed(), PENDING_PATIENCE);
        assert!(timeout(Duration::from_secs(3600), admitted.evicted()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn pending_connections_leave_room_for_admitted_ones() {
        let admission = Admission::new();
        let pending: Vec<_> =
            (0..MAX_ADMITTED * 3).map(|number| admission.accept(Origin::User(Some(number as u32)))).collect();
        let admitted = admission.accept(Origin::User(None));
        assert!(admitted.admit().await.is_ok());
        assert_eq!(pending.len() - evicted(&pending).len(), MAX_PENDING - 1);
    }

    #[tokio::test(start_paused = true)]
    async fn one_connection_too_many_waits_until_another_ends() {
        let admission = Admission::new();
        let admitted: Vec<_> = (0..MAX_ADMITTED).map(|_| admission.accept(Origin::User(None))).collect();
        for connection in &admitted {
            assert!(connection.admit().await.is_ok());
        }
        let late = admission.accept(Origin::User(None));
        let ending = async {
            tokio::select! {
                () = late.crowded_out() => panic!("it is not admitted"),
                () = admitted[7].crowded_out() => {}
            }
        };
        let ((), late_admitted) = tokio::join!(ending, timeout(PATIENCE / 2, late.admit()));
        assert!(late_admitted.is_err(), "none has ended");
        assert!(late.admit().await.is_err(), "it does not wait for ever");
        drop(admitted);
        assert!(late.admit().await.is_ok());
    }

    #[test]
    fn the_next_connection_may_evict_once_an_origin_could_have_its_share() {
        let admission = Admission::new();
        let mut pending: Vec<_> = (1..MAX_PENDING_PER_ORIGIN).map(|_| admission.accept(Origin::User(None))).collect();
        assert!(!admission.may_evict());
        pending.push(admission.accept(Origin::User(None)));
        assert!(admission.may_evict());
        pending.clear();
        assert!(!admission.may_evict(), "a connection that ended is not pending");
    }

    #[tokio::test(start_paused = true)]
    async fn an_evicted_connection_hears_of_it_at_once() {
        let admission = Admission::new();
        let oldest = admission.accept(Origin::User(Some(1)));
        let _others: Vec<_> = (0..MAX_PENDING_PER_ORIGIN).map(|_| admission.accept(Origin::User(Some(1)))).collect();
        let begin = tokio::time::Instant::now();
        oldest.evicted().await;
        assert_eq!(begin.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_admitted_once_for_all_its_requests() {
        let admission = Admission::new();
        let connection = admission.accept(Origin::User(None));
        for _ in 0..3 {
            assert!(connection.admit().await.is_ok());
        }
        assert_eq!(admission.admitted.available_permits(), MAX_ADMITTED - 1);
        drop(connection);
        assert_eq!(admission.admitted.available_permits(), MAX_ADMITTED);
    }

    #[tokio::test(start_paused = true)]
    async fn only_so_many_requests_wait_for_room() {
        let admission = Admission::new();
        let admitted: Vec<_> = (0..MAX_ADMITTED).map(|_| admission.accept(Origin::User(None))).collect();
        for connection in &admitted {
            assert!(connection.admit().await.is_ok());
        }
        let waiting: Vec<_> = (0..MAX_ADMITTED)
            .map(|_| {
                let connection = admission.accept(Origin::User(None));
                tokio::spawn(async move { connection.admit().await.is_ok() })
            })
            .collect();
        while admission.waiting.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let begin = tokio::time::Instant::now();
        assert!(admission.accept(Origin::User(None)).admit().await.is_err());
        assert_eq!(begin.elapsed(), Duration::ZERO, "it does not even wait");
        drop(admitted);
        for waiting in waiting {
            assert!(waiting.await.unwrap());
        }
    }
}
