//! URIs of exports, as the NBD URI specification spells them.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt as _;
use std::str::FromStr;

use diskimg::printable;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::limits::MAX_STRING;

/// The port that IANA has assigned to NBD.
pub const DEFAULT_PORT: u16 = 10809;

/// What a path and a query may hold as it is.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/');

/// The export that a URI names, and the way there.
///
/// Its `Display` is for messages and journals: what follows a question mark in the name of an
/// export, where XenServer has the number of a session, is hidden.
#[derive(Clone, PartialEq, Eq)]
pub struct NbdUri {
    /// Where the server listens.
    pub address: Address,
    /// The export's name; empty for the server's default.
    pub export: String,
    /// Whether the connection must be encrypted.
    pub tls: bool,
    /// The name that the server's certificate must be for, when it is not the host.
    pub tls_hostname: Option<String>,
}

/// Where a server listens.
#[derive(Clone, PartialEq, Eq)]
pub enum Address {
    /// A name or an IP address without brackets, and a port.
    Tcp(String, u16),
    /// Name of a Unix socket; one that begins with NUL is abstract.
    Unix(Vec<u8>),
}

impl NbdUri {
    /// Whether `text` has a scheme of NBD: what follows may still be wrong.
    #[must_use]
    pub fn claims(text: &OsStr) -> bool {
        let bytes = text.as_bytes();
        ["nbd:", "nbds:", "nbd+unix:", "nbds+unix:"]
            .iter()
            .any(|scheme| {
                bytes
                    .get(..scheme.len())
                    .is_some_and(|start| start.eq_ignore_ascii_case(scheme.as_bytes()))
                    && bytes
                        .get(scheme.len()..)
                        .is_some_and(|rest| rest.starts_with(b"//"))
            })
    }

    /// The name that the server's certificate must be for.
    #[must_use]
    pub fn certificate_name(&self) -> Option<&str> {
        match (&self.tls_hostname, &self.address) {
            (Some(name), _) => Some(name),
            (None, Address::Tcp(host, _)) => Some(host),
            (None, Address::Unix(_)) => None,
        }
    }

    fn scheme(&self) -> &'static str {
        match (&self.address, self.tls) {
            (Address::Tcp(..), false) => "nbd",
            (Address::Tcp(..), true) => "nbds",
            (Address::Unix(_), false) => "nbd+unix",
            (Address::Unix(_), true) => "nbds+unix",
        }
    }
}

impl FromStr for NbdUri {
    type Err = String;

    /// The messages repeat nothing of the URI that could be secret.
    fn from_str(text: &str) -> Result<Self, String> {
        let (scheme, rest) = text
            .split_once("://")
            .ok_or("an NBD URI begins with nbd://, nbds://, nbd+unix:// or nbds+unix://")?;
        let (tls, unix) = match scheme.to_ascii_lowercase().as_str() {
            "nbd" => (false, false),
            "nbds" => (true, false),
            "nbd+unix" => (false, true),
            "nbds+unix" => (true, true),
            _ => return Err("its scheme is not nbd, nbds, nbd+unix or nbds+unix".into()),
        };
        if rest.contains('#') {
            return Err("it has a fragment (#…), which no NBD URI has; write %23 for #".into());
        }
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let export = decoded_text(path, "the name of the export")?;
        if export.len() > MAX_STRING {
            return Err(format!(
                "the name of the export has {} bytes, at most {MAX_STRING} are allowed",
                export.len()
            ));
        }
        let query = Query::parse(query)?;
        let address = match (unix, query.socket) {
            (true, Some(socket)) => unix_address(authority, socket)?,
            (true, None) => return Err("the query has no socket=PATH".into()),
            (false, Some(_)) => {
                return Err("socket=PATH belongs to nbd+unix:// and nbds+unix://".into());
            }
            (false, None) => tcp_address(authority)?,
        };
        if !tls && query.tls {
            return Err("options of TLS belong to nbds:// and nbds+unix://".into());
        }
        Ok(Self {
            address,
            export,
            tls,
            tls_hostname: query.tls_hostname,
        })
    }
}

/// What the query says.
#[derive(Default)]
struct Query {
    socket: Option<Vec<u8>>,
    tls_hostname: Option<String>,
    /// Whether anything is said of TLS.
    tls: bool,
}

