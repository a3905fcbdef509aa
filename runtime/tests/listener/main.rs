//! The listener over real sockets, with a paused clock: time passes only when nobody has anything to do.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a test's helpers fail by panicking"
)]

use std::io;
use std::sync::Arc;
use std::time::Duration;

use ask2do_token_runtime::listener::{Handler, Options, Protocols};
use ask2do_token_tls as tls;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::Instant;

mod port;
mod raw;

use port::{Port, Slow, h2, options, read_to_end, request};

const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";

/// As long as timers are coarse and tests busy.
const A_MOMENT: Duration = Duration::from_millis(500);

fn about(elapsed: Duration, expected: Duration) {
    assert!(
        elapsed >= expected && elapsed < expected + A_MOMENT,
        "{elapsed:?} is not about {expected:?}"
    );
}

/// Reads one whole HTTP/1.1 answer that has a `content-length`.
async fn answer(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .map_or(0, |length| length.parse().unwrap());
            if body.len() == length {
                return text;
            }
        }
        assert_ne!(stream.read_buf(&mut bytes).await.unwrap(), 0, "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_port_speaks_http1_and_http2() {
    let port = Port::serve(options(Protocols::Both), Slow::none()).await;
    let mut http1 = port.connect().await;
    http1.write_all(GET).await.unwrap();
    assert!(answer(&mut http1).await.ends_with("\r\n\r\nanswer"));
    let (mut http2, _connection) = h2(port.connect().await).await;
    assert_eq!(request(&mut http2).await.unwrap(), "answer");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn answers_that_are_ready_together_are_written_together() {
    let (slow, writes) = (Slow::until_released(), port::CountedWrites::default());
    let port = Port::serve_with(options(Protocols::Http2), writes.clone(), slow.clone()).await;
    let (client, _connection) = h2(port.connect().await).await;
    let asking = |_| {
        let mut client = client.clone();
        tokio::spawn(async move { request(&mut client).await })
    };
    let asked: Vec<_> = (0..16).map(asking).collect();
    for _ in &asked {
        slow.reached().await;
    }
    let before = writes.so_far();
    // On the runtime's one thread: all sixteen answers are ready before the first of them goes on.
    tokio::spawn(async move { slow.release() }).await.unwrap();
    for answered in asked {
        assert_eq!(answered.await.unwrap().unwrap(), "answer");
    }
    let written = writes.so_far() - before;
    assert!(written <= 4, "{written} writes for 16 answers");
}

#[tokio::test(start_paused = true)]
async fn peers_that_never_speak_do_not_hold_up_a_drain() {
    let acceptor = port::tls_acceptor(&[b"h2"]);
    let port = Port::serve_with(options(Protocols::Http2), acceptor.0, Slow::none()).await;
    let _silent = port.connect().await;
    let mut handshake_done = acceptor.1.connect(port.connect().await).await;
    handshake_done.flush().await.unwrap();
    port.until("ask2do_connections_pending{port=\"test\"} 2")
        .await;
    let began = Instant::now();
    port.stop.drain();
    port.serving.await.unwrap();
    assert!(began.elapsed() < A_MOMENT);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_begins_no_handshake_is_dropped() {
    let acceptor = port::tls_acceptor(&[b"h2"]);
    let port = Port::serve_with(options(Protocols::Http2), acceptor.0, Slow::none()).await;
    let began = Instant::now();
    let mut silent = port.connect().await;
    read_to_end(&mut silent).await;
    about(began.elapsed(), Duration::from_secs(5));
    port.until("ask2do_handshake_failures_total{port=\"test\",cause=\"timeout\"} 1")
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_speaks_no_http_after_its_handshake_is_dropped() {
    let acceptor = port::tls_acceptor(&[b"h2"]);
    let port = Port::serve_with(options(Protocols::Http2), acceptor.0, Slow::none()).await;
    let mut silent = acceptor.1.connect(port.connect().await).await;
    let began = Instant::now();
    read_to_end(&mut silent).await;
    about(began.elapsed(), Duration::from_secs(10));
    port.until("ask2do_connections_dropped_total{port=\"test\",reason=\"silent\"} 1")
        .await;
}

#[tokio::test(start_paused = true)]
async fn half_a_preface_is_silence() {
    let port = Port::serve(options(Protocols::Both), Slow::none()).await;
    let mut slow = port.connect().await;
    let began = Instant::now();
    slow.write_all(&raw::PREFACE[..20]).await.unwrap();
    read_to_end(&mut slow).await;
    about(began.elapsed(), Duration::from_secs(10));
}

#[tokio::test(start_paused = true)]
async fn a_header_that_never_ends_is_not_waited_for() {
    let port = Port::serve(options(Protocols::Both), Slow::none()).await;
    let mut slow = port.connect().await;
    let began = Instant::now();
    slow.write_all(b"GET / HTTP/1.1\r\nx: ").await.unwrap();
    read_to_end(&mut slow).await;
    about(began.elapsed(), Duration::from_secs(75));
}

#[tokio::test(start_paused = true)]
async fn the_longest_silent_peer_makes_room_for_a_new_one() {
    let few = Options {
        pending: 2,
        ..options(Protocols::Both)
    };
    let port = Port::serve(few, Slow::none()).await;
    let mut oldest = port.connect().await;
    port.until("ask2do_connections_pending{port=\"test\"} 1")
        .await;
    let _second = port.connect().await;
    port.until("ask2do_connections_pending{port=\"test\"} 2")
        .await;
    let mut third = port.connect().await;
    let began = Instant::now();
    read_to_end(&mut oldest).await;
    assert!(began.elapsed() < A_MOMENT);
    third.write_all(GET).await.unwrap();
    assert!(answer(&mut third).await.ends_with("answer"));
    port.until("ask2do_connections_dropped_total{port=\"test\",reason=\"silent_for_new\"} 1")
        .await;
}

#[tokio::test(start_paused = true)]
async fn at_the_limit_the_longest_idle_connection_makes_room() {
    let one = Options {
        connections: 1,
        ..options(Protocols::Both)
    };
    let port = Port::serve(one, Slow::none()).await;
    let (mut idle, idle_connection) = h2(port.connect().await).await;
    request(&mut idle).await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut new = port.connect().await;
    new.write_all(GET).await.unwrap();
    assert!(answer(&mut new).await.ends_with("answer"));
    // The idle one was told, not just cut off.
    idle_connection.await.unwrap().unwrap();
    port.until("ask2do_connections_dropped_total{port=\"test\",reason=\"idle_for_new\"} 1")
        .await;
    port.until("ask2do_connections{port=\"test\"} 1").await;
}

#[tokio::test(start_paused = true)]
async fn at_the_admin_ports_limit_a_connection_that_was_just_answered_makes_room() {
    let one = Options {
        connections: 1,
        ping_interval: Duration::from_secs(24 * 3600),
        ..Options::admin()
    };
    let port = Port::serve(one, Slow::none()).await;
    let mut lively = port.connect().await;
    lively.write_all(GET).await.unwrap();
    answer(&mut lively).await;
    let mut probe = port.connect().await;
    probe.write_all(GET).await.unwrap();
    assert!(answer(&mut probe).await.ends_with("answer"));
}

#[tokio::test(start_paused = true)]
async fn at_the_limit_a_new_connection_is_closed_when_all_are_busy() {
    let one = Options {
        connections: 1,
        ..options(Protocols::Both)
    };
    let slow = Slow::until_released();
    let port = Port::serve(one, slow.clone()).await;
    let mut busy = port.connect().await;
    busy.write_all(GET).await.unwrap();
    slow.reached().await;
    let mut new = port.connect().await;
    new.write_all(GET).await.unwrap();
    assert_eq!(read_to_end(&mut new).await, "");
    port.until("ask2do_connections_dropped_total{port=\"test\",reason=\"all_busy\"} 1")
        .await;
    slow.release();
    assert!(answer(&mut busy).await.ends_with("answer"));
}

#[tokio::test(start_paused = true)]
async fn at_the_limit_a_connection_that_is_stuck_makes_room() {
    let one = Options {
        connections: 1,
        ..options(Protocols::Both)
    };
    let slow = Slow::until_released();
    let port = Port::serve(one, slow.clone()).await;
    let (mut stuck, _connection) = h2(port.connect().await).await;
    let stuck = tokio::spawn(async move { request(&mut stuck).await });
    slow.reached().await;
    tokio::time::sleep(Duration::from_secs(61)).await;
    let mut new = port.connect().await;
    new.write_all(GET).await.unwrap();
    slow.reached().await;
    assert!(stuck.await.unwrap().is_err());
    slow.release();
    assert!(answer(&mut new).await.ends_with("answer"));
}

#[tokio::test(start_paused = true)]
async fn an_old_connection_is_told_to_go_and_finishes_its_request() {
    let aging = Options {
        max_age: Some(Duration::from_secs(300)),
        ..options(Protocols::Http2)
    };
    let slow = Slow::until_released();
    let port = Port::serve(aging, slow.clone()).await;
    let began = Instant::now();
    let mut client = raw::Client::new(port.connect().await).await;
    client.get(1).await;
    slow.reached().await;
    let goaway = client.next_of(raw::GOAWAY).await.unwrap();
    let age = began.elapsed();
    let (shortest, longest) = (Duration::from_secs(270), Duration::from_secs(330));
    assert!(age >= shortest && age < longest + A_MOMENT, "{age:?}");
    // The first one says that no more should come, with room for what is on its way...
    assert_eq!(goaway.payload, [0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
    // ...and the second one which was the last that will be answered. Neither is an error.
    let goaway = client.next_of(raw::GOAWAY).await.unwrap();
    assert_eq!(goaway.payload, [0, 0, 0, 1, 0, 0, 0, 0]);
    slow.release();
    let answer = client.next_of(raw::DATA).await.unwrap();
    assert_eq!(answer.payload, b"answer");
    assert_eq!(client.next_of(raw::GOAWAY).await, None);
    // The next connection is served.
    let (mut client, _connection) = h2(port.connect().await).await;
    request(&mut client).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_does_not_go_is_dropped() {
    let aging = Options {
        max_age: Some(Duration::from_secs(100)),
        ..options(Protocols::Http2)
    };
    let slow = Slow::until_released();
    let port = Port::serve(aging, slow.clone()).await;
    let (mut client, _connection) = h2(port.connect().await).await;
    let began = Instant::now();
    assert!(request(&mut client).await.is_err());
    let took = began.elapsed();
    assert!(
        took >= Duration::from_secs(150) && took <= Duration::from_secs(171),
        "{took:?}"
    );
    port.until("ask2do_connections_dropped_total{port=\"test\",reason=\"overstayed\"} 1")
        .await;
    port.until("ask2do_requests_in_flight{port=\"test\"} 0")
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_service_can_ask_for_the_end_of_one_connection() {
    let leave = Arc::new(Semaphore::new(0));
    let asked = Arc::clone(&leave);
    let slow = Slow::none();
    let service = slow.clone();
    let port = Port::serve_making(options(Protocols::Http2), move || {
        let asked = Arc::clone(&asked);
        Handler::new(service.service()).leave_when(async move {
            asked.acquire().await.unwrap().forget();
        })
    })
    .await;
    let (mut one, one_connection) = h2(port.connect().await).await;
    request(&mut one).await.unwrap();
    leave.add_permits(1);
    one_connection.await.unwrap().unwrap();
    let (mut other, _connection) = h2(port.connect().await).await;
    request(&mut other).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_drain_finishes_what_is_in_flight_and_takes_nothing_new() {
    let slow = Slow::until_released();
    let port = Port::serve(options(Protocols::Both), slow.clone()).await;
    let (mut http2, connection) = h2(port.connect().await).await;
    let in_flight = tokio::spawn(async move { request(&mut http2).await.unwrap() });
    let mut http1 = port.connect().await;
    http1.write_all(GET).await.unwrap();
    slow.reached().await;
    slow.reached().await;
    let mut half = port.connect().await;
    half.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    port.until("ask2do_connections{port=\"test\"} 3").await;
    port.stop.drain();
    // Without a request of its own it is given a second.
    let began = Instant::now();
    read_to_end(&mut half).await;
    about(began.elapsed(), Duration::from_secs(1));
    let refused = TcpStream::connect(port.address).await.unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    slow.release();
    assert_eq!(in_flight.await.unwrap(), "answer");
    assert!(read_to_end(&mut http1).await.ends_with("answer"));
    connection.await.unwrap().unwrap();
    port.serving.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_request_that_crosses_the_drain_of_an_idle_http1_connection_is_answered() {
    let port = Port::serve(options(Protocols::Both), Slow::none()).await;
    let (mut busy, mut idle) = (port.connect().await, port.connect().await);
    for stream in [&mut busy, &mut idle] {
        stream.write_all(GET).await.unwrap();
        assert!(!answer(stream).await.contains("connection: close"));
    }
    let began = Instant::now();
    port.stop.drain();
    tokio::time::sleep(Duration::from_millis(900)).await;
    busy.write_all(GET).await.unwrap();
    let last = read_to_end(&mut busy).await;
    assert!(last.contains("connection: close"), "{last}");
    assert!(last.ends_with("answer"), "{last}");
    assert_eq!(read_to_end(&mut idle).await, "");
    about(began.elapsed(), Duration::from_secs(1));
    port.serving.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn at_the_hard_limit_everything_is_dropped() {
    let slow = Slow::until_released();
    let port = Port::serve(options(Protocols::Both), slow.clone()).await;
    let (mut http2, _connection) = h2(port.connect().await).await;
    let in_flight = tokio::spawn(async move { request(&mut http2).await });
    slow.reached().await;
    port.stop.drain();
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert!(!port.serving.is_finished());
    port.stop.now();
    let began = Instant::now();
    port.serving.await.unwrap();
    assert!(began.elapsed() < A_MOMENT);
    assert!(in_flight.await.unwrap().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_no_longer_answers_pings_is_dropped() {
    let pinging = Options {
        ping_interval: Duration::from_secs(20),
        ping_timeout: Duration::from_secs(10),
        ..options(Protocols::Http2)
    };
    let port = Port::serve(pinging, Slow::none()).await;
    let began = Instant::now();
    let mut dead = port.connect().await;
    dead.write_all(raw::PREFACE).await.unwrap();
    // An empty SETTINGS frame.
    dead.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
    read_to_end(&mut dead).await;
    about(began.elapsed(), Duration::from_secs(30));
}

#[tokio::test(start_paused = true)]
async fn the_http2_settings_announce_the_bounds() {
    let port = Port::serve(options(Protocols::Http2), Slow::none()).await;
    let mut client = raw::Client::new(port.connect().await).await;
    let first = client.next().await.unwrap();
    assert_eq!(first.kind, raw::SETTINGS);
    let settings = first.payload;
    let value = |identifier: u8| {
        let entries = settings.as_chunks::<6>().0.iter();
        let found = entries.into_iter().find(|entry| entry[1] == identifier);
        found.map(|entry| u32::from_be_bytes([entry[2], entry[3], entry[4], entry[5]]))
    };
    assert_eq!(value(3), Some(100), "MAX_CONCURRENT_STREAMS");
    assert_eq!(value(6), Some(16 * 1024), "MAX_HEADER_LIST_SIZE");
}

#[tokio::test(start_paused = true)]
async fn streams_that_are_opened_and_reset_in_a_flood_end_the_connection() {
    let port = Port::serve(options(Protocols::Http2), Slow::none()).await;
    let mut attacker = raw::Client::new(port.connect().await).await;
    let flood: Vec<u8> = (1_u32..2000)
        .step_by(2)
        .flat_map(|stream| [raw::get(stream), raw::cancel(stream)].concat())
        .collect();
    attacker.send(&flood).await;
    let began = Instant::now();
    let goaway = attacker.next_of(raw::GOAWAY).await.unwrap();
    assert_eq!(goaway.payload[7], 11, "ENHANCE_YOUR_CALM");
    while attacker.next().await.is_some() {}
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn a_header_over_16_kib_is_refused() {
    let port = Port::serve(options(Protocols::Both), Slow::none()).await;
    let mut client = port.connect().await;
    let header = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(17 * 1024));
    client.write_all(header.as_bytes()).await.unwrap();
    let answer = read_to_end(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn http1_is_not_spoken_on_an_http2_port() {
    let port = Port::serve(options(Protocols::Http2), Slow::none()).await;
    let mut client = port.connect().await;
    client.write_all(GET).await.unwrap();
    assert_eq!(read_to_end(&mut client).await, "");
    port.until("ask2do_connections_dropped_total{port=\"test\",reason=\"wrong_protocol\"} 1")
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_service_ends_one_connection_and_nothing_else() {
    let port = Port::serve(options(Protocols::Both), Slow::none()).await;
    for _ in 0..3 {
        let mut unlucky = port.connect().await;
        unlucky
            .write_all(b"GET /panic HTTP/1.1\r\nhost: x\r\n\r\n")
            .await
            .unwrap();
        assert_eq!(read_to_end(&mut unlucky).await, "");
    }
    let mut lucky = port.connect().await;
    lucky.write_all(GET).await.unwrap();
    assert!(answer(&mut lucky).await.ends_with("answer"));
    port.until("ask2do_connections{port=\"test\"} 1").await;
    port.until("ask2do_requests_in_flight{port=\"test\"} 0")
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_fails_is_counted_by_its_cause() {
    let acceptor = port::tls_acceptor(&[b"h2"]);
    let port = Port::serve_with(options(Protocols::Http2), acceptor.0, Slow::none()).await;
    port.until("ask2do_handshake_failures_total{port=\"test\",cause=\"plaintext\"} 0")
        .await;
    let mut plain = port.connect().await;
    plain.write_all(GET).await.unwrap();
    read_to_end(&mut plain).await;
    let plaintext = tls::HandshakeFailure::Plaintext.as_str();
    let expected = format!("cause=\"{plaintext}\"}} 1");
    port.until(&expected).await;
}

#[tokio::test]
async fn a_port_in_use_is_an_error_that_names_it() {
    let port = Port::serve(options(Protocols::Both), Slow::none()).await;
    let error = port::bind(port.address).await.unwrap_err();
    assert!(
        error.to_string().contains(&port.address.to_string()),
        "{error}"
    );
}
