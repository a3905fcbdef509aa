//! The contract as buf and protoc read it: clean, no break with the last release, of use to everybody.

use std::fs;
use std::path::{Path, PathBuf};

use ask2do_token_tests::binaries::workspace;
use ask2do_token_tests::suite::{CannotRun, Suite};
use tempfile::TempDir;

use crate::tools::{Said, find, run};

const CONTRACT: &str = "ask2do/token/v1/token_service.proto";
/// What buf exits with when it finds something.
const FOUND: i32 = 100;

/// What is done to the contract: from these words to those, and the rule that it breaks.
type Break = (&'static str, &'static str, &'static str, &'static str);

const BREAKS: &[Break] = &[
    (
        "a field with another number",
        "string role = 2;",
        "string role = 3;",
        "FIELD_NO_DELETE",
    ),
    (
        "a field that is gone",
        "  string role = 2;",
        "",
        "FIELD_NO_DELETE",
    ),
    (
        "a field with another name",
        "string token = 1;",
        "string jwt = 1;",
        "FIELD_SAME_NAME",
    ),
    (
        "a field of another type",
        "string id = 1;",
        "int64 id = 1;",
        "FIELD_SAME_TYPE",
    ),
    (
        "a field of the same form on the wire",
        "string id = 1;",
        "bytes id = 1;",
        "FIELD_SAME_TYPE",
    ),
    (
        "one that becomes many",
        "string role = 2;",
        "repeated string role = 2;",
        "FIELD_SAME_CARDINALITY",
    ),
    (
        "a field that moves into a oneof",
        "string role = 2;",
        "oneof of { string role = 2; }",
        "FIELD_SAME_ONEOF",
    ),
    (
        "a method with another name",
        "rpc MintToken(",
        "rpc Mint(",
        "RPC_NO_DELETE",
    ),
    (
        "a method that streams",
        "returns (MintTokenResponse)",
        "returns (stream MintTokenResponse)",
        "RPC_SAME_SERVER_STREAMING",
    ),
    (
        "a service with another name",
        "service TokenService",
        "service Tokens",
        "SERVICE_NO_DELETE",
    ),
    (
        "another package",
        "package ask2do.token.v1;",
        "package ask2do.token.v2;",
        "FILE_SAME_PACKAGE",
    ),
    (
        "another package in Java",
        "com.ask2do.token.v1",
        "com.ask2do.tokens.v1",
        "FILE_SAME_JAVA_PACKAGE",
    ),
];

/// What may be added at any time.
const ADDITIONS: &[(&str, &str, &str)] = &[
    (
        "a field",
        "  string role = 2;",
        "  string role = 2;\n  // The panel's own name of the user.\n  string display_name = 3;",
    ),
    (
        "a method and its messages",
        "service TokenService {",
        "message RevokeTokenRequest {}\nmessage RevokeTokenResponse {}\nservice TokenService {\n  rpc RevokeToken(RevokeTokenRequest) returns (RevokeTokenResponse);",
    ),
    (
        "a word in a comment",
        "// Whom to mint for.",
        "// The user.",
    ),
];

