//! `ask2do-token certs`.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::exit::Exit;
use crate::certs::{Authority, CertificateError, Leaf, Name, NewFiles, Validity};

/// Whom the demo's configuration lets mint.
const PANEL: &str = "spiffe://demo/ns/panel/sa/backend";

const LAYOUT: &str = "\
Files in DIR (made with mode 0700 if it does not exist):
  ca.crt                    the CA's certificate: client_ca_file of the server, --ca of a caller
  server.crt, server.key    the server's certificate and key
  caller.crt, caller.key    the first caller's
  caller-2.crt, ...         further callers', or NAME.crt and NAME.key where a caller is NAME=SAN
Keys have mode 0600. The CA's own key is not kept, unless --keep-ca-key asks for ca.key.
A file that exists is never overwritten: then nothing is written, and the exit code is 2.
For trying things: for production use cert-manager or your own CA.";

#[derive(Debug, Args)]
#[command(after_help = LAYOUT)]
pub(super) struct Certs {
    /// The directory to write to
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    out: PathBuf,
    /// A DNS name or IP address of the server; repeat it for several [default: localhost, 127.0.0.1]
    #[arg(long = "server-name", value_name = "NAME", value_parser = server_name)]
    server_names: Vec<Name>,
    /// A caller's SAN, a SPIFFE URI or a DNS name, or NAME=SAN to name its files; repeat it for several
    /// callers [default: spiffe://demo/ns/panel/sa/backend]
    #[arg(long = "caller", value_name = "SAN", value_parser = Caller::parse)]
    callers: Vec<Caller>,
    /// How long the certificates are valid
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..=825))]
    days: u16,
    /// Write the CA's key too: who has it can be any server and any caller
    #[arg(long)]
    keep_ca_key: bool,
}

/// A caller to make a certificate for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Caller {
    file: Option<String>,
    san: Name,
}

impl Certs {
    pub(super) fn run(self) -> Exit {
        let files = match self.files() {
            Ok(files) => files,
            Err(error) => return Exit::Usage.complain(&error),
        };
        match files.write(&self.out) {
            Ok(()) => Exit::Done.print(&format!("written to {}", self.out.display())),
            Err(error) => Exit::Usage.complain(&error),
        }
    }

    fn files(&self) -> Result<NewFiles, FilesError> {
        let callers = named(&self.callers)?;
        let authority = Authority::new("ask2do-token throwaway CA", Validity::days(self.days))?;
        let mut files = NewFiles::new();
        files.public("ca.crt", authority.certificate_pem());
        if self.keep_ca_key {
            files.secret("ca.key", &**authority.private_key_pem());
        }
        let leaf = Leaf::server("ask2do-token server", self.server_names());
        add(&mut files, &authority, "server", &leaf)?;
        for (name, san) in callers {
            add(&mut files, &authority, &name, &Leaf::caller(&name, san))?;
        }
        Ok(files)
    }

    fn server_names(&self) -> Vec<Name> {
        if self.server_names.is_empty() {
            return vec![
                Name::Dns("localhost".to_owned()),
                Name::Ip([127, 0, 0, 1].into()),
            ];
        }
        self.server_names.clone()
    }
}

#[derive(Debug, thiserror::Error)]
enum FilesError {
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    #[error("two certificates cannot both be called `{0}`")]
    SameName(String),
}

fn add(
    files: &mut NewFiles,
    authority: &Authority,
    name: &str,
    leaf: &Leaf,
) -> Result<(), CertificateError> {
    let issued = authority.issue(leaf)?;
    files.public(format!("{name}.crt"), issued.certificate_pem());
    files.secret(format!("{name}.key"), issued.private_key_pem());
    Ok(())
}

/// Each caller with the name of its files.
fn named(callers: &[Caller]) -> Result<Vec<(String, Name)>, FilesError> {
    if callers.is_empty() {
        return Ok(vec![("caller".to_owned(), Name::Uri(PANEL.to_owned()))]);
    }
    let mut taken = vec!["ca".to_owned(), "server".to_owned()];
    let mut named = Vec::new();
    for (index, Caller { file, san }) in callers.iter().enumerate() {
        let name = match (file, index) {
            (Some(name), _) => name.clone(),
            (None, 0) => "caller".to_owned(),
            (None, _) => format!("caller-{}", index + 1),
        };
        if taken.contains(&name) {
            return Err(FilesError::SameName(name));
        }
        taken.push(name.clone());
        named.push((name, san.clone()));
    }
    Ok(named)
}

fn server_name(text: &str) -> Result<Name, String> {
    match text.parse() {
        Ok(Name::Uri(_)) => Err("a server has a DNS name or an IP address, no URI".to_owned()),
        Ok(name) => Ok(name),
        Err(error) => Err(error.to_string()),
    }
}

impl Caller {
    fn parse(text: &str) -> Result<Self, String> {
        let named = text.split_once('=').filter(|(name, _)| is_file_name(name));
        let (file, san) = match named {
            Some((name, san)) => (Some(name.to_owned()), san),
            None => (None, text),
        };
        match san.parse() {
            Ok(Name::Ip(_)) => Err("a caller is named by a URI or a DNS name".to_owned()),
            Ok(san) => Ok(Self { file, san }),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// Letters, digits and hyphens: nothing that leaves the directory or hides in it.
fn is_file_name(name: &str) -> bool {
    let is_part = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    !name.is_empty() && !name.starts_with('-') && name.bytes().all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_may_name_its_files() {
        let caller = Caller::parse("gateway=spiffe://demo/gateway").unwrap();
        assert_eq!(caller.file.as_deref(), Some("gateway"));
        assert_eq!(caller.san, Name::Uri("spiffe://demo/gateway".into()));
        assert_eq!(Caller::parse("panel.example").unwrap().file, None);
    }

    #[test]
    fn a_name_that_leaves_the_directory_is_refused() {
        for text in [
            "../x=panel.example",
            "-x=panel.example",
            "=panel.example",
            "127.0.0.1",
        ] {
            assert!(Caller::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn callers_without_a_name_are_numbered() {
        let callers = ["a.example", "b=b.example", "c.example"].map(|c| Caller::parse(c).unwrap());
        let names: Vec<_> = named(&callers)
            .unwrap()
            .into_iter()
            .map(|(n, _)| n)
            .collect();
        assert_eq!(names, ["caller", "b", "caller-3"]);
    }

    #[test]
    fn two_certificates_of_one_name_are_refused() {
        for name in ["server", "ca", "x"] {
            let caller = Caller::parse(&format!("{name}=a.example")).unwrap();
            let other = Caller::parse("x=b.example").unwrap();
            assert!(named(&[caller, other]).is_err(), "{name}");
        }
    }
}
