//! Addresses of services as people write them: consoles and manuals list host names.

use url::Url;

use crate::http::is_loopback;

/// The address of a service. A host without a scheme is reached with https; on this machine nobody
/// knows, and it is refused.
///
/// # Errors
/// What is wrong, and what to write instead.
pub fn parse(text: &str) -> Result<Url, String> {
    let text = text.trim();
    let has_scheme = text.contains("://") || {
        let lower = text.to_ascii_lowercase();
        lower.starts_with("http:/") || lower.starts_with("https:/")
    };
    let bare = text.trim_start_matches('/').trim_end_matches('/');
    let full = match has_scheme {
        true => text.to_owned(),
        false => format!("https://{bare}"),
    };
    let mut url = Url::parse(&full).map_err(|error| {
        // Not repeated: there may be a password in it.
        let example = "expected an address such as https://obs.eu-de.otc.t-systems.com";
        format!("{error}; {example}")
    })?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!(
            "the scheme is {}, expected https{}",
            url.scheme(),
            match url.host_str() {
                Some(host) if !host.is_empty() => format!(": write https://{host}"),
                _ => String::new(),
            }
        ));
    }
    // From here on it is repeated, without a user and a password.
    let bare = bare.rsplit_once('@').map_or(bare, |(_, host)| host);
    if url.path().bytes().all(|byte| byte == b'/') {
        url.set_path("");
    }
    let is_word = url
        .host_str()
        .is_some_and(|host| !host.contains(['.', ':']) && host != "localhost");
    if !has_scheme && is_word && url.port().is_none() {
        return Err(format!(
            "{bare:?} has neither a domain nor a port; write https://{bare} if it is a host"
        ));
    }
    if !has_scheme && is_loopback(&url) {
        return Err(format!(
            "{bare} is on this machine, with TLS or without: write http://{bare} or https://{bare}"
        ));
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_without_a_scheme_is_reached_with_https() {
        for (text, expected) in [
            (
                "obs.eu-de.otc.t-systems.com",
                "https://obs.eu-de.otc.t-systems.com/",
            ),
            ("obs.example.com:8443", "https://obs.example.com:8443/"),
            (" OBS.Example.COM/ \n", "https://obs.example.com/"),
            ("//obs.example.com", "https://obs.example.com/"),
            ("obs.example.com:443", "https://obs.example.com/"),
            ("gw.example.com/cloud", "https://gw.example.com/cloud"),
            ("10.1.2.3:9000", "https://10.1.2.3:9000/"),
            ("[2001:db8::1]:9000", "https://[2001:db8::1]:9000/"),
            ("storage:9000", "https://storage:9000/"),
            ("https://obs.example.com", "https://obs.example.com/"),
            ("HTTPS://obs.example.com//", "https://obs.example.com/"),
            ("http://127.0.0.1:9000", "http://127.0.0.1:9000/"),
            ("http://localhost:9000/", "http://localhost:9000/"),
        ] {
            assert_eq!(
                parse(text).map(String::from).as_deref(),
                Ok(expected),
                "{text}"
            );
        }
    }

    #[test]
    fn what_cannot_be_told_is_refused_with_what_to_write() {
        for (text, told) in [
            (
                "localhost:9000",
                "http://localhost:9000 or https://localhost:9000",
            ),
            ("127.0.0.1:1/", "http://127.0.0.1:1 or https://127.0.0.1:1"),
            ("[::1]:9000", "http://[::1]:9000"),
            ("storage", "https://storage"),
            ("localhost", "http://localhost"),
            ("ftp://obs.example.com/", "https://obs.example.com"),
            ("obs://images/key", "expected https"),
            ("", "https://obs.eu-de"),
            ("obs example com", "https://obs.eu-de"),
            ("::1", "https://obs.eu-de"),
            ("host:99999", "https://obs.eu-de"),
            ("https://", "https://obs.eu-de"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(told), "{text}: {error}");
        }
    }

    #[test]
    fn a_password_is_repeated_in_no_error() {
        for text in [
            "me:hunter2@host:99999",
            "me:hunter2@storage",
            "me:hunter2@localhost:9000",
            "ftp://me:hunter2@obs.example.com",
        ] {
            let error = parse(text).unwrap_err();
            assert!(!error.contains("hunter2"), "{text}: {error}");
        }
    }
}
