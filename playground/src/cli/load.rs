//! `ask2do-token-playground load`: calls at a fixed rate, each of them counted.

use std::io::{self, Write as _};
use std::net::SocketAddr;

use ask2do_token_runtime::shutdown::Signals;
use tokio::net::TcpListener;

use super::Failure;
use crate::load::{self, Lane};

/// What calls, and where to ask about it.
#[derive(clap::Args)]
pub(super) struct Options {
    /// Who calls: name=NAME,rate=N,url=URL, N times a second. With folder=FOLDER, which holds `ca.crt`,
    /// `tls.crt` and `tls.key`, it is a caller over mTLS, else a browser's call to the gateway. With id=ID that is
    /// the panel id, and a number follows behind a dot; else slow-50ms
    #[arg(long = "lane", value_name = "LANE", required = true)]
    lanes: Vec<Lane>,

    /// Where it tells what became of the calls, and plays the panel that knows who is logged in
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
}

/// What `--help` says of the pages.
pub(super) const PAGES: &str = "\
No call is made again, and a call's time counts from when it was due.

GET /now is the time here in milliseconds since 1970; /report/FROM/TO counts the calls of each lane that
began between two such times, by reason, with percentiles and the first failures; /whoami answers the
gateway's session check for the cookie `session=ID`.";

pub(super) async fn run(options: Options) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    let listener = TcpListener::bind(options.listen)
        .await
        .map_err(|error| format!("cannot listen on {}: {error}", options.listen))?;
    writeln!(io::stdout(), "load on http://{}", listener.local_addr()?)?;
    tokio::select! {
        ended = load::run(options.lanes, listener) => ended,
        _ = signals.next() => Ok(()),
    }
}
