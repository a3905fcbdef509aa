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

[audit]
output = "file"
file = "audit.log"

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

/// `gateway.toml`: it serves as well for an `ask2do-token-gateway` that somebody starts by hand.
pub(crate) fn gateway(ports: Ports) -> String {
    format!(
        r#"# Written by ask2do-token-playground, anew at each start until you change it.
# Relative paths are relative to this file's folder.

[http]
listen = "127.0.0.1:{gateway}"

[service]
endpoint = "https://localhost:{grpc}"
ca_file = "ca.crt"
certificate_file = "caller.crt"
private_key_file = "caller.key"

[session]
mode = "forward"

[session.forward]
url = "http://127.0.0.1:{panel}/whoami"    # the demo panel

[telemetry]
trust_browser_sampling = true      # so that every click on the demo panel is a trace

[admin]
listen = "127.0.0.1:{admin}"

[shutdown]
drain = "2s"
"#,
        gateway = ports.gateway(),
        grpc = ports.grpc(),
        panel = ports.panel(),
        admin = ports.gateway_admin(),
    )
}

/// Whether a file that somebody changed still names all the ports of this block that `written`, the
/// playground's own version of it, names.
pub(crate) fn names_ports(text: &str, written: &str, ports: Ports) -> bool {
    ports
        .all()
        .iter()
        .flat_map(|port| [format!("127.0.0.1:{port}"), format!("localhost:{port}")])
        .filter(|address| written.contains(address))
        .all(|address| text.contains(&address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_settings_serve_as_long_as_they_name_the_ports() {
        let (ports, others) = (Ports::find().unwrap(), Ports::find().unwrap());
        for written in [server, gateway] {
            let changed = written(ports).replace("drain = \"2s\"", "drain = \"9s\"");
            assert!(names_ports(&changed, &written(ports), ports));
            assert!(!names_ports(&changed, &written(others), others));
        }
    }
}
