//! The `/chat` WebSocket: the token first, then the session until the token ends.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::time::timeout;

use super::Simulation;
use super::token::{Claims, Refusal};

/// A frame is a token and a few words.
const FRAME_LIMIT: usize = 16 * 1024;

/// How long a client may take to send its token.
const AUTH_WITHIN: Duration = Duration::from_secs(10);

pub(super) async fn open(
    State(simulation): State<Arc<Simulation>>,
    upgrade: WebSocketUpgrade,
) -> Response {
    upgrade
        .max_frame_size(FRAME_LIMIT)
        .max_message_size(FRAME_LIMIT)
        .on_upgrade(|socket| async move {
            let mut ended = simulation.ended.clone();
            tokio::select! {
                held = hold(socket, &simulation) => if let Err(error) = held {
                    tracing::debug!(%error, "a chat ended");
                },
                // Only the drop of the cloud wakes this one.
                _ = ended.changed() => {}
            }
        })
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Frame {
    Auth {
        jwt: String,
    },
    Ping,
    #[serde(other)]
    Other,
}

async fn hold(mut socket: WebSocket, simulation: &Simulation) -> Result<(), axum::Error> {
    let claims = match authenticate(&mut socket, simulation).await? {
        Ok(claims) => claims,
        Err(refusal) => {
            say(
                &mut socket,
                json!({ "type": "auth_error", "error": refusal.to_string() }),
            )
            .await?;
            return close(socket, close_code::POLICY, "authentication failed").await;
        }
    };
    simulation.ledger.chatted();
    say(&mut socket, json!({ "type": "auth_ok" })).await?;
    match timeout(remaining(&claims), converse(&mut socket)).await {
        Ok(left) => left,
        Err(_) => close(socket, close_code::POLICY, "token expired").await,
    }
}

async fn authenticate(
    socket: &mut WebSocket,
    simulation: &Simulation,
) -> Result<Result<Claims, Refusal>, axum::Error> {
    let first = match timeout(AUTH_WITHIN, socket.recv()).await {
        Ok(Some(frame)) => frame?,
        Ok(None) | Err(_) => return Ok(Err(Refusal::InvalidToken)),
    };
    let Some(Frame::Auth { jwt }) = parse(&first) else {
        return Ok(Err(Refusal::InvalidToken));
    };
    let now = OffsetDateTime::now_utc().unix_timestamp();
    Ok(simulation.signer.verify(&jwt, now).and_then(|claims| {
        if simulation.roles.contains(&claims.role) {
            Ok(claims)
        } else {
            Err(Refusal::RoleNotAllowed)
        }
    }))
}

/// Answers pings until the client leaves. WebSocket's own pings are answered below this.
async fn converse(socket: &mut WebSocket) -> Result<(), axum::Error> {
    while let Some(frame) = socket.recv().await {
        if let Some(Frame::Ping) = parse(&frame?) {
            say(socket, json!({ "type": "pong" })).await?;
        }
    }
    Ok(())
}

fn parse(message: &Message) -> Option<Frame> {
    match message {
        Message::Text(text) => serde_json::from_str(text).ok(),
        _ => None,
    }
}

async fn say(socket: &mut WebSocket, frame: Value) -> Result<(), axum::Error> {
    socket.send(Message::Text(frame.to_string().into())).await
}

async fn close(mut socket: WebSocket, code: u16, reason: &'static str) -> Result<(), axum::Error> {
    socket
        .send(Message::Close(Some(CloseFrame {
            code,
            reason: reason.into(),
        })))
        .await
}

fn remaining(claims: &Claims) -> Duration {
    let ends = claims.exp.unwrap_or(claims.iat);
    let seconds = ends - OffsetDateTime::now_utc().unix_timestamp();
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}
