//! The certificates and the tenant key of a folder.

use std::sync::Arc;
use std::time::Duration;

use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;

use super::{Folder, FolderError, Origin, Readers};
use crate::certificates::{Authority, CertificateError, Issued, Name, Side, https_server};

/// The SAN of the one caller that the playground's server lets mint.
pub const CALLER_SAN: &str = "spiffe://demo/ns/panel/sa/backend";

/// Signed by the same CA, and named in no list of callers.
const STRANGER_SAN: &str = "spiffe://demo/ns/elsewhere/sa/stranger";

/// Certificates that end sooner are made anew: nobody wants a demo to break off.
const AT_LEAST: Duration = Duration::from_secs(60 * 60);

/// The pairs beside `ca.crt`, by the name that both files begin with.
const PAIRS: [&str; 3] = ["server", "caller", "stranger"];

impl Folder {
    /// Makes `ca.crt` and the `server`, `caller` and `stranger` pairs, unless what is there still
    /// serves. They are made together, because the CA's key is not kept.
    ///
    /// # Errors
    ///
    /// When files that somebody else wrote do not serve, or nothing can be written.
    pub fn ensure_certificates(&mut self) -> Result<(), FolderError> {
        let names = certificate_files();
        let problem = match names.iter().find(|name| !self.file(name).exists()) {
            Some(missing) => format!("{missing} is missing beside it"),
            None => match self.verify() {
                Ok(()) => return Ok(()),
                Err(error) => error.to_string(),
            },
        };
        for name in &names {
            if self.origin(name)? == Origin::Theirs {
                return Err(FolderError::Foreign {
                    path: self.file(name),
                    problem,
                });
            }
        }
        self.make_certificates()
    }

    /// Makes `tenant-key` unless there is one.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn ensure_tenant_key(&mut self) -> Result<(), FolderError> {
        self.keep_or_write("tenant-key", Readers::Owner, || {
            format!("simulated-{:032x}", rand::random::<u128>())
        })
    }

    fn make_certificates(&mut self) -> Result<(), FolderError> {
        let authority = Authority::new("Ask2Do playground CA")?;
        let uri = |uri: &str| [Name::Uri(uri.to_owned())];
        let issued = [
            authority.issue_for_localhost("Ask2Do playground server")?,
            authority.issue("Ask2Do playground caller", &uri(CALLER_SAN), Side::Client)?,
            authority.issue(
                "Ask2Do playground stranger",
                &uri(STRANGER_SAN),
                Side::Client,
            )?,
        ];
        self.write("ca.crt", Readers::All, &authority.certificate_pem())?;
        for (
            pair,
            Issued {
                certificate_pem,
                private_key_pem,
            },
        ) in PAIRS.into_iter().zip(issued)
        {
            self.write(&format!("{pair}.crt"), Readers::All, &certificate_pem)?;
            self.write(&format!("{pair}.key"), Readers::Owner, &private_key_pem)?;
        }
        Ok(())
    }

    /// Whether the pairs are pairs, verify against `ca.crt`, and will for [`AT_LEAST`].
    fn verify(&self) -> Result<(), Unfit> {
        let mut roots = RootCertStore::empty();
        for root in self.chain("ca.crt")? {
            roots.add(root)?;
        }
        let roots = Arc::new(roots);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let later =
            UnixTime::since_unix_epoch(Duration::from_secs(UnixTime::now().as_secs()) + AT_LEAST);
        for pair in PAIRS {
            let certificate = std::fs::read(self.file(&format!("{pair}.crt")))?;
            https_server(
                &certificate,
                &std::fs::read(self.file(&format!("{pair}.key")))?,
            )?;
            let chain = self.chain(&format!("{pair}.crt"))?;
            let (leaf, between) = chain.split_first().ok_or(Unfit::Empty)?;
            if pair == "server" {
                WebPkiServerVerifier::builder_with_provider(
                    Arc::clone(&roots),
                    Arc::clone(&provider),
                )
                .build()?
                .verify_server_cert(
                    leaf,
                    between,
                    &ServerName::try_from("localhost")?,
                    &[],
                    later,
                )?;
            } else {
                WebPkiClientVerifier::builder_with_provider(
                    Arc::clone(&roots),
                    Arc::clone(&provider),
                )
                .build()?
                .verify_client_cert(leaf, between, later)?;
            }
        }
        Ok(())
    }

    fn chain(&self, name: &str) -> Result<Vec<CertificateDer<'static>>, Unfit> {
        let pem = std::fs::read(self.file(name))?;
        Ok(CertificateDer::pem_slice_iter(&pem).collect::<Result<_, _>>()?)
    }
}

