//! What an error answer says, whatever shape it has.
//!
//! Shapes, in the order in which the services' SDKs look for them: `error_code` and `error_msg`,
//! `errorCode` and `errorMsg`, `code` and `message`; at the top, then inside each nested object.

use net::mask::mask;
use net::secret::SecretString;
use serde_json::Value;

/// Longest text of a server that is shown, in characters. Ours: messages have one sentence.
const MAX_MESSAGE: usize = 500;

/// Longest canonical request that is shown, in characters. Ours: methods, path and a handful of
/// headers; a session token among them is masked before.
const MAX_CANONICAL: usize = 4000;

/// Longest code that is taken for one, in characters.
const MAX_CODE: usize = 64;

/// Deepest nesting that is searched. The services nest once.
const MAX_DEPTH: u32 = 3;

/// Code and text of an error answer, fit for showing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Complaint {
    /// Code, such as `IMG.0009` or `401`.
    pub(crate) code: Option<String>,
    /// Text; empty when there is none.
    pub(crate) message: String,
    /// The canonical request that the gateway computed, one part per line.
    pub(crate) canonical_request: Option<String>,
}

/// Reads the body of an error answer; `secrets` are masked in it.
pub(crate) fn complaint(body: &[u8], secrets: &[SecretString]) -> Complaint {
    let text = mask(&String::from_utf8_lossy(body), secrets);
    let Ok(value) = serde_json::from_slice::<Value>(body) else {
        return Complaint {
            message: tidy(&strip_markup(&text), MAX_MESSAGE),
            ..Complaint::default()
        };
    };
    let (code, message) = find(&value).unwrap_or((None, Some(text)));
    // A number as code is the HTTP status again, in IAM's shape; it is kept all the same.
    let code = code
        .map(|code| {
            code.chars()
                .filter(|c| !c.is_whitespace())
                .collect::<String>()
        })
        .filter(|code| !code.is_empty() && code.len() <= MAX_CODE && code.is_ascii())
        .map(|code| tidy(&mask(&code, secrets), MAX_CODE));
    let message = mask(&message.unwrap_or_default(), secrets);
    match message.split_once("canonicalRequest:") {
        Some((message, canonical)) => Complaint {
            code,
            message: tidy(message.trim_end_matches([',', ' ']), MAX_MESSAGE),
            canonical_request: Some(tidy_lines(canonical)),
        },
        None => Complaint {
            code,
            message: tidy(&message, MAX_MESSAGE),
            canonical_request: None,
        },
    }
}

