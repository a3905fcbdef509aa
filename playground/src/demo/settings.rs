//! The configuration files that the playground writes for the real services.

use crate::folder::CALLER_SAN;
use crate::ports::Ports;

/// `server.toml`: it serves as well for an `ask2do-token-server` that somebody starts by hand.
pub(crate) fn server(ports: Ports) -> String {
    format!(
        r#"# Written by ask2do-token-playground, anew at each start until you change it.
# Relative paths are relative to this file's folder.

[grpc]
listen = "127.0.0.1:{grpc}"
certificate_file = "server.crt"
private_key_file = "server.key"
client_ca_file = "ca.crt"
reflection = true                  # so that grpcurl and buf need no .proto

[admin]
listen = "127.0.0.1:{admin}"

[cloud]
url = "https://localhost:{cloud}"     # the simulated one
ca_file = "ca.crt"
tenant_key_file = "tenant-key"

[shutdown]
drain = "2s"

[[callers]]
name = "panel"
san = "{CALLER_SAN}"
roles = ["admin", "owner"]
"#,
        grpc = ports.grpc(),
        admin = ports.admin(),
        cloud = ports.cloud(),
    )
}

/// Whether a `server.toml` that somebody changed still names these ports.
pub(crate) fn names_ports(text: &str, ports: Ports) -> bool {
    [ports.grpc(), ports.admin(), ports.cloud()]
        .iter()
        .all(|port| text.contains(&format!(":{port}\"")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_settings_name_the_ports() {
        let ports = Ports::find().unwrap();
        assert!(names_ports(&server(ports), ports));
        assert!(!names_ports(&server(ports), Ports::find().unwrap()));
    }
}
