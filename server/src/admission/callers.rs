//! The callers that an operator named.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Presented, Roles, San};

/// The name of every caller under `allow_any_caller`.
pub const ANY_CALLER: &str = "any";

/// Who may mint, for which roles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    name: Arc<str>,
    san: Option<San>,
    roles: Roles,
}

impl Caller {
    /// A caller whose certificate has exactly `san`.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>, san: San, roles: Roles) -> Self {
        Self {
            name: name.into(),
            san: Some(san),
            roles,
        }
    }

    /// What logs, metrics and the audit call it.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The roles it may mint for.
    #[must_use]
    pub fn roles(&self) -> &Roles {
        &self.roles
    }
}

/// Every caller there is.
#[derive(Clone, Debug)]
pub struct Callers(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Listed {
        callers: Vec<Arc<Caller>>,
        // By URI, and by DNS name in lower case.
        by_uri: HashMap<Box<str>, usize>,
        by_dns: HashMap<Box<str>, usize>,
    },
    Any(Arc<Caller>),
}

/// Callers that cannot be told apart.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallersError {
    /// Two callers have one SAN.
    #[error("callers {first:?} and {second:?} have the same SAN {san}")]
    SameSan {
        /// The caller that was listed first.
        first: Arc<str>,
        /// The other.
        second: Arc<str>,
        /// What both have.
        san: San,
    },
    /// Two callers have one name.
    #[error("two callers are named {0:?}")]
    SameName(Arc<str>),
}

/// Why a certificate names no caller. It is for the operator's log: the peer learns only that it
/// may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stranger {
    /// None of its names is listed.
    #[error("none of the certificate's SANs is a caller's")]
    Unlisted,
    /// It has several URI SANs: which of them is meant cannot be known (the SPIFFE X.509-SVID
    /// specification allows one).
    #[error("the certificate has several URI SANs")]
    SeveralUris,
    /// Its names are those of different callers.
    #[error("the certificate's SANs are those of two callers")]
    SeveralCallers,
}

impl Callers {
    /// These callers and no others; none at all means that nobody may mint.
    ///
    /// # Errors
    ///
    /// Every name and every SAN that is there twice.
    pub fn listed(callers: impl IntoIterator<Item = Caller>) -> Result<Self, Vec<CallersError>> {
        let callers: Vec<Arc<Caller>> = callers.into_iter().map(Arc::new).collect();
        let mut errors = Vec::new();
        let (mut by_uri, mut by_dns) = (HashMap::new(), HashMap::new());
        let mut by_name = HashMap::new();
        for (index, caller) in callers.iter().enumerate() {
            if by_name.insert(caller.name.clone(), index).is_some() {
                errors.push(CallersError::SameName(caller.name.clone()));
            }
            let before = match &caller.san {
                Some(San::Uri(uri)) => by_uri.insert(uri.clone(), index),
                Some(San::Dns(name)) => by_dns.insert(name.clone(), index),
                None => None,
            };
            if let (Some(before), Some(san)) = (before.and_then(|at| callers.get(at)), &caller.san)
            {
                errors.push(CallersError::SameSan {
                    first: before.name.clone(),
                    second: caller.name.clone(),
                    san: san.clone(),
                });
            }
        }
        if errors.is_empty() {
            Ok(Self(Kind::Listed {
                callers,
                by_uri,
                by_dns,
            }))
        } else {
            Err(errors)
        }
    }

