//! Name lookups that a resolver which hangs cannot turn into a heap of blocked threads.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use tracing::Instrument as _;

/// How many lookups run at once; each blocks a thread for as long as the system's resolver takes.
const MAX_LOOKUPS: usize = 4;

/// How old a running lookup may be for another request to wait for it. An older one hangs, and
/// would still hang for a while after the resolver came back.
const JOIN_WITHIN: Duration = Duration::from_secs(2);

type Answer = Result<Arc<[SocketAddr]>, LookupError>;
type Lookup = dyn Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync;

/// The system's resolver (`getaddrinfo`: both address families, `/etc/hosts`, search domains), with
/// at most four lookups under way. Requests for the same name share one.
///
/// Nothing waits here longer than the caller: who gives up drops the future.
#[derive(Clone)]
pub(super) struct BoundedResolver {
    shared: Arc<Shared>,
}

struct Shared {
    lookup: Box<Lookup>,
    places: Arc<Semaphore>,
    running: Mutex<HashMap<String, Running>>,
}

#[derive(Clone)]
struct Running {
    since: Instant,
    answer: watch::Receiver<Option<Answer>>,
}

/// Why a name has no address.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum LookupError {
    #[error("{0}")]
    Failed(Arc<io::Error>),
    #[error("the name has no address")]
    NoAddress,
    #[error("the lookup ended without an answer")]
    Lost,
}

impl BoundedResolver {
    /// Asks the system.
    pub(super) fn system() -> Self {
        Self::new(|name| Ok((name, 0).to_socket_addrs()?.collect()))
    }

    /// Asks `lookup`, which may block.
    pub(super) fn new(
        lookup: impl Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                lookup: Box::new(lookup),
                places: Arc::new(Semaphore::new(MAX_LOOKUPS)),
                running: Mutex::new(HashMap::new()),
            }),
        }
    }

    async fn addresses(self, name: String) -> Answer {
        if let Some(running) = self.joinable(&name) {
            return answer(running).await;
        }
        let place = Arc::clone(&self.shared.places)
            .acquire_owned()
            .await
            .map_err(|_| LookupError::Lost)?;
        let running = self.joinable(&name).map_or_else(
            // A request that waited beside this one may have begun it meanwhile.
            || self.start(name, place),
            Ok,
        )?;
        answer(running).await
    }

    fn joinable(&self, name: &str) -> Option<Running> {
        let running = self.running();
        running
            .get(name)
            .filter(|running| running.since.elapsed() < JOIN_WITHIN)
            .cloned()
    }

    /// Looks up on a thread of its own rather than in the runtime's pool: a runtime that shuts down
    /// waits for its pool, and a lookup can hang for minutes.
    fn start(
        &self,
        name: String,
        place: tokio::sync::OwnedSemaphorePermit,
    ) -> Result<Running, LookupError> {
        let (sender, receiver) = watch::channel(None);
        let since = Instant::now();
        let running = Running {
            since,
            answer: receiver,
        };
        self.running().insert(name.clone(), running.clone());
        let entry = Entry {
            resolver: self.clone(),
            name,
            since,
        };
        std::thread::Builder::new()
            .name("dns-lookup".to_owned())
            .spawn(move || {
                let answer = entry.resolver.look_up(&entry.name);
                drop(entry);
                sender.send_replace(Some(answer));
                drop(place);
            })
            .map_err(|error| LookupError::Failed(Arc::new(error)))?;
        Ok(running)
    }

    fn look_up(&self, name: &str) -> Answer {
        let addresses = (self.shared.lookup)(name);
        let addresses = addresses.map_err(|error| LookupError::Failed(Arc::new(error)))?;
        if addresses.is_empty() {
            return Err(LookupError::NoAddress);
        }
        Ok(addresses.into())
    }

    fn running(&self) -> std::sync::MutexGuard<'_, HashMap<String, Running>> {
        self.shared
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// A lookup's entry among those that are shared. It goes when the lookup ends, in whatever way.
struct Entry {
    resolver: BoundedResolver,
    name: String,
    since: Instant,
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut running = self.resolver.running();
        // A later lookup of the same name is left alone.
        if running
            .get(&self.name)
            .is_some_and(|entry| entry.since == self.since)
        {
            running.remove(&self.name);
        }
    }
}

async fn answer(mut running: Running) -> Answer {
    match running.answer.wait_for(Option::is_some).await {
        Ok(answer) => answer.clone().unwrap_or(Err(LookupError::Lost)),
        Err(_) => Err(LookupError::Lost),
    }
}

