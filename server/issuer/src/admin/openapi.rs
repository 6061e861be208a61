//! The OpenAPI description of the admin API, made from its table of routes and the types that it answers with.

use daypass_proto::authorization::HttpMethod;
use schemars::{SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::route::{ROUTES, Route, Shape};

/// Where the schemas of named types stand.
const SCHEMAS: &str = "/components/schemas";

/// The description, OpenAPI 3.1.
pub fn description() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.definitions_path = SCHEMAS.into());
    let mut generator = settings.for_serialize().into_generator();
    let mut paths: Map<String, Value> = Map::new();
    for route in &ROUTES {
        let operation = operation(route, &mut generator);
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        if let Some(path) = path.as_object_mut() {
            path.insert(verb(route.method).to_owned(), operation);
        }
    }
    let refusal = json!({
        "type": "object",
        "required": ["error", "error_description", "daypass_reason", "daypass_next_step"],
        "properties": {
            "error": {"type": "string"},
            "error_description": {"type": "string", "description": "what was refused and why"},
            "daypass_reason": {"type": "string", "description": "the cause, docs/wire.md section 4"},
            "daypass_next_step": {"type": "string", "description": "what to do about it"},
        },
    });
    let mut schemas = generator.take_definitions(true);
    schemas.insert("Refusal".to_owned(), refusal);
    let mut description = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Daypass: the issuer's admin API",
            "version": "1",
            "description": "On the issuer's mTLS listener, for approved devices of owners and administrators. A token for this resource \
                comes from the token endpoint; each request carries it with a DPoP proof (RFC 9449).",
        },
        "security": [{"mutualTLS": [], "dpop": []}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "mutualTLS": {"type": "mutualTLS", "description": "the device's certificate"},
                "dpop": {"type": "http", "scheme": "DPoP", "description": "RFC 9449, with a token for the origin of this listener"},
            },
        },
    });
    // The same text in every build: a library may keep the order in which members came.
    description.sort_all_objects();
    description
}

const fn verb(method: HttpMethod) -> &'static str {
    match method {
        HttpMethod::Get => "get",
        HttpMethod::Head => "head",
        HttpMethod::Options => "options",
        HttpMethod::Post => "post",
        HttpMethod::Put => "put",
        HttpMethod::Patch => "patch",
        HttpMethod::Delete => "delete",
    }
}

fn operation(route: &Route, generator: &mut SchemaGenerator) -> Value {
    let in_path = route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let in_path =
        in_path.map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}));
    let in_query = route.query.iter().map(
        |(name, meaning)| json!({"name": name, "in": "query", "description": meaning, "schema": {"type": "string"}}),
    );
    let parameters: Vec<Value> = in_path.chain(in_query).collect();
    let content =
        |shape: Shape, generator: &mut SchemaGenerator| json!({"application/json": {"schema": shape(generator)}});
    let refused = json!({
        "description": "refused",
        "content": {"application/json": {"schema": {"$ref": format!("#{SCHEMAS}/Refusal")}}},
    });
    let mut operation = json!({
        "operationId": route.operation.name(),
        "summary": route.summary,
        "parameters": parameters,
        "responses": {
            "200": {"description": "done", "content": content(route.answer, generator)},
            "4XX": refused, "5XX": refused,
        },
    });
    if let (Some(request), Some(operation)) = (route.request, operation.as_object_mut()) {
        operation.insert("requestBody".to_owned(), json!({"required": true, "content": content(request, generator)}));
    }
    operation
}
