//! The names in the certificate of one connection.

/// What a verified certificate says of who presents it: made once per connection, compared with
/// the callers at each call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presented {
    uris: Vec<String>,
    dns: Vec<String>,
}

impl Presented {
    /// Takes the certificate's SANs of these two kinds; others name nobody.
    #[must_use]
    pub fn new(uri_sans: &[String], dns_sans: &[String]) -> Self {
        Self {
            uris: uri_sans.to_vec(),
            dns: dns_sans
                .iter()
                .map(|name| name.to_ascii_lowercase())
                .collect(),
        }
    }

    /// The URIs, as they are.
    #[must_use]
    pub fn uris(&self) -> &[String] {
        &self.uris
    }

    /// The DNS names, in lower case.
    #[must_use]
    pub fn dns(&self) -> &[String] {
        &self.dns
    }
}