fn certificate_files() -> Vec<String> {
    let pairs = PAIRS
        .iter()
        .flat_map(|pair| [format!("{pair}.crt"), format!("{pair}.key")]);
    std::iter::once("ca.crt".to_owned()).chain(pairs).collect()
}

/// Why certificates cannot be used any longer.
#[derive(Debug, thiserror::Error)]
enum Unfit {
    #[error("it holds no certificate")]
    Empty,
    #[error("it cannot be read: {0}")]
    Io(#[from] std::io::Error),
    #[error("the certificates do not serve: {0}")]
    Tls(#[from] rustls::Error),
    #[error("the certificates do not serve: {0}")]
    Verifier(#[from] rustls::client::VerifierBuilderError),
    #[error("the certificates do not serve: {0}")]
    Pem(#[from] rustls::pki_types::pem::Error),
    #[error("the certificates do not serve: {0}")]
    Name(#[from] rustls::pki_types::InvalidDnsNameError),
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn folder(root: &tempfile::TempDir) -> Folder {
        Folder::at(root.path()).unwrap()
    }

    fn contents(folder: &Folder) -> Vec<String> {
        certificate_files()
            .iter()
            .map(|name| folder.read(name).unwrap())
            .collect()
    }

    #[test]
    fn certificates_are_made_once_and_then_kept() {
        let root = tempfile::tempdir().unwrap();
        let mut first = folder(&root);
        first.ensure_certificates().unwrap();
        first.ensure_tenant_key().unwrap();
        let made = (contents(&first), first.read("tenant-key").unwrap());
        drop(first);
        let mut second = folder(&root);
        second.ensure_certificates().unwrap();
        second.ensure_tenant_key().unwrap();
        assert_eq!(
            (contents(&second), second.read("tenant-key").unwrap()),
            made
        );
    }

    #[test]
    fn a_lost_file_of_our_own_has_the_whole_set_made_anew() {
        let root = tempfile::tempdir().unwrap();
        let mut folder = folder(&root);
        folder.ensure_certificates().unwrap();
        let made = contents(&folder);
        fs::remove_file(folder.file("caller.key")).unwrap();
        folder.ensure_certificates().unwrap();
        assert!(
            contents(&folder)
                .iter()
                .zip(&made)
                .all(|(now, then)| now != then)
        );
    }

    #[test]
    fn what_somebody_else_wrote_is_used_where_it_serves_and_never_overwritten() {
        let root = tempfile::tempdir().unwrap();
        let mut folder = folder(&root);
        folder.ensure_certificates().unwrap();
        fs::remove_file(folder.file(super::super::MANIFEST)).unwrap();
        drop(folder);

        let mut folder = Folder::at(root.path()).unwrap();
        let theirs = contents(&folder);
        folder.ensure_certificates().unwrap();
        assert_eq!(contents(&folder), theirs);

        fs::write(folder.file("server.key"), "no key").unwrap();
        let Err(FolderError::Foreign { problem, .. }) = folder.ensure_certificates() else {
            panic!("accepted");
        };
        assert!(problem.contains("PEM"), "{problem}");
        assert_eq!(folder.read("server.key").unwrap(), "no key");

        fs::remove_file(folder.file("server.key")).unwrap();
        assert!(matches!(
            folder.ensure_certificates(),
            Err(FolderError::Foreign { .. })
        ));
        assert!(!folder.file("server.key").exists());
    }

    #[test]
    fn a_key_of_another_pair_is_found() {
        let root = tempfile::tempdir().unwrap();
        let mut folder = folder(&root);
        folder.ensure_certificates().unwrap();
        fs::copy(folder.file("caller.key"), folder.file("stranger.key")).unwrap();
        let Err(FolderError::Foreign { problem, .. }) = folder.ensure_certificates() else {
            panic!("accepted");
        };
        assert!(problem.contains("certificate and key"), "{problem}");
    }
}
