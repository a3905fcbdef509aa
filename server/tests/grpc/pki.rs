//! Certificates, named by what they are good for or by their defect.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};
use time::{Duration, OffsetDateTime};

pub(crate) const PANEL: &str = "spiffe://demo/ns/panel/sa/backend";

/// A certificate and its key, in PEM.
#[derive(Clone)]
pub(crate) struct Pair {
    pub(crate) cert: String,
    pub(crate) key: String,
}

/// A certification authority.
pub(crate) struct Ca(CertifiedIssuer<'static, KeyPair>);

impl Ca {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    fn issue(&self, params: &CertificateParams) -> Pair {
        let key = KeyPair::generate().unwrap();
        Pair {
            cert: params.signed_by(&key, &self.0).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }

    pub(crate) fn server(&self) -> Pair {
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.issue(&params)
    }

    /// With this URI as its name.
    pub(crate) fn client(&self, uri: &str) -> Pair {
        self.issue(&client(&[uri]))
    }

    pub(crate) fn client_with_two_uris(&self) -> Pair {
        self.issue(&client(&[PANEL, "spiffe://demo/other"]))
    }

    pub(crate) fn client_ending_in(&self, time: Duration) -> Pair {
        let mut params = client(&[PANEL]);
        params.not_after = OffsetDateTime::now_utc() + time;
        self.issue(&params)
    }

    pub(crate) fn not_yet_valid(&self) -> Pair {
        let mut params = client(&[PANEL]);
        params.not_before = OffsetDateTime::now_utc() + Duration::hours(1);
        self.issue(&params)
    }

    pub(crate) fn for_servers_only(&self) -> Pair {
        let mut params = client(&[PANEL]);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.issue(&params)
    }
}

pub(crate) fn self_signed() -> Pair {
    let key = KeyPair::generate().unwrap();
    Pair {
        cert: client(&[PANEL]).self_signed(&key).unwrap().pem(),
        key: key.serialize_pem(),
    }
}

fn client(uris: &[&str]) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.subject_alt_names = uris
        .iter()
        .map(|&uri| SanType::URI(uri.try_into().unwrap()))
        .collect();
    params
}