impl Query {
    fn parse(query: &str) -> Result<Self, String> {
        let mut found = Self::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            match key {
                "socket" if found.socket.is_some() => return Err("it has two sockets".into()),
                "socket" => found.socket = Some(decoded(value)?),
                "tls-hostname" => {
                    found.tls = true;
                    found.tls_hostname = Some(decoded_text(value, "tls-hostname")?);
                }
                "tls-type" => {
                    found.tls = true;
                    if value != "x509" {
                        return Err("tls-type must be x509: other kinds are not supported".into());
                    }
                }
                "tls-verify-peer" => {
                    found.tls = true;
                    if value != "1" {
                        return Err("tls-verify-peer must be 1: the server's certificate is \
                                    always verified"
                            .into());
                    }
                }
                _ => {
                    return Err(
                        "the query has a key that is not supported; known are socket, \
                                tls-hostname, tls-type and tls-verify-peer"
                            .into(),
                    );
                }
            }
        }
        Ok(found)
    }
}

fn unix_address(authority: &str, socket: Vec<u8>) -> Result<Address, String> {
    if !authority.is_empty() {
        return Err(
            "a URI of a Unix socket has no host: write nbd+unix:///EXPORT?socket=PATH".into(),
        );
    }
    let path = socket.strip_prefix(b"\0").unwrap_or(&socket);
    if path.is_empty() || path.contains(&0) {
        return Err("socket=PATH has no path".into());
    }
    Ok(Address::Unix(socket))
}

fn tcp_address(authority: &str) -> Result<Address, String> {
    if authority.contains('@') {
        return Err(
            "it has a user name (…@), which is for TLS with shared keys; that is not \
                    supported"
                .into(),
        );
    }
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or("the bracket is not closed")?;
            if host.parse::<std::net::Ipv6Addr>().is_err() {
                return Err("there is no IPv6 address between the brackets".into());
            }
            let port = match port {
                "" => "",
                port => port
                    .strip_prefix(':')
                    .ok_or("the bracket is followed by no port")?,
            };
            (host.to_owned(), port)
        }
        None => {
            let (host, port) = authority.split_once(':').unwrap_or((authority, ""));
            if port.contains(':') {
                return Err("an IPv6 address stands in brackets: nbd://[::1]/EXPORT".into());
            }
            (decoded_text(host, "the host")?, port)
        }
    };
    if host.is_empty() {
        return Err("it has no host: write nbd://HOST[:PORT]/EXPORT".into());
    }
    let port = match port {
        "" => DEFAULT_PORT,
        digits if digits.bytes().all(|b| b.is_ascii_digit()) => digits
            .parse()
            .ok()
            .filter(|port| *port > 0)
            .ok_or("the port is not between 1 and 65535")?,
        _ => return Err("the port is no number".into()),
    };
    Ok(Address::Tcp(host, port))
}

fn decoded(text: &str) -> Result<Vec<u8>, String> {
    let mut rest = text;
    while let Some((_, after)) = rest.split_once('%') {
        let digits = after.as_bytes().get(..2).unwrap_or_default();
        if digits.len() < 2 || !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err("a % is not followed by two hexadecimal digits; write %25 for %".into());
        }
        rest = after;
    }
    Ok(percent_decode_str(text).collect())
}

fn decoded_text(text: &str, what: &str) -> Result<String, String> {
    let text = String::from_utf8(decoded(text)?).map_err(|_| format!("{what} is not UTF-8"))?;
    if text.contains('\0') {
        return Err(format!("{what} contains NUL"));
    }
    Ok(text)
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp(host, port) => write!(f, "{}:{port}", escaped(host)),
            Self::Unix(path) => match path.strip_prefix(b"\0") {
                Some(name) => write!(f, "@{}", printable(&String::from_utf8_lossy(name))),
                None => f.write_str(&printable(&String::from_utf8_lossy(path))),
            },
        }
    }
}

fn escaped(text: &str) -> percent_encoding::PercentEncode<'_> {
    utf8_percent_encode(text, ESCAPED)
}

