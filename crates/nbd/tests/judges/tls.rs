//! TLS that is asked for is there, or nothing is read.

use std::path::{Path, PathBuf};

use nbd::ClientOptions;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use testkit::{conformance, missing};

use super::programs::{Served, chain, content, disk, open, options};

/// Makes a directory as nbdkit wants it, with a certificate for `host`.
pub(crate) fn certificates(dir: &Path, host: &str) -> PathBuf {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let server = CertificateParams::new(vec![host.to_owned()]).unwrap();
    let server = server.signed_by(&key, &ca).unwrap();
    std::fs::create_dir_all(dir).unwrap();
    for (name, text) in [
        ("ca-cert.pem", ca.pem()),
        ("server-cert.pem", server.pem()),
        ("server-key.pem", key.serialize_pem()),
    ] {
        std::fs::write(dir.join(name), text).unwrap();
    }
    dir.join("ca-cert.pem")
}

#[test]
fn the_disk_is_read_through_tls_from_the_server_that_was_meant_alone() {
    if missing("nbdkit") {
        return;
    }
    let mut served = Served::new();
    let pki = served.dir.path().join("pki");
    let ca = certificates(&pki, "disks.example.com");
    let other = certificates(&served.dir.path().join("other"), "disks.example.com");
    let raw = served.dir.path().join("disk.raw");
    content().write_sparse(&raw).unwrap();
    let dir = format!("--tls-certificates={}", pki.display());
    served.nbdkit(&["--tls=require", &dir, "file", raw.to_str().unwrap()]);
    let uri = |host: &str| {
        let uri = served.uri("").replace("nbd+unix", "nbds+unix");
        format!("{uri}&tls-hostname={host}")
    };
    let with = |ca: &Path| ClientOptions {
        tls_ca: Some(ca.to_owned()),
        ..options()
    };
    let source = open(&uri("disks.example.com"), with(&ca)).unwrap();
    conformance(disk(source).as_ref(), &content().bytes);
    let empty = served.dir.path().join("empty.pem");
    std::fs::write(&empty, "no certificate").unwrap();
    for (uri, ca, words) in [
        (uri("other.example.com"), &ca, "not valid for name"),
        (uri("disks.example.com"), &other, "invalid peer certificate"),
        (
            uri("disks.example.com"),
            &empty,
            "certificates in PEM form are expected",
        ),
        (
            served.uri("").replace("nbd+unix", "nbds+unix"),
            &ca,
            "says no host",
        ),
        (served.uri(""), &ca, "the server requires TLS"),
    ] {
        let error = open(&uri, with(ca)).err().expect(&uri);
        assert!(chain(&error).contains(words), "{uri}: {}", chain(&error));
    }
}
