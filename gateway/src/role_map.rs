//! From the panel's role names to the vendor's.

use std::collections::BTreeMap;

use crate::session::SessionUser;

/// The vendor's roles, the stronger one first. A user with several roles acts in the first that they have.
const PREFERRED: [&str; 2] = ["owner", "admin"];

/// What the vendor calls the panel's roles. Names that are not in it pass as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoleMap(BTreeMap<String, String>);

impl RoleMap {
    /// The role that a token is minted for: after mapping, `owner` if the user has it, else `admin`, else
    /// the first.
    pub(crate) fn role_of<'a>(&'a self, user: &'a SessionUser) -> &'a str {
        let mapped = || user.roles().iter().map(|role| self.map(role));
        PREFERRED
            .into_iter()
            .find(|preferred| mapped().any(|role| role == *preferred))
            .or_else(|| mapped().next())
            // Unreachable, for a session user has a role; the service refuses an empty one.
            .unwrap_or_default()
    }

    fn map<'a>(&'a self, role: &'a str) -> &'a str {
        self.0.get(role).map_or(role, String::as_str)
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for RoleMap {
    fn from_iter<T: IntoIterator<Item = (K, V)>>(pairs: T) -> Self {
        Self(
            pairs
                .into_iter()
                .map(|(panel, vendor)| (panel.into(), vendor.into()))
                .collect(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_mapped_and_the_strongest_is_chosen() {
        let map: RoleMap = [
            ("superuser", "owner"),
            ("staff", "admin"),
            ("owner", "landlord"),
        ]
        .into_iter()
        .collect();
        let cases: &[(&[&str], &str)] = &[
            (&["superuser"], "owner"),
            (&["junior"], "junior"),
            (&["Superuser"], "Superuser"),
            (&["junior", "staff", "superuser"], "owner"),
            (&["junior", "staff"], "admin"),
            (&["junior", "admin"], "admin"),
            (&["editor", "junior"], "editor"),
            // A mapped name is what counts, and is not mapped again.
            (&["owner"], "landlord"),
            (&["owner", "superuser"], "owner"),
        ];
        for (roles, role) in cases {
            let user = SessionUser::new("7", roles.iter().copied()).unwrap();
            assert_eq!(map.role_of(&user), *role, "{roles:?}");
        }
    }

    #[test]
    fn an_empty_map_leaves_the_names_as_they_are() {
        let user = SessionUser::new("7", ["junior"]).unwrap();
        assert_eq!(RoleMap::default().role_of(&user), "junior");
    }
}
