//! A set of roles.

/// Roles of panel users, compared byte for byte. They are few, so that a list is the fastest set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roles(Vec<Box<str>>);

impl Roles {
    /// Is `role` one of them?
    #[must_use]
    pub fn contains(&self, role: &str) -> bool {
        self.0.iter().any(|known| &**known == role)
    }

    /// Each of them, in the order they were given.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|role| &**role)
    }
}

impl<T: Into<Box<str>>> FromIterator<T> for Roles {
    fn from_iter<I: IntoIterator<Item = T>>(roles: I) -> Self {
        Self(roles.into_iter().map(Into::into).collect())
    }
}
