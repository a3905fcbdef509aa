//! Holds answers of the endpoint against `docs/openapi.yaml`. The workspace's `tests` crate includes this file.

use std::collections::HashMap;
use std::sync::LazyLock;

use http::{HeaderMap, Method, StatusCode};
use jsonschema::Validator;
use serde_json::{Value, json};

/// What HTTP itself, or a proxy on the way, puts into an answer.
const OF_HTTP: [&str; 9] = [
    "connection",
    "content-length",
    "content-type",
    "date",
    "keep-alive",
    "server",
    "transfer-encoding",
    "via",
    "x-envoy-upstream-service-time",
];

/// Checks that the document has this answer to this method: its status, each header, and the body.
///
/// # Panics
///
/// When it has not; with all that differs.
#[track_caller]
pub(crate) fn assert_documented(
    method: &Method,
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
) {
    let differ = differences(method, status, headers, body);
    assert!(
        differ.is_empty(),
        "docs/openapi.yaml has no such answer to {method}: {status} {headers:?} {}\n{}",
        String::from_utf8_lossy(body),
        differ.join("\n")
    );
}

/// What the document has otherwise, or not at all.
pub(crate) fn differences(
    method: &Method,
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
) -> Vec<String> {
    static DOCUMENT: LazyLock<Document> = LazyLock::new(Document::read);
    DOCUMENT.differences(method, status, headers, body)
}

/// The document's responses by method and status; those to any other method under `_OTHER`.
struct Document(HashMap<(String, u16), Documented>);

struct Documented {
    headers: Vec<Header>,
    body: Option<Validator>,
    may_be_bare: bool,
}

struct Header {
    name: String,
    required: bool,
    schema: Validator,
}

impl Document {
    fn read() -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.yaml");
        let text = std::fs::read_to_string(path).expect("the document is there");
        let root: Value = serde_yaml_ng::from_str(&text).expect("the document is YAML");
        let mut responses = HashMap::new();
        for method in ["POST", "GET", "OPTIONS"] {
            let operation = &root["paths"]["/api/ask2do/token"][method.to_lowercase()];
            for (status, response) in operation["responses"].as_object().expect("responses") {
                let status = status.parse().expect("a status");
                let documented = Documented::read(&root, response);
                responses.insert((method.to_owned(), status), documented);
            }
        }
        // What the description says of all that is not described by itself.
        for (status, name) in [
            (404, "NotFound"),
            (405, "MethodNotAllowed"),
            (431, "HeaderTooLarge"),
        ] {
            let documented = Documented::read(&root, &root["components"]["responses"][name]);
            responses.insert(("_OTHER".to_owned(), status), documented);
        }
        Self(responses)
    }

    fn differences(
        &self,
        method: &Method,
        status: StatusCode,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Vec<String> {
        let described = [Method::POST, Method::GET, Method::OPTIONS].contains(method);
        let of = if described { method.as_str() } else { "_OTHER" };
        let Some(documented) = self.0.get(&(of.to_owned(), status.as_u16())) else {
            return vec!["the status".to_owned()];
        };
        if documented.may_be_bare && body.is_empty() && !headers.contains_key("x-request-id") {
            return Vec::new();
        }
        let mut differ = documented.differing_headers(headers);
        differ.extend(documented.differing_body(headers, body, *method == Method::HEAD));
        differ
    }
}

impl Documented {
    fn read(root: &Value, response: &Value) -> Self {
        let response = resolved(root, response);
        let headers = response["headers"].as_object().expect("headers");
        let headers = headers.iter().map(|(name, header)| {
            let header = resolved(root, header);
            Header {
                name: name.to_lowercase(),
                required: header["required"] == true,
                schema: validator(root, &header["schema"]),
            }
        });
        let content = response.get("content").map(|content| {
            let members = content.as_object().expect("media types");
            assert!(members.keys().eq(["application/json"]), "{content}");
            validator(root, &content["application/json"]["schema"])
        });
        Self {
            headers: headers.collect(),
            body: content,
            may_be_bare: response["x-may-be-bare"] == true,
        }
    }

    fn differing_headers(&self, headers: &HeaderMap) -> Vec<String> {
        let missing = self
            .headers
            .iter()
            .filter(|header| header.required && !headers.contains_key(&header.name))
            .map(|header| format!("{} is missing", header.name));
        let amiss = headers.keys().filter_map(|name| {
            if OF_HTTP.contains(&name.as_str()) {
                return None;
            }
            let Some(header) = self
                .headers
                .iter()
                .find(|header| header.name == name.as_str())
            else {
                return Some(format!("{name} is not documented"));
            };
            let mut values = headers.get_all(name).iter();
            let (Some(value), None) = (values.next(), values.next()) else {
                return Some(format!("{name} is there twice"));
            };
            let text = value.to_str().expect("a header of text");
            // A header's type is its schema's, and a number is written as JSON writes it.
            let value = [Some(json!(text)), text.parse::<u64>().ok().map(Value::from)];
            let valid = value
                .iter()
                .flatten()
                .any(|value| header.schema.is_valid(value));
            (!valid).then(|| format!("{name}: {text}"))
        });
        missing.chain(amiss).collect()
    }

    fn differing_body(&self, headers: &HeaderMap, body: &[u8], head: bool) -> Vec<String> {
        let content_type = headers.get("content-type").map(|value| value.as_bytes());
        let Some(schema) = &self.body else {
            let nothing = body.is_empty() && content_type.is_none();
            return (!nothing)
                .then(|| "a body".to_owned())
                .into_iter()
                .collect();
        };
        if content_type != Some(b"application/json") {
            return vec![format!("the content type {content_type:?}")];
        }
        if head {
            return (!body.is_empty())
                .then(|| "a body to HEAD".to_owned())
                .into_iter()
                .collect();
        }
        match serde_json::from_slice(body) {
            Ok(body) => schema
                .iter_errors(&body)
                .map(|error| error.to_string())
                .collect(),
            Err(error) => vec![error.to_string()],
        }
    }
}

fn resolved<'a>(root: &'a Value, value: &'a Value) -> &'a Value {
    match value["$ref"].as_str() {
        Some(reference) => {
            let pointer = reference.strip_prefix('#').expect("a reference inside");
            root.pointer(pointer).expect("a reference to something")
        }
        None => value,
    }
}

/// A schema of the document, with the components that it refers to.
fn validator(root: &Value, schema: &Value) -> Validator {
    let mut schema = schema.clone();
    schema["components"] = root["components"].clone();
    jsonschema::draft202012::options()
        .should_validate_formats(true)
        .build(&schema)
        .expect("a schema")
}