impl fmt::Display for NbdUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.scheme())?;
        if let Address::Tcp(host, port) = &self.address {
            match host.contains(':') {
                true => write!(f, "[{host}]")?,
                false => write!(f, "{}", escaped(host))?,
            }
            if *port != DEFAULT_PORT {
                write!(f, ":{port}")?;
            }
        }
        match self.export.split_once('?') {
            Some((name, _)) => write!(f, "/{}%3F***", escaped(name))?,
            None => write!(f, "/{}", escaped(&self.export))?,
        }
        if let Address::Unix(path) = &self.address {
            let path = percent_encoding::percent_encode(path, ESCAPED);
            write!(f, "?socket={path}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for NbdUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16) -> Address {
        Address::Tcp(host.to_owned(), port)
    }

    #[test]
    fn uris_are_read_as_the_specification_spells_them() {
        let unix = |path: &[u8]| Address::Unix(path.to_vec());
        for (text, address, export, shown) in [
            (
                "nbd://example.com/disk",
                tcp("example.com", 10809),
                "disk",
                "",
            ),
            ("nbd://example.com/", tcp("example.com", 10809), "", ""),
            (
                "nbd://example.com",
                tcp("example.com", 10809),
                "",
                "nbd://example.com/",
            ),
            (
                "nbd://example.com//disk",
                tcp("example.com", 10809),
                "/disk",
                "",
            ),
            ("nbd://h:99/hello%20world", tcp("h", 99), "hello world", ""),
            ("nbd://[::1]:99/a/b", tcp("::1", 99), "a/b", ""),
            (
                "NBDS://[fe80::1]",
                tcp("fe80::1", 10809),
                "",
                "nbds://[fe80::1]/",
            ),
            ("nbd+unix:///disk?socket=sock", unix(b"sock"), "disk", ""),
            (
                "nbds+unix:///?socket=/run/a%20b&tls-hostname=h",
                unix(b"/run/a b"),
                "",
                "nbds+unix:///?socket=/run/a%20b",
            ),
            (
                "nbd+unix:///?socket=%00/abstract",
                unix(b"\0/abstract"),
                "",
                "",
            ),
            (
                "nbd://xen/%2Fuuid%3Fsession_id%3DOpaqueRef:9f",
                tcp("xen", 10809),
                "/uuid?session_id=OpaqueRef:9f",
                "nbd://xen//uuid%3F***",
            ),
        ] {
            let uri: NbdUri = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
            assert!(NbdUri::claims(OsStr::new(text)), "{text}");
            assert!(uri.address == address, "{text}: {}", uri.address);
            assert_eq!(uri.export, export, "{text}");
            assert_eq!(uri.to_string(), if shown.is_empty() { text } else { shown });
        }
        let named = "nbds+unix:///?socket=s&tls-hostname=web"
            .parse::<NbdUri>()
            .unwrap();
        assert_eq!(named.certificate_name(), Some("web"));
        assert!(named.tls);
    }

    #[test]
    fn what_is_wrong_with_a_uri_is_said_without_repeating_it() {
        for (text, words) in [
            ("http://h/d", "scheme"),
            ("nbd:///d", "no host"),
            ("nbd://secret@h/d", "user name"),
            ("nbd://h:0/", "port"),
            ("nbd://h:70000/", "port"),
            ("nbd://h:+1/", "port"),
            ("nbd://::1/", "brackets"),
            ("nbd://[::1/", "bracket"),
            ("nbd://[h]/", "IPv6"),
            ("nbd://h/%zz", "hexadecimal"),
            ("nbd://h/%", "hexadecimal"),
            ("nbd://h/%ff", "UTF-8"),
            ("nbd://h/%00", "NUL"),
            ("nbd://h/d#secret", "fragment"),
            ("nbd://h/d?socket=s", "nbd+unix"),
            ("nbd://h/d?secret=1", "not supported"),
            ("nbd://h/d?tls-hostname=h", "nbds://"),
            ("nbds://h/d?tls-type=psk", "x509"),
            ("nbds://h/d?tls-verify-peer=0", "always verified"),
            ("nbd+unix:///d", "socket=PATH"),
            ("nbd+unix://h/d?socket=s", "no host"),
            ("nbd+unix:///d?socket=", "no path"),
            ("nbd+unix:///d?socket=a&socket=b", "two sockets"),
        ] {
            let error = text.parse::<NbdUri>().expect_err(text);
            assert!(error.contains(words), "{text}: {error}");
            assert!(!error.contains("secret"), "{text}: {error}");
        }
        assert!(!NbdUri::claims(OsStr::new("nbd.img")));
        assert!(!NbdUri::claims(OsStr::new("nbd:disk")));
    }
}
