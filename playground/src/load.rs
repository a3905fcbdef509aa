//! Load at a fixed rate, counted call by call: what an upgrade, a rotation or a lost node costs the
//! callers of a real installation.
//!
//! Calls begin on time whatever the earlier ones do, and a call's time counts from when it was due: a
//! service that stalls is not asked less often. No call is made again.

mod lane;
mod ledger;
mod pages;
mod target;

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::Instant;

pub(crate) use lane::Lane;
use ledger::Ledger;
use target::Target;

/// What goes wrong before there is load.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Makes each lane's calls, and tells at `listener` what became of them, until the future is dropped.
///
/// # Errors
///
/// A lane's certificate cannot be used, or the listener failed.
pub(crate) async fn run(lanes: Vec<Lane>, listener: TcpListener) -> Result<(), Failure> {
    let mut ledgers = Vec::new();
    let mut tasks = JoinSet::new();
    for lane in lanes {
        let ledger = Arc::new(Ledger::new(lane.name.clone()));
        let target = Target::of(&lane)?;
        ledgers.push(ledger.clone());
        tasks.spawn(calls(lane, target, ledger));
    }
    axum::serve(listener, pages::router(ledgers)).await?;
    Ok(())
}

/// One lane's calls, for ever. Those that are under way end with the future.
async fn calls(lane: Lane, target: Target, ledger: Arc<Ledger>) {
    let began = Instant::now();
    let interval = Duration::from_secs(1) / lane.rate;
    let mut under_way = JoinSet::new();
    for number in 0_u32.. {
        let due = began + interval * number;
        tokio::time::sleep_until(due).await;
        while under_way.try_join_next().is_some() {}
        let call = ledger.begin();
        let (target, ledger) = (target.clone(), ledger.clone());
        // A thousand users, so that what counts calls by user stays small.
        let id = format!("{}.{}", lane.id, number % 1000);
        under_way.spawn(async move {
            let outcome = target.call(number, id).await;
            ledger.end(call, due.elapsed(), outcome);
        });
    }
}
