//! Fields of JSON whose types differ between regions and releases, and what a value must look like.

use serde_json::Value;

/// A field as text: a string that is not blank, or a number or truth value written out.
pub(crate) fn text(object: &Value, name: &str) -> Option<String> {
    match object.get(name)? {
        Value::String(text) if text.trim().is_empty() => None,
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        _ => None,
    }
}

/// A finite number, also one written as text.
pub(crate) fn number(object: &Value, name: &str) -> Option<f64> {
    match object.get(name)? {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().trim_end_matches('%').parse().ok(),
        _ => None,
    }
    .filter(|number: &f64| number.is_finite())
}

/// A number from 0 to 2^64 - 1, also one written as text.
pub(crate) fn integer(object: &Value, name: &str) -> Option<u64> {
    match object.get(name)? {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// A truth value, also as text in any case.
pub(crate) fn truth(object: &Value, name: &str) -> Option<bool> {
    match object.get(name)? {
        Value::Bool(truth) => Some(*truth),
        Value::String(text) if text.eq_ignore_ascii_case("true") => Some(true),
        Value::String(text) if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

/// The elements of an array; none when the field is something else.
pub(crate) fn list<'a>(object: &'a Value, name: &str) -> &'a [Value] {
    object
        .get(name)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// A region becomes part of host names, so it may hold nothing else.
pub(crate) fn is_host_label(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}