/// One line without control characters, of at most `limit` characters, without a final period.
pub(crate) fn tidy(text: &str, limit: usize) -> String {
    let words: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let mut line = String::new();
    for word in words.split_whitespace() {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    if line.chars().count() > limit {
        line = line.chars().take(limit).collect();
        line.push('…');
    }
    line.trim_end_matches('.').to_owned()
}

/// Gateways write line ends as `|`.
fn tidy_lines(canonical: &str) -> String {
    let lines: Vec<String> = canonical
        .chars()
        .take(MAX_CANONICAL)
        .collect::<String>()
        .split(['|', '\n'])
        .map(|line| tidy(line, MAX_CANONICAL))
        .collect();
    lines.join("\n").trim_end().to_owned()
}

type Found = (Option<String>, Option<String>);

/// Pairs first, at every level, as the SDKs do; then a lone code or text.
fn find(value: &Value) -> Option<Found> {
    search(value, MAX_DEPTH, true).or_else(|| search(value, MAX_DEPTH, false))
}

fn search(value: &Value, depth: u32, whole: bool) -> Option<Found> {
    const SHAPES: [(&str, &str); 3] = [
        ("error_code", "error_msg"),
        ("errorCode", "errorMsg"),
        ("code", "message"),
    ];
    for (code, message) in SHAPES {
        let found = (
            crate::value::text(value, code),
            crate::value::text(value, message),
        );
        match &found {
            (Some(_), Some(_)) => return Some(found),
            (Some(_), None) | (None, Some(_)) if !whole => return Some(found),
            _ => {}
        }
    }
    let depth = depth.checked_sub(1)?;
    value
        .as_object()?
        .values()
        .filter(|inner| inner.is_object())
        .find_map(|inner| search(inner, depth, whole))
}

/// Text of an HTML page: its title, else what stands between the tags.
fn strip_markup(text: &str) -> String {
    if !text.trim_start().starts_with('<') {
        return text.to_owned();
    }
    // ASCII lower case keeps every byte offset.
    let lower = text.to_ascii_lowercase();
    let title = lower.find("<title>").and_then(|open| {
        let start = open + "<title>".len();
        let end = lower.get(start..)?.find('<')?.checked_add(start)?;
        text.get(start..end)
    });
    if let Some(title) = title.filter(|title| !title.trim().is_empty()) {
        return title.to_owned();
    }
    let mut plain = String::new();
    let mut inside = false;
    for c in text.chars() {
        match c {
            '<' => inside = true,
            '>' => {
                inside = false;
                plain.push(' ');
            }
            c if !inside => plain.push(c),
            _ => {}
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> (Option<String>, String) {
        let complaint = complaint(body.as_bytes(), &[]);
        (complaint.code, complaint.message)
    }

    fn says(code: &str, message: &str) -> (Option<String>, String) {
        (Some(code.to_owned()), message.to_owned())
    }

    #[test]
    fn all_shapes_of_errors_are_read() {
        for (body, code, message) in [
            // Image Management Service API Reference, section "Response" of "Calling APIs".
            (
                r#"{"error_msg": "The request message format is invalid.", "error_code": "IMG.0001"}"#,
                "IMG.0001",
                "The request message format is invalid",
            ),
            // The same, appendix "Error Codes".
            (
                r#"{"error": {"message": "The imagetype is invalid.", "code": "IMG.0024"}}"#,
                "IMG.0024",
                "The imagetype is invalid",
            ),
            // Identity and Access Management.
            (
                r#"{"error":{"code":401,"message":"The username or password is wrong.","title":"Unauthorized"}}"#,
                "401",
                "The username or password is wrong",
            ),
            // Gateway.
            (
                r#"{"error_code":"APIGW.0101","error_msg":"API not exist","request_id":"r"}"#,
                "APIGW.0101",
                "API not exist",
            ),
            (r#"{"errorCode":"A.1","errorMsg":"m"}"#, "A.1", "m"),
            (r#"{"code":"B.2","message":"m"}"#, "B.2", "m"),
            // Some documents print a space inside.
            (
                r#"{"error":{"code":"IMG.00 55","message":"m"}}"#,
                "IMG.0055",
                "m",
            ),
        ] {
            assert_eq!(read(body), says(code, message), "{body}");
        }
    }

    #[test]
    fn the_order_of_shapes_is_that_of_the_sdks() {
        let body = r#"{"code":"third","message":"c","errorCode":"second","errorMsg":"b","error_code":"first","error_msg":"a"}"#;
        assert_eq!(read(body), says("first", "a"));
        let body =
            r#"{"error":{"error_code":"inner","error_msg":"x"},"code":"outer","message":"y"}"#;
        assert_eq!(read(body), says("outer", "y"));
        let body = r#"{"code":"half","error":{"code":"whole","message":"y"}}"#;
        assert_eq!(read(body), says("whole", "y"));
    }

    #[test]
    fn half_an_error_is_better_than_none() {
        assert_eq!(read(r#"{"error_msg":"m"}"#), (None, "m".into()));
        assert_eq!(read(r#"{"error_code":"X.1"}"#), says("X.1", ""));
        assert_eq!(read(r#"["a"]"#), (None, r#"["a"]"#.into()));
        assert_eq!(read(""), (None, String::new()));
        assert_eq!(read("null"), (None, "null".into()));
    }

    #[test]
    fn pages_of_gateways_become_one_short_line() {
        let page =
            "<html>\r\n<head><TITLE>502 Bad\n Gateway</TITLE></head><body>long text</body></html>";
        assert_eq!(read(page).1, "502 Bad Gateway");
        assert_eq!(read("<p>down</p><p>sorry</p>").1, "down sorry");
        let long = format!("<title>{}</title>", "x".repeat(100_000));
        assert_eq!(read(&long).1.chars().count(), MAX_MESSAGE + 1);
        assert_eq!(read("\u{1b}[31mred\u{7}").1, "[31mred");
    }

    #[test]
    fn the_gateways_canonical_request_is_kept_apart_in_lines() {
        let body = r#"{"error_msg":"Incorrect IAM authentication information: verify aksk signature fail,canonicalRequest:PUT|/v2/x/||host:h|x-security-token:tok-12345||host|abc","error_code":"APIGW.0301"}"#;
        let complaint = complaint(body.as_bytes(), &["tok-12345".into()]);
        assert_eq!(
            complaint.message,
            "Incorrect IAM authentication information: verify aksk signature fail"
        );
        assert_eq!(
            complaint.canonical_request.as_deref(),
            Some("PUT\n/v2/x/\n\nhost:h\nx-security-token:***\n\nhost\nabc")
        );
    }

    #[test]
    fn secrets_are_masked_wherever_the_server_repeats_them() {
        let secrets: Vec<SecretString> = vec!["hunter2-pass".into(), "a".into()];
        for body in [
            r#"{"error":{"code":"hunter2-pass","message":"wrong: hunter2-pass"}}"#,
            "wrong: hunter2-pass",
            "<title>hunter2-pass</title>",
            r#"{"unknown":"hunter2-pass"}"#,
            r#"{"error":{"code":"X","message":"wrong: hunter2\u002dpass"}}"#,
        ] {
            let text = format!("{:?}", complaint(body.as_bytes(), &secrets));
            assert!(!text.contains("hunter2"), "{text}");
            assert!(text.contains("***"), "{text}");
        }
    }

    #[test]
    fn deeply_nested_answers_end_the_search() {
        let deep = format!("{}1{}", r#"{"a":"#.repeat(100), "}".repeat(100));
        assert_eq!(read(&deep).0, None);
        let bomb = "[".repeat(1_000_000);
        assert_eq!(read(&bomb).0, None);
    }
}
