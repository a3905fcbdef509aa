//! The panel's pages: plain HTML, with no build step.

use std::fmt::Write as _;

use super::User;
use super::sessions::Session;
use crate::origin::TOKEN_PATH;

pub(super) const STYLE: &str = include_str!("assets/panel.css");
pub(super) const WIDGET: &str = include_str!("assets/widget.js");
pub(super) const DASHBOARD_SCRIPT: &str = include_str!("assets/dashboard.js");
const LOGIN: &str = include_str!("assets/login.html");
const DASHBOARD: &str = include_str!("assets/dashboard.html");

/// What the dashboard offers to have go wrong.
pub(super) struct Scenario {
    /// The panel id that makes it so; empty for the user's own.
    pub(super) id: &'static str,
    effect: &'static str,
}

pub(super) const SCENARIOS: [Scenario; 9] = [
    Scenario {
        id: "",
        effect: "Nothing: everything works",
    },
    Scenario {
        id: "short-lived-30s",
        effect: "Tokens live 30 s, so that a refresh is seen",
    },
    Scenario {
        id: "status-401",
        effect: "The tenant key is wrong, revoked or paused",
    },
    Scenario {
        id: "status-403",
        effect: "Ask2Do refuses the role",
    },
    Scenario {
        id: "bad-signature",
        effect: "The widget's token does not verify",
    },
    Scenario {
        id: "slow-3s",
        effect: "Ask2Do takes 3 s",
    },
    Scenario {
        id: "slow-7s",
        effect: "Ask2Do takes too long",
    },
    Scenario {
        id: "status-503",
        effect: "Ask2Do is down",
    },
    Scenario {
        id: "waf-403",
        effect: "A firewall answers instead of Ask2Do",
    },
];

/// Who may log in, one button each.
pub(super) fn login(users: &[User], host: &str) -> String {
    let mut buttons = String::new();
    for User {
        login, name, role, ..
    } in users
    {
        // Writing to a String cannot fail.
        let _ = write!(
            buttons,
            r#"<button name="user" value="{login}" id="login-{login}"><span class="avatar" aria-hidden="true">{initial}</span><span><strong>{name}</strong><small>{role}</small></span></button>"#,
            initial = name.chars().next().unwrap_or('?'),
        );
    }
    // The widget is on this page, too, as it is on a panel's every page: here it says `login required`.
    fill(
        LOGIN,
        &[("users", &buttons), ("cloud_url", &cloud_url(host))],
    )
}

/// The dashboard, with the widget as the vendor has it embedded. `host` is the browser's.
pub(super) fn dashboard(session: &Session, host: &str) -> String {
    let mut options = String::new();
    for Scenario { id, effect } in SCENARIOS {
        let selected = if id == session.scenario.unwrap_or_default() {
            " selected"
        } else {
            ""
        };
        let _ = write!(
            options,
            r#"<option value="{id}"{selected}>{effect}</option>"#
        );
    }
    fill(
        DASHBOARD,
        &[
            ("name", session.user.name),
            ("initial", &session.user.name[..1]),
            ("role", session.user.role),
            ("panel_id", session.panel_id()),
            ("token_path", TOKEN_PATH),
            ("cloud_url", &cloud_url(host)),
            ("scenarios", &options),
        ],
    )
}

/// The widget adds `/chat`; this origin's proxy knows where that goes.
fn cloud_url(host: &str) -> String {
    format!("ws://{}", escape(host))
}

/// Scripts and connections from and to this origin alone.
pub(super) fn content_security_policy(host: &str) -> String {
    // A host that could end the directive is none that a browser sends.
    let host: String = host
        .chars()
        .filter(|character| character.is_ascii_alphanumeric() || ".:-[]".contains(*character))
        .collect();
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
         connect-src 'self' ws://{host}; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
}

fn fill(page: &str, values: &[(&str, &str)]) -> String {
    values.iter().fold(page.to_owned(), |page, (name, value)| {
        page.replace(&format!("{{{{{name}}}}}"), value)
    })
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::super::USERS;
    use super::super::sessions::{SessionId, Sessions};
    use super::*;

    fn session(scenario: Option<&'static str>) -> Session {
        let sessions = Sessions::default();
        let id: SessionId = sessions.open(USERS[1].clone());
        sessions.play(&id, scenario);
        sessions.find(&id).unwrap()
    }

    #[test]
    fn every_place_of_a_page_is_filled() {
        for page in [
            login(&USERS, "localhost:1"),
            dashboard(&session(None), "localhost:1"),
        ] {
            assert!(!page.contains("{{"), "{page}");
        }
    }

    #[test]
    fn the_widget_is_embedded_as_the_vendor_says() {
        let page = dashboard(&session(None), "localhost:8005");
        let tag = r#"<script src="/widget.js" data-cloud-url="ws://localhost:8005" data-panel-role="admin" defer></script>"#;
        assert!(page.contains(tag), "{page}");
    }

    #[test]
    fn a_host_cannot_break_out_of_the_page_or_its_policy() {
        let host = r#"x"><script>; script-src *"#;
        assert!(!dashboard(&session(None), host).contains("<script>;"));
        assert!(!content_security_policy(host).contains("script-src *"));
    }

    #[test]
    fn the_chosen_scenario_is_a_panel_id_that_fails() {
        let page = dashboard(&session(Some("status-401")), "localhost");
        assert!(
            page.contains(r#"<option value="status-401" selected>"#),
            "{page}"
        );
        for scenario in SCENARIOS.iter().filter(|scenario| !scenario.id.is_empty()) {
            assert!(crate::cloud::is_scenario(scenario.id), "{}", scenario.id);
        }
    }
}
