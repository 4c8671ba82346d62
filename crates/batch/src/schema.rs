//! The JSON schema of manifests, written from the table by which they are read.

use serde_json::{Map, Value, json};

use crate::expand::MAX_ITEMS;
use crate::item::Level;
use crate::keys::{self, Form, Spec};

/// A text with a variable may become any scalar.
const VARIABLE: &str = r"\$\{[A-Za-z_][A-Za-z0-9_]*\}";

/// The schema as JSON Schema, draft 2020-12.
#[must_use]
pub fn schema() -> Value {
    // One schema for the text and the table, not one of two: so errors name the key that is wrong.
    let disk = |left_out: &[&str]| {
        let mut disk = table(&keys::item_without(left_out));
        if let Some(object) = disk.as_object_mut() {
            object.insert("type".into(), json!(["object", "string"]));
            object.insert("required".into(), json!(["source"]));
        }
        disk
    };
    let mut server = table(&keys::item_without(keys::NOT_IN_SERVER));
    if let Some(object) = server.as_object_mut() {
        object.insert("required".into(), json!(["name", "system"]));
        if let Some(Value::Object(properties)) = object.get_mut("properties") {
            properties.insert(
                "name".into(),
                json!({"type": "string", "description": "Name of the server, of its group, and of the image of its system disk"}),
            );
            properties.insert("system".into(), json!({"$ref": "#/$defs/disk"}));
            properties.insert(
                "data".into(),
                json!({
                    "description": "The data disks; their images are named SERVER-data1 and so on",
                    "type": "array", "items": {"$ref": "#/$defs/disk"}
                }),
            );
        }
    }
    let limits: Vec<_> = keys::LIMITS.iter().collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Batch of disks for imgferry",
        "description": "Manifest of imgferry batch: YAML, TOML or JSON. Text may contain ${variables}.",
        "type": "object",
        "additionalProperties": false,
        "anyOf": [{"required": ["images"]}, {"required": ["servers"]}],
        "properties": {
            "version": {"description": "Version of the manifest format", "const": 1},
            "vars": {
                "description": "Variables for texts: ${name}. Built in are ${stem} (the file name without extension), ${n} (the number of a file that a pattern matches), ${server} and ${name}",
                "type": ["object", "null"],
                "propertyNames": {"pattern": "^[A-Za-z_][A-Za-z0-9_]*$", "not": {"enum": built_in()}},
                "additionalProperties": {"type": ["string", "number", "boolean"]}
            },
            "defaults": {"description": "Defaults for all disks", "$ref": "#/$defs/defaults"},
            "limits": {"description": "Limits of the whole batch", "$ref": "#/$defs/limits"},
            "images": {
                "description": "Disks; each of them becomes an image",
                "type": ["array", "null"], "maxItems": MAX_ITEMS, "items": {"$ref": "#/$defs/image"}
            },
            "servers": {
                "description": "Servers with their system and data disks",
                "type": ["array", "null"], "maxItems": MAX_ITEMS, "items": {"$ref": "#/$defs/server"}
            }
        },
        "$defs": {
            "image": disk(&[]),
            "disk": disk(keys::NOT_IN_DISK),
            "server": server,
            "defaults": table(&keys::item_without(keys::NOT_IN_DEFAULTS)),
            "limits": table(&limits),
        }
    })
}

/// The schema as text, as it is published.
#[must_use]
pub fn text() -> String {
    format!("{:#}\n", schema())
}

fn built_in() -> Vec<&'static str> {
    let mut names = crate::vars::BUILT_IN.to_vec();
    names.push("env");
    names
}

fn table(specs: &[&Spec]) -> Value {
    let properties: Map<String, Value> = specs
        .iter()
        .map(|spec| (spec.key.to_owned(), property(spec)))
        .collect();
    json!({"type": ["object", "null"], "additionalProperties": false, "properties": properties})
}

fn property(spec: &Spec) -> Value {
    let mut property = match spec.form {
        Form::Text => json!({"type": ["string", "null"]}),
        Form::Words(words) => {
            let mut words: Vec<Value> = words.iter().map(|word| json!(word)).collect();
            words.push(Value::Null);
            json!({"anyOf": [{"enum": words}, {"type": "string", "pattern": VARIABLE}]})
        }
        Form::Integer { least, most } => json!({
            "type": ["integer", "string", "null"], "minimum": least, "maximum": most, "pattern": VARIABLE
        }),
        Form::Level => json!({"anyOf": [
            {"type": ["integer", "null"], "minimum": zvhd2::MIN_LEVEL, "maximum": zvhd2::MAX_LEVEL},
            {"enum": [Level::AUTO]},
            {"type": "string", "pattern": VARIABLE}
        ]}),
        Form::Switch => json!({"type": ["boolean", "string", "null"], "pattern": VARIABLE}),
        Form::Member => json!({"type": ["integer", "string", "null"], "minimum": 1}),
        Form::Table => {
            json!({"type": ["object", "null"], "additionalProperties": {"type": "string"}})
        }
        Form::Texts => json!({"type": ["array", "null"], "items": {"type": "string"}}),
        Form::Size | Form::Rate => json!({"type": ["integer", "string", "null"], "minimum": 1}),
    };
    if let Some(object) = property.as_object_mut() {
        object.insert("description".into(), json!(spec.help));
    }
    property
}