    /// Every verified certificate is a caller, named [`ANY_CALLER`], with these roles.
    #[must_use]
    pub fn any(roles: Roles) -> Self {
        Self(Kind::Any(Arc::new(Caller {
            name: ANY_CALLER.into(),
            san: None,
            roles,
        })))
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Caller>> {
        match &self.0 {
            Kind::Listed { callers, .. } => callers.as_slice(),
            Kind::Any(caller) => std::slice::from_ref(caller),
        }
        .iter()
    }

    /// Is nobody a caller?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// The caller that a certificate names.
    ///
    /// # Errors
    ///
    /// It names none, or more than one.
    pub fn identify(&self, presented: &Presented) -> Result<&Arc<Caller>, Stranger> {
        let (callers, by_uri, by_dns) = match &self.0 {
            Kind::Any(caller) => return Ok(caller),
            Kind::Listed {
                callers,
                by_uri,
                by_dns,
            } => (callers, by_uri, by_dns),
        };
        if presented.uris().len() > 1 {
            return Err(Stranger::SeveralUris);
        }
        let uris = presented.uris().iter().map(|uri| by_uri.get(uri.as_str()));
        let names = presented.dns().iter().map(|dns| by_dns.get(dns.as_str()));
        let mut matches = uris.chain(names).flatten();
        let first = matches.next().ok_or(Stranger::Unlisted)?;
        if matches.any(|other| other != first) {
            return Err(Stranger::SeveralCallers);
        }
        callers.get(*first).ok_or(Stranger::Unlisted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(name: &str, san: &str) -> Caller {
        Caller::new(
            name,
            San::parse(san).unwrap(),
            ["admin"].into_iter().collect(),
        )
    }

    fn callers() -> Callers {
        Callers::listed([
            caller("panel", "spiffe://demo/ns/panel/sa/backend"),
            caller("gateway", "Gateway.Example.com"),
            caller("jobs", "jobs.example.com"),
        ])
        .unwrap()
    }

    fn identify(uris: &[&str], dns: &[&str]) -> Result<String, Stranger> {
        let owned = |names: &[&str]| names.iter().map(|&name| name.into()).collect::<Vec<_>>();
        let presented = Presented::new(&owned(uris), &owned(dns));
        callers()
            .identify(&presented)
            .map(|caller| caller.name().to_string())
    }

    #[test]
    fn a_uri_is_compared_exactly() {
        let named = |uri| identify(&[uri], &[]);
        assert_eq!(
            named("spiffe://demo/ns/panel/sa/backend"),
            Ok("panel".into())
        );
        for other in [
            "spiffe://demo/ns/panel/sa/backend/",
            "spiffe://demo/ns/panel/sa/Backend",
            "spiffe://demo/ns/panel/sa",
            "spiffe://demo2/ns/panel/sa/backend",
        ] {
            assert_eq!(named(other), Err(Stranger::Unlisted), "{other}");
        }
    }

    #[test]
    fn a_dns_name_is_compared_without_regard_to_case() {
        for name in ["gateway.example.com", "GATEWAY.example.COM"] {
            assert_eq!(identify(&[], &[name]), Ok("gateway".into()));
        }
        assert_eq!(
            identify(&[], &["gateway.example.com."]),
            Err(Stranger::Unlisted)
        );
    }

    #[test]
    fn a_wildcard_in_a_certificate_matches_nobody() {
        assert_eq!(identify(&[], &["*.example.com"]), Err(Stranger::Unlisted));
    }

    #[test]
    fn several_uris_are_refused_even_if_one_is_a_callers() {
        let uris = ["spiffe://demo/ns/panel/sa/backend", "spiffe://demo/other"];
        assert_eq!(identify(&uris, &[]), Err(Stranger::SeveralUris));
        assert_eq!(
            identify(&uris, &["gateway.example.com"]),
            Err(Stranger::SeveralUris)
        );
    }

    #[test]
    fn names_of_two_callers_are_refused_and_further_names_do_not_matter() {
        assert_eq!(
            identify(&[], &["gateway.example.com", "jobs.example.com"]),
            Err(Stranger::SeveralCallers)
        );
        assert_eq!(
            identify(
                &["spiffe://demo/ns/panel/sa/backend"],
                &["jobs.example.com"]
            ),
            Err(Stranger::SeveralCallers)
        );
        assert_eq!(
            identify(
                &["spiffe://demo/unlisted"],
                &["jobs.example.com", "other.example.com", "JOBS.example.com"]
            ),
            Ok("jobs".into())
        );
    }

    #[test]
    fn a_uri_is_no_dns_name_and_a_certificate_without_names_is_nobodys() {
        assert_eq!(
            identify(&["gateway.example.com"], &[]),
            Err(Stranger::Unlisted)
        );
        assert_eq!(identify(&[], &[]), Err(Stranger::Unlisted));
    }

    #[test]
    fn every_san_and_every_name_that_is_there_twice_is_an_error() {
        let errors = Callers::listed([
            caller("one", "a.example.com"),
            caller("one", "b.example.com"),
            caller("two", "A.EXAMPLE.COM"),
            caller("three", "spiffe://demo/x"),
            caller("four", "spiffe://demo/x"),
        ])
        .unwrap_err();
        let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                r#"two callers are named "one""#,
                r#"callers "one" and "two" have the same SAN a.example.com"#,
                r#"callers "three" and "four" have the same SAN spiffe://demo/x"#,
            ]
        );
    }

    #[test]
    fn where_any_caller_is_allowed_everybody_is_one() {
        let callers = Callers::any(["admin"].into_iter().collect());
        let nobody = Presented::new(&[], &[]);
        let caller = callers.identify(&nobody).unwrap();
        assert_eq!(&**caller.name(), ANY_CALLER);
        assert!(caller.roles().contains("admin"));
        assert!(!callers.is_empty());
    }
}