pub(crate) fn add(suite: &mut Suite) {
    suite.case_where_possible("schema: the contract is clean and formatted", || async {
        let folder = copy(|text| text);
        buf(&["lint"], folder.path()).await?.content();
        buf(&["format", "--diff", "--exit-code"], folder.path())
            .await?
            .content();
        Ok(())
    });
    suite.case_where_possible("schema: what is not clean is found", || async {
        let folder = copy(|text| change(text, "rpc MintToken(", "rpc mint_token("));
        let said = buf(&["lint", "--error-format", "json"], folder.path()).await?;
        assert_eq!(said.code, FOUND, "{}", said.text);
        assert!(said.text.contains("RPC_PASCAL_CASE"), "{}", said.text);
        Ok(())
    });
    suite.case_where_possible("schema: nothing breaks the last release", || async {
        breaking(copy(|text| text)).await?.content();
        Ok(())
    });
    for &(what, from, to, rule) in BREAKS {
        suite.case_where_possible(format!("schema: {what} is a break"), move || async move {
            let said = breaking(copy(|text| change(text, from, to))).await?;
            assert_eq!(said.code, FOUND, "{}", said.text);
            assert!(said.text.contains(rule), "not {rule}: {}", said.text);
            Ok(())
        });
    }
    for &(what, from, to) in ADDITIONS {
        suite.case_where_possible(format!("schema: {what} is none"), move || async move {
            breaking(copy(|text| change(text, from, to)))
                .await?
                .content();
            Ok(())
        });
    }
    suite.case_where_possible("schema: buf generates for each language", generate);
    for (protoc, missing) in [
        ("protoc", "there is no protoc on PATH"),
        // Of 2016, the first that knows proto3.
        ("protoc-3.0.0", "there is no protoc-3.0.0 on PATH"),
    ] {
        suite.case_where_possible(
            format!("schema: {protoc} needs this one file"),
            move || async move { one_file(&find(protoc, missing)?).await },
        );
    }
    suite.case(
        "schema: the file asks for nothing that an old protoc lacks",
        || async {
            let text = fs::read_to_string(proto().join(CONTRACT)).unwrap();
            let of = |keyword: &'static str| {
                text.lines()
                    .filter_map(move |line| line.strip_prefix(keyword))
                    .map(|rest| rest.trim().trim_end_matches(';').to_owned())
            };
            assert_eq!(of("syntax").collect::<Vec<_>>(), [r#"= "proto3""#]);
            for import in of("import") {
                assert!(import.starts_with("\"google/protobuf/"), "{import}");
            }
            for option in of("option") {
                let name = option.split(' ').next().unwrap();
                assert!(
                    name == "go_package" || name.starts_with("java_"),
                    "{option}"
                );
            }
            assert!(
                !text.contains("optional "),
                "an old protoc needs a flag for it"
            );
        },
    );
}

/// Whether this is still the contract that the last release had.
async fn breaking(contract: TempDir) -> Result<Said, CannotRun> {
    let released = proto().join("released.binpb");
    let arguments = [
        "breaking",
        "--error-format",
        "json",
        "--exclude-imports",
        "--against",
        released.to_str().unwrap(),
    ];
    buf(&arguments, contract.path()).await
}

async fn buf(arguments: &[&str], folder: &Path) -> Result<Said, CannotRun> {
    let buf = find("buf", "there is no buf on PATH")?;
    Ok(run(&buf, arguments, folder).await)
}

async fn generate() -> Result<(), CannotRun> {
    for (plugin, missing) in [
        ("protoc", "there is no protoc on PATH"),
        ("protoc-gen-go", "there is no protoc-gen-go on PATH"),
        (
            "protoc-gen-go-grpc",
            "there is no protoc-gen-go-grpc on PATH",
        ),
        (
            "grpc_python_plugin",
            "there is no grpc_python_plugin on PATH",
        ),
        (
            "protoc-gen-grpc-java",
            "there is no protoc-gen-grpc-java on PATH",
        ),
    ] {
        find(plugin, missing)?;
    }
    let folder = copy(|text| text);
    buf(&["generate"], folder.path()).await?.content();
    let made = |file: &str| {
        let path = folder.path().join("gen").join(file);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{file}: {error}"))
    };
    for (file, holds) in [
        ("python/ask2do/token/v1/token_service_pb2.py", "MintToken"),
        (
            "python/ask2do/token/v1/token_service_pb2.pyi",
            "class PanelUser",
        ),
        (
            "python/ask2do/token/v1/token_service_pb2_grpc.py",
            "class TokenServiceStub",
        ),
        (
            "java/com/ask2do/token/v1/PanelUser.java",
            "public final class PanelUser",
        ),
        (
            "java/com/ask2do/token/v1/TokenServiceGrpc.java",
            "newBlockingStub",
        ),
    ] {
        assert!(made(file).contains(holds), "{file} has no {holds}");
    }
    // What the Go caller has committed, but for the versions in its first comment.
    for name in ["token_service.pb.go", "token_service_grpc.pb.go"] {
        let name = format!("ask2do/token/v1/{name}");
        let committed = workspace().join("tests/callers/go/gen").join(&name);
        let code = |text: String| {
            let package = text.find("package tokenv1").expect("a package");
            text[package..].to_owned()
        };
        let committed = code(fs::read_to_string(committed).unwrap());
        assert!(
            code(made(&format!("go/{name}"))) == committed,
            "{name} is stale"
        );
    }
    Ok(())
}

/// The file alone, in an empty folder, beside what comes with protoc.
async fn one_file(protoc: &Path) -> Result<(), CannotRun> {
    let include = Path::new("/usr/include");
    if !include.join("google/protobuf/timestamp.proto").is_file() {
        return Err(CannotRun(
            "protoc's own files are not in /usr/include: Debian's libprotobuf-dev",
        ));
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("proto").join(CONTRACT);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::copy(proto().join(CONTRACT), &file).unwrap();
    let path = format!("proto/{CONTRACT}");
    let arguments = [
        "--proto_path=proto",
        "--proto_path=/usr/include",
        "--cpp_out=.",
        "--java_out=.",
        "--python_out=.",
        &path,
    ];
    let said = run(protoc, &arguments, folder.path()).await.content();
    assert_eq!(said, "", "without a warning");
    for file in [
        "ask2do/token/v1/token_service.pb.h",
        "ask2do/token/v1/token_service_pb2.py",
        "com/ask2do/token/v1/PanelUser.java",
    ] {
        assert!(folder.path().join(file).is_file(), "{file}");
    }
    Ok(())
}

fn proto() -> PathBuf {
    workspace().join("proto")
}

/// The module, with its contract bent.
fn copy(bend: impl FnOnce(String) -> String) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in ["buf.yaml", "buf.gen.yaml"] {
        fs::copy(proto().join(file), folder.path().join(file)).unwrap();
    }
    let contract = folder.path().join(CONTRACT);
    fs::create_dir_all(contract.parent().unwrap()).unwrap();
    let text = fs::read_to_string(proto().join(CONTRACT)).unwrap();
    fs::write(contract, bend(text)).unwrap();
    folder
}

#[track_caller]
fn change(text: String, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from} is not in the contract");
    text.replace(from, to)
}
