//! Several servers, and servers that go.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ask2do_token_client::{MintError, TokenClient};
use tokio::task::JoinSet;

use crate::pki::Pki;
use crate::service::{Names, Service, answers, mints, token, user};

const ENDPOINT: &str = "https://token.test:8443";

/// Calls without a pause, until it is stopped.
struct Traffic {
    stop: Arc<AtomicBool>,
    tasks: JoinSet<Vec<Result<(), MintError>>>,
}

impl Traffic {
    fn start(client: &TokenClient) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        for _ in 0..4 {
            let (client, stop) = (client.clone(), stop.clone());
            tasks.spawn(async move {
                let mut outcomes = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    outcomes.push(client.mint_token(&user()).await.map(drop));
                }
                outcomes
            });
        }
        Self { stop, tasks }
    }

    /// Stops, and gives how many calls there were. None may have failed.
    async fn stop(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        let outcomes: Vec<_> = self.tasks.join_all().await.into_iter().flatten().collect();
        let failed: Vec<_> = outcomes.iter().filter_map(|o| o.as_ref().err()).collect();
        assert!(failed.is_empty(), "{failed:?}");
        outcomes.len()
    }
}

async fn until_served(services: &[&Service], more: usize) {
    for service in services {
        let before = service.calls();
        service.until_called(before + more).await;
    }
}

#[tokio::test]
async fn every_server_of_the_name_is_used() {
    let pki = Pki::new();
    let one = Service::start(&pki, mints()).await;
    let two = Service::start(&pki, mints()).await;
    let names = Names::of([&one, &two]);
    let client = pki.client(ENDPOINT).resolver(names).build().unwrap();
    let traffic = Traffic::start(&client);
    until_served(&[&one, &two], 20).await;
    traffic.stop().await;
}

#[tokio::test]
async fn a_killed_server_fails_no_call() {
    let pki = Pki::new();
    let mut one = Service::start(&pki, mints()).await;
    let two = Service::start(&pki, mints()).await;
    let names = Names::of([&one, &two]);
    let client = pki.client(ENDPOINT).resolver(names).build().unwrap();
    let traffic = Traffic::start(&client);
    until_served(&[&one, &two], 20).await;
    one.kill().await;
    until_served(&[&two], 200).await;
    traffic.stop().await;
}

#[tokio::test]
async fn goaway_in_the_middle_of_traffic_fails_no_call() {
    let pki = Pki::new();
    let service = Service::start(&pki, mints()).await;
    let client = pki.client(service.endpoint()).build().unwrap();
    let traffic = Traffic::start(&client);
    for _ in 0..20 {
        until_served(&[&service], 10).await;
        service.go_away();
    }
    assert!(traffic.stop().await >= 200);
    // The connections that went away are closed, not kept.
    service.until_open(1).await;
}

#[tokio::test]
async fn goaway_fails_no_call_that_waits_for_a_stream() {
    let pki = Pki::new();
    let (release, held) = tokio::sync::watch::channel(false);
    let service = Service::start(
        &pki,
        answers(move |_| {
            let mut held = held.clone();
            async move {
                held.wait_for(|released| *released).await.unwrap();
                Ok(token())
            }
        }),
    )
    .await;
    let client = pki
        .client(service.endpoint())
        .deadline(Duration::from_secs(600))
        .build()
        .unwrap();
    let mut calls = JoinSet::new();
    for _ in 0..500 {
        let client = client.clone();
        calls.spawn(async move { client.mint_token(&user()).await });
    }
    // hyper's server takes 200 streams of one connection: the rest waits in the client.
    service.until_called(199).await;
    service.go_away();
    // Those that waited have moved to another connection, which takes its 200.
    service.until_called(399).await;
    release.send_replace(true);
    for outcome in calls.join_all().await {
        outcome.unwrap();
    }
    assert_eq!(service.calls(), 500);
}

#[tokio::test]
async fn a_server_is_restarted_between_two_calls() {
    let pki = Pki::new();
    let mut service = Service::start(&pki, mints()).await;
    let client = pki.client(service.endpoint()).build().unwrap();
    client.mint_token(&user()).await.unwrap();
    service.kill().await;
    client.mint_token(&user()).await.unwrap_err();
    service.restart().await;
    client.mint_token(&user()).await.unwrap();
}

#[tokio::test]
async fn calls_follow_the_name_and_those_under_way_finish() {
    let pki = Pki::new();
    let (release, held) = tokio::sync::watch::channel(false);
    let old = Service::start(
        &pki,
        answers(move |_| {
            let mut held = held.clone();
            async move {
                held.wait_for(|released| *released).await.unwrap();
                Ok(token())
            }
        }),
    )
    .await;
    let new = Service::start(&pki, mints()).await;
    let names = Names::of([&old]);
    let client = pki
        .client(ENDPOINT)
        .resolver(names.clone())
        .deadline(Duration::from_secs(600))
        .build()
        .unwrap();
    let under_way = tokio::spawn({
        let client = client.clone();
        async move { client.mint_token(&user()).await }
    });
    old.until_called(0).await;

    names.set([&new]);
    let traffic = tokio::spawn({
        let client = client.clone();
        async move { client.mint_token(&user()).await }
    });
    // Whichever server that call went to, the name is followed: calls arrive at the new one.
    while new.calls() == 0 {
        let user = user();
        let call = client.mint_token(&user);
        _ = tokio::time::timeout(Duration::from_millis(100), call).await;
    }
    release.send_replace(true);
    under_way.await.unwrap().unwrap();
    traffic.await.unwrap().unwrap();
    // Once its calls are done the old connection ends.
    old.until_open(0).await;
}

#[tokio::test]
async fn a_server_that_falls_silent_costs_no_call_its_deadline() {
    let pki = Pki::new();
    let one = Service::start(&pki, mints()).await;
    let two = Service::start(&pki, mints()).await;
    let names = Names::of([&one, &two]);
    let client = pki.client(ENDPOINT).resolver(names).build().unwrap();
    let traffic = Traffic::start(&client);
    until_served(&[&one, &two], 20).await;
    one.freeze();
    // Each of the four callers runs into the silent server once, and is saved by PING and retry.
    until_served(&[&two], 500).await;
    traffic.stop().await;
}
