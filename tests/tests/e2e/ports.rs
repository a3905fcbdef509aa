//! The admin port, and the services beside the one: health and reflection.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use ask2do_token_proto::Reason;
use ask2do_token_tests::caller::{Connection, framed, minted};
use ask2do_token_tests::pki::Leaf;
use ask2do_token_tests::reply::Reply;
use ask2do_token_tests::suite::{CannotRun, Suite};
use ask2do_token_tests::world::{Shared, World};
use tonic::Code;

const HEALTH: &str = "/grpc.health.v1.Health/Check";
const REFLECTION: [&str; 2] = [
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];
/// `ServerReflectionRequest { list_services: "" }`
const LIST_SERVICES: &[u8] = &[0x3a, 0];
/// `HealthCheckResponse { status: SERVING }`
const SERVING: &[u8] = &[0x08, 1];

pub(crate) fn add(suite: &mut Suite) {
    let shared = Shared::new(World::server);
    let with = shared.clone();
    suite.case(
        "ports: the admin port answers what it is for",
        move || async move {
            let (_, server) = with.get().await;
            for (path, status, begins) in [
                ("/livez", 200, "ok"),
                ("/readyz", 200, "ok"),
                ("/metrics", 200, "# "),
                ("/", 404, "not found"),
                ("/debug/pprof", 404, "not found"),
            ] {
                let (found, body) = server.get(path).await;
                assert_eq!(found, status, "{path}");
                assert!(body.starts_with(begins), "{path}: {body}");
            }
        },
    );
    let with = shared.clone();
    suite.case(
        "ports: each reason has a series before its first time",
        move || async move {
            let (_, server) = with.get().await;
            let text = server.get("/metrics").await.1;
            for reason in [
                Reason::TenantKeyRejected,
                Reason::CloudTimeout,
                Reason::Overloaded,
            ] {
                let series = format!(r#"ask2do_mints_total{{caller="panel",reason="{reason}"}}"#);
                assert!(text.contains(&series), "{series}: {text}");
            }
            assert!(server.metric("process_resident_memory_bytes").await > 0.0);
        },
    );
    let with = shared.clone();
    suite.case(
        "ports: health is for every certificate of the CA",
        move || async move {
            let (world, server) = with.get().await;
            let stranger = world
                .callers
                .issue(&Leaf::client().uri("spiffe://demo/probe"));
            for caller in [world.panel(), world.caller(&stranger)] {
                let connection = server.connect(&caller).await;
                for service in ["", "ask2do.token.v1.TokenService"] {
                    let reply = health(&connection, service).await;
                    assert_eq!(reply.status().code(), Code::Ok);
                    assert_eq!(&reply.body[..], &framed(SERVING)[..], "{service}");
                }
                let reply = health(&connection, "nobody.v1").await;
                assert_eq!(reply.status().code(), Code::NotFound);
            }
        },
    );
    let with = shared.clone();
    suite.case(
        "ports: reflection is off unless it is on",
        move || async move {
            let (world, server) = with.get().await;
            let connection = server.connect(&world.panel()).await;
            for path in REFLECTION {
                let reply = connection.call(path, LIST_SERVICES).await.unwrap();
                assert_eq!(reply.status().code(), Code::Unimplemented);
            }
            minted(&connection.mint("42", "admin").await);
        },
    );
    suite.case("ports: reflection is for callers", || async {
        let world = World::new().await;
        let server = world.server().set("grpc.reflection", "true").start().await;
        let connection = server.connect(&world.panel()).await;
        let stranger = world
            .callers
            .issue(&Leaf::client().uri("spiffe://demo/stranger"));
        let strange = server.connect(&world.caller(&stranger)).await;
        for path in REFLECTION {
            let reply = connection.call(path, LIST_SERVICES).await.unwrap();
            assert_eq!(reply.status().code(), Code::Ok, "{:?}", reply.status());
            let text = String::from_utf8_lossy(&reply.body).into_owned();
            for service in ["ask2do.token.v1.TokenService", "grpc.health.v1.Health"] {
                assert!(text.contains(service), "{text}");
            }
            let reply = strange.call(path, LIST_SERVICES).await.unwrap();
            reply.refused(Code::PermissionDenied, "CALLER_NOT_ALLOWED");
        }
    });
    suite.case_where_possible("ports: the process keeps its memory to itself", memory);
}

async fn memory() -> Result<(), CannotRun> {
    let world = World::new().await;
    let server = world.server().unprivileged()?.start().await;
    let connection = server.connect(&world.panel()).await;
    minted(&connection.mint("42", "admin").await);
    let process = format!("/proc/{}", server.process.id());
    let Ok(limits) = fs::read_to_string(format!("{process}/limits")) else {
        return Err(CannotRun("there is no /proc"));
    };
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"));
    let words: Vec<_> = core.unwrap().split_whitespace().collect();
    assert_eq!(words[4..6], ["0", "0"], "{limits}");
    // The kernel gives the files of a process that cannot be dumped to root, whoever runs it.
    let status = fs::read_to_string(format!("{process}/status")).unwrap();
    let user = status
        .lines()
        .find_map(|line| line.strip_prefix("Uid:"))
        .unwrap();
    assert_ne!(user.split_whitespace().next(), Some("0"), "{status}");
    assert_eq!(fs::metadata(format!("{process}/mem")).unwrap().uid(), 0);
    Ok(())
}

async fn health(connection: &Connection, service: &str) -> Reply {
    let length = u8::try_from(service.len()).unwrap();
    let message = [&[0x0a, length], service.as_bytes()].concat();
    connection.call(HEALTH, &message).await.unwrap()
}
