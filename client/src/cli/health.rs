//! `ask2do-token health`.

use clap::{Arg, Args};

use super::connection::Connection;
use super::exit::{Described, Exit};
use super::gateway::Gateway;
use crate::certs::{Authority, CertificateError, Leaf, Name, Validity};
use crate::{MintError, TokenClientBuilder};

#[derive(Debug, Args)]
pub(super) struct Health {
    /// Prove that strangers are refused: 0 if the service turns away both a caller without a certificate
    /// and one whose certificate another CA issued. This caller's own certificate is not used
    #[arg(long)]
    refused: bool,
    /// Prove that this gateway refuses a logged-out call: 0 if it answers 401. Its whole URL
    #[arg(long, value_name = "URL", conflicts_with = "refused")]
    gateway: Option<Gateway>,
    // Last, so that its heading stands over its own options alone.
    #[command(flatten)]
    connection: Option<Connection>,
}

/// A gateway is asked for itself: `--endpoint` and `--ca` are needed without `--gateway` alone.
pub(super) fn without_endpoint_at_a_gateway(health: clap::Command) -> clap::Command {
    let needed = |argument: Arg| argument.required(false).required_unless_present("gateway");
    health.mut_arg("endpoint", needed).mut_arg("ca", needed)
}

impl Health {
    pub(super) async fn run(self) -> Exit {
        if let Some(gateway) = self.gateway {
            return gateway.refuses_a_logged_out_call().await;
        }
        let Some(connection) = self.connection else {
            // The command line's own rules leave no such case.
            return Exit::Usage.complain(&"--endpoint and --ca are needed");
        };
        if self.refused {
            return refuses_strangers(connection.anonymous()).await;
        }
        let client = match connection.client() {
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

async fn refuses_strangers(anonymous: impl Fn() -> TokenClientBuilder) -> Exit {
    let (certificate, key) = match stranger() {
        Ok(pair) => pair,
        Err(error) => return Exit::Usage.complain(&error),
    };
    let strangers = [
        ("a caller without a certificate", anonymous()),
        (
            "a caller with a certificate of another CA",
            anonymous().identity_pem(certificate, key),
        ),
    ];
    for (who, builder) in strangers {
        let client = match builder.build() {
            Ok(client) => client,
            Err(error) => return Exit::of_build(&error).complain(&error),
        };
        match client.health().await {
            Err(MintError::ServiceUnavailable(why)) if why.is_refusal_of_the_caller() => {}
            Err(error) => {
                let what = format!("{who} was not refused, but: {}", Described(&error));
                return Exit::of_call(&error).complain(&what);
            }
            Ok(_) => return Exit::Failed.complain(&format!("{who} was let in")),
        }
    }
    Exit::Done.print("REFUSED")
}

/// A certificate like a caller's, of a CA that nobody knows.
fn stranger() -> Result<(Vec<u8>, Vec<u8>), CertificateError> {
    let authority = Authority::new("nobody knows this CA", Validity::days(1))?;
    let name = Name::Uri("spiffe://nobody/stranger".to_owned());
    let issued = authority.issue(&Leaf::caller("stranger", name))?;
    Ok((
        issued.certificate_pem().into(),
        issued.private_key_pem().into(),
    ))
}
