//! `ask2do-token health`.

use clap::Args;

use super::connection::Connection;
use super::exit::{Described, Exit};

#[derive(Debug, Args)]
pub(super) struct Health {
    #[command(flatten)]
    connection: Connection,
}

impl Health {
    pub(super) async fn run(self) -> Exit {
        let client = match self.connection.client() {
            Ok(client) => client,
            Err(error) => return Exit::of_build(&error).complain(&error),
        };
        match client.health().await {
            Ok(crate::Health::Serving) => Exit::Done.print("SERVING"),
            Ok(crate::Health::NotServing) => Exit::Failed.print("NOT_SERVING"),
            Err(error) => Exit::of_call(&error).complain(&Described(&error)),
        }
    }
}
