//! Variables: `${name}` in texts of a manifest.

use std::collections::BTreeMap;

use crate::document::{Node, Value};
use crate::keys::is_secret;
use crate::problem::Problem;
use nearest::did_you_mean;

/// Longest text after substitution, in bytes: Linux's longest path.
const MAX_TEXT: usize = 4096;

/// Names that have a meaning of their own.
pub(crate) const BUILT_IN: [&str; 4] = ["stem", "n", "server", "name"];

/// The variables of a manifest.
#[derive(Debug, Default)]
pub(crate) struct Vars(BTreeMap<String, String>);

impl Vars {
    /// Those of the table `vars`.
    pub(crate) fn read(node: &Node, problems: &mut Vec<Problem>) -> Self {
        let mut vars = BTreeMap::new();
        let Value::Table(entries) = &node.value else {
            let what = format!("found {}, expected a table of variables", node.value.kind());
            problems.push(node.at.problem("vars", what));
            return Self(vars);
        };
        for (key, value) in entries {
            let path = format!("vars.{}", key.text);
            if !is_name(&key.text) {
                let what =
                    "a name of a variable has letters, digits and _, and begins with no digit";
                problems.push(key.at.problem(&path, what));
                continue;
            }
            if BUILT_IN.contains(&key.text.as_str()) || key.text == "env" {
                let what = "this name has a meaning of its own and cannot be set";
                problems.push(key.at.problem(&path, what));
                continue;
            }
            if is_secret(&key.text) {
                let what = "a manifest holds no secrets";
                let hint = "credentials come from the environment or the configuration file: imgferry config check";
                problems.push(key.at.problem(&path, what).hint(hint));
                continue;
            }
            let text = match &value.value {
                Value::Text(text) | Value::Number(text) => text.clone(),
                Value::Integer(number) => number.to_string(),
                Value::Bool(value) => value.to_string(),
                other => {
                    let what = format!("found {}, expected text", other.kind());
                    problems.push(value.at.problem(&path, what));
                    continue;
                }
            };
            if text.contains("${") {
                let what = "a variable is plain text: it names no other variable";
                problems.push(value.at.problem(&path, what));
                continue;
            }
            vars.insert(key.text.clone(), text);
        }
        Self(vars)
    }

    /// `text` with its variables; `built_in` knows those that the place has.
    pub(crate) fn substitute(
        &self,
        text: &str,
        built_in: &BTreeMap<&'static str, String>,
    ) -> Result<String, (String, Option<String>)> {
        let mut whole = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            whole.push_str(before);
            if let Some(after) = after.strip_prefix('$') {
                whole.push('$');
                rest = after;
            } else if let Some(after) = after.strip_prefix('{') {
                let Some((name, after)) = after.split_once('}') else {
                    return Err(("${ has no }".to_owned(), Some("$$ is a plain $".to_owned())));
                };
                whole.push_str(self.get(name, built_in)?);
                rest = after;
            } else {
                whole.push('$');
                rest = after;
            }
            if whole.len() > MAX_TEXT {
                break;
            }
        }
        whole.push_str(rest);
        if whole.len() > MAX_TEXT {
            let what = format!("the text has more than {MAX_TEXT} bytes after substitution");
            return Err((what, None));
        }
        Ok(whole)
    }

    fn get<'a>(
        &'a self,
        name: &str,
        built_in: &'a BTreeMap<&'static str, String>,
    ) -> Result<&'a str, (String, Option<String>)> {
        let found = self.0.get(name).or_else(|| built_in.get(name));
        if let Some(text) = found {
            return Ok(text);
        }
        if name.starts_with("env.") {
            let hint = "a manifest means the same on every machine; put the value under vars:";
            return Err((
                "the environment is not read".to_owned(),
                Some(hint.to_owned()),
            ));
        }
        if BUILT_IN.contains(&name) {
            return Err((format!("${{{name}}} is not known here"), None));
        }
        let known = self.0.keys().map(String::as_str);
        let near = did_you_mean(name, known.chain(built_in.keys().copied()));
        Err((format!("there is no variable {name:?}{near}"), None))
    }
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vars() -> Vars {
        Vars([("site".to_owned(), "par1".to_owned())].into())
    }

    #[test]
    fn variables_are_put_in_and_dollars_escape() {
        let built_in = [("stem", "web01".to_owned())].into();
        let put = |text: &str| vars().substitute(text, &built_in);
        assert_eq!(put("${site}-${stem}").unwrap(), "par1-web01");
        assert_eq!(put("$${site} $5 $").unwrap(), "${site} $5 $");
        assert_eq!(put("plain").unwrap(), "plain");
        assert!(put("${site").unwrap_err().0.contains("has no }"));
        assert!(
            put("${siet}")
                .unwrap_err()
                .0
                .contains("did you mean \"site\"")
        );
        assert!(put("${env.HOME}").unwrap_err().0.contains("environment"));
        assert!(put("${n}").unwrap_err().0.contains("not known here"));
    }

    #[test]
    fn what_is_put_in_is_not_looked_at_again_and_does_not_grow_without_end() {
        let vars = Vars([("a".to_owned(), "x".repeat(1000))].into());
        let built_in = BTreeMap::new();
        assert!(vars.substitute(&"${a}".repeat(4), &built_in).is_ok());
        assert!(vars.substitute(&"${a}".repeat(100_000), &built_in).is_err());
    }
}
