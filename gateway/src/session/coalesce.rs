//! Byte-equal questions that are in flight at the same time are asked once.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, WeakShared};

/// The questions in flight. An answer is never kept: who asks after it came asks anew.
pub(super) struct Coalesce<K, V>(Arc<Mutex<Questions<K, V>>>);

struct Questions<K, V> {
    asked: u64,
    in_flight: HashMap<K, (u64, WeakShared<BoxFuture<'static, V>>)>,
}

impl<K, V> Coalesce<K, V>
where
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(Questions {
            asked: 0,
            in_flight: HashMap::new(),
        })))
    }

    /// The answer to `question`: that of an equal one in flight, else `ask`'s. Whoever still waits
    /// drives it, so that the first one's leaving takes it from nobody.
    pub(super) async fn ask<F>(&self, question: K, ask: impl FnOnce() -> F) -> V
    where
        F: Future<Output = V> + Send + 'static,
    {
        self.join(question, ask).await
    }

    fn join<F>(&self, question: K, ask: impl FnOnce() -> F) -> Shared<BoxFuture<'static, V>>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let mut questions = lock(&self.0);
        let in_flight = questions
            .in_flight
            .get(&question)
            .and_then(|(_, asking)| asking.upgrade())
            .filter(|asking| asking.peek().is_none());
        if let Some(asking) = in_flight {
            return asking;
        }
        questions.asked += 1;
        let number = questions.asked;
        let forget = Forget {
            questions: Arc::clone(&self.0),
            question: question.clone(),
            number,
        };
        let answer = ask();
        let asking = async move {
            let _forget = forget;
            answer.await
        }
        .boxed()
        .shared();
        if let Some(weak) = asking.downgrade() {
            questions.in_flight.insert(question, (number, weak));
        }
        asking
    }
}

/// Takes a question off the list when it is answered, or when everybody who waited has left.
struct Forget<K: Eq + Hash, V> {
    questions: Arc<Mutex<Questions<K, V>>>,
    question: K,
    number: u64,
}

impl<K: Eq + Hash, V> Drop for Forget<K, V> {
    fn drop(&mut self) {
        let mut questions = lock(&self.questions);
        // An equal question may have been asked anew in the meantime; that one stays.
        if questions
            .in_flight
            .get(&self.question)
            .is_some_and(|(number, _)| *number == self.number)
        {
            questions.in_flight.remove(&self.question);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // The map is whole between any two statements, so another thread's panic spoils nothing.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Notify;

    use super::*;

    struct Counted {
        asked: AtomicUsize,
        go: Notify,
    }

    fn counted() -> (Coalesce<&'static str, usize>, Arc<Counted>) {
        let counted = Counted {
            asked: AtomicUsize::new(0),
            go: Notify::new(),
        };
        (Coalesce::new(), Arc::new(counted))
    }

    fn question(counted: &Arc<Counted>) -> impl Future<Output = usize> + Send + use<> {
        let counted = Arc::clone(counted);
        async move {
            let number = counted.asked.fetch_add(1, Ordering::SeqCst) + 1;
            counted.go.notified().await;
            number
        }
    }

    #[tokio::test]
    async fn equal_questions_in_flight_are_one_and_others_are_not() {
        let (coalesce, counted) = counted();
        let first = coalesce.join("a", || question(&counted));
        let second = coalesce.join("a", || question(&counted));
        let other = coalesce.join("b", || question(&counted));
        let released = async {
            while counted.asked.load(Ordering::SeqCst) < 2 {
                tokio::task::yield_now().await;
            }
            counted.go.notify_waiters();
        };
        let (first, second, other, ()) = tokio::join!(first, second, other, released);
        assert_eq!(first, second);
        assert_ne!(first, other);
        assert_eq!(counted.asked.load(Ordering::SeqCst), 2);
        assert!(lock(&coalesce.0).in_flight.is_empty());
    }

    #[tokio::test]
    async fn an_answer_is_never_kept() {
        let (coalesce, counted) = counted();
        counted.go.notify_one();
        let first = coalesce.join("a", || question(&counted));
        assert_eq!(first.clone().await, 1);
        // `first` is still held, so the answer could still be had.
        counted.go.notify_one();
        assert_eq!(coalesce.ask("a", || question(&counted)).await, 2);
        assert_eq!(first.await, 1);
    }

    #[tokio::test]
    async fn the_first_ones_leaving_takes_the_answer_from_nobody() {
        let (coalesce, counted) = counted();
        let mut first = Box::pin(coalesce.ask("a", || question(&counted)));
        assert!(futures_util::poll!(&mut first).is_pending());
        let second = coalesce.join("a", || question(&counted));
        drop(first);
        counted.go.notify_one();
        assert_eq!(second.await, 1);
        assert_eq!(counted.asked.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_question_that_everybody_left_is_forgotten() {
        let (coalesce, counted) = counted();
        let mut first = Box::pin(coalesce.ask("a", || question(&counted)));
        assert!(futures_util::poll!(&mut first).is_pending());
        drop(first);
        assert!(lock(&coalesce.0).in_flight.is_empty());
    }
}