impl Resolve for BoundedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let span = tracing::info_span!("dns lookup", "dns.question.name" = name.as_str());
        let addresses = self.clone().addresses(name.as_str().to_owned());
        Box::pin(
            async move {
                let addresses = Vec::from(&*addresses.await?);
                Ok(Box::new(addresses.into_iter()) as Addrs)
            }
            .instrument(span),
        )
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use super::*;

    fn loopback() -> Vec<SocketAddr> {
        vec![
            SocketAddr::from(([127, 0, 0, 1], 0)),
            SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 0)),
        ]
    }

    /// A resolver that hangs until it is told to go on, and the number of lookups that have begun.
    fn hanging() -> (BoundedResolver, mpsc::Sender<()>, Arc<AtomicUsize>) {
        let (go_on, wait) = mpsc::channel::<()>();
        let wait = Mutex::new(wait);
        let begun = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&begun);
        let resolver = BoundedResolver::new(move |_| {
            count.fetch_add(1, Ordering::SeqCst);
            let _ended = wait.lock().unwrap().recv();
            Ok(loopback())
        });
        (resolver, go_on, begun)
    }

    async fn until(condition: impl Fn() -> bool) {
        let limit = std::time::Instant::now() + Duration::from_secs(20);
        while !condition() {
            assert!(std::time::Instant::now() < limit, "it never came true");
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn both_address_families_are_returned() {
        let resolver = BoundedResolver::new(|_| Ok(loopback()));
        let addresses = resolver.resolve("cloud".parse().unwrap()).await.unwrap();
        assert_eq!(addresses.collect::<Vec<_>>(), loopback());
    }

    #[tokio::test]
    async fn the_systems_resolver_knows_localhost() {
        let resolver = BoundedResolver::system();
        let mut addresses = resolver
            .resolve("localhost".parse().unwrap())
            .await
            .unwrap();
        assert!(addresses.all(|address| address.ip().is_loopback()));
    }

    #[tokio::test]
    async fn a_failure_and_an_empty_answer_are_errors() {
        let failing = BoundedResolver::new(|_| Err(io::Error::other("SERVFAIL")));
        let error = failing.addresses("cloud".to_owned()).await.unwrap_err();
        assert_eq!(error.to_string(), "SERVFAIL");
        let empty = BoundedResolver::new(|_| Ok(Vec::new()));
        let error = empty.addresses("cloud".to_owned()).await.unwrap_err();
        assert!(matches!(error, LookupError::NoAddress));
    }

    #[tokio::test]
    async fn a_lookup_that_panics_is_an_error_and_gives_its_place_back() {
        let resolver = BoundedResolver::new(|_| panic!("getaddrinfo crashed"));
        for _ in 0..=MAX_LOOKUPS {
            let error = resolver.clone().addresses("cloud".to_owned()).await;
            assert!(matches!(error, Err(LookupError::Lost)));
            until(|| resolver.shared.places.available_permits() == MAX_LOOKUPS).await;
        }
        assert!(resolver.running().is_empty());
    }

    #[tokio::test]
    async fn requests_for_one_name_share_one_lookup() {
        let (resolver, go_on, begun) = hanging();
        let requests: Vec<_> = (0..50)
            .map(|_| tokio::spawn(resolver.clone().addresses("cloud".to_owned())))
            .collect();
        until(|| begun.load(Ordering::SeqCst) == 1).await;
        drop(go_on);
        for request in requests {
            assert_eq!(*request.await.unwrap().unwrap(), *loopback());
        }
        assert_eq!(begun.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_resolver_that_hangs_takes_four_threads_at_most() {
        let (resolver, go_on, _begun) = hanging();
        let requests: Vec<_> = (0..20)
            .map(|n| tokio::spawn(resolver.clone().addresses(format!("cloud-{n}"))))
            .collect();
        until(|| resolver.shared.places.available_permits() == 0).await;
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(resolver.running().len(), MAX_LOOKUPS);
        drop(go_on);
        for request in requests {
            assert!(request.await.unwrap().is_ok());
        }
        until(|| resolver.shared.places.available_permits() == MAX_LOOKUPS).await;
        assert!(resolver.running().is_empty());
    }

    #[tokio::test]
    async fn a_lookup_that_hangs_is_not_waited_for_by_later_requests() {
        let (resolver, go_on, begun) = hanging();
        let first = tokio::spawn(resolver.clone().addresses("cloud".to_owned()));
        until(|| begun.load(Ordering::SeqCst) == 1).await;
        tokio::time::pause();
        tokio::time::advance(JOIN_WITHIN).await;
        let second = tokio::spawn(resolver.clone().addresses("cloud".to_owned()));
        until(|| resolver.shared.places.available_permits() == MAX_LOOKUPS - 2).await;
        drop(go_on);
        assert!(first.await.unwrap().is_ok());
        assert!(second.await.unwrap().is_ok());
    }
}
