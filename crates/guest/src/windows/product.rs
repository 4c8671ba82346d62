//! Which Windows it is.

use super::registry::{Registry, SOFTWARE};
use crate::known::Known;
use crate::text::printable;
use crate::view::View;
use crate::{Evidence, Os};

/// The key that says which Windows it is.
pub(super) const VERSION_KEY: &str = r"Microsoft\Windows NT\CurrentVersion";

/// What Windows says of itself, verbatim.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Product {
    pub(crate) name: Option<String>,
    /// `EditionID`: `ServerStandardEval`.
    pub(crate) edition: Option<String>,
    /// `ProductId`.
    pub(crate) id: Option<String>,
    /// `InstallationType`, else told by the edition.
    pub(crate) server: bool,
    pub(crate) build: Option<u32>,
    /// Version of the kernel: 6.3, 10.0.
    pub(crate) kernel: Option<(u32, u32)>,
    /// Letter of the drive that it is on.
    pub(crate) drive: Option<char>,
}

pub(super) fn collect(registry: &Registry) -> Known<Product> {
    let Some(key) = registry.software(VERSION_KEY)? else {
        return Err(format!(r"{SOFTWARE}\{VERSION_KEY} is not there"));
    };
    let edition = key.text("EditionID")?;
    let installation = key.text("InstallationType")?;
    let name = key.text("ProductName")?;
    let server = match (&installation, &edition) {
        (Some(kind), _) => kind.starts_with("Server"),
        (None, Some(edition)) => edition.starts_with("Server"),
        (None, None) => name.as_ref().is_some_and(|name| name.contains("Server")),
    };
    let numbers = (
        key.number("CurrentMajorVersionNumber")?,
        key.number("CurrentMinorVersionNumber")?,
    );
    let kernel = match (numbers, key.text("CurrentVersion")?) {
        ((Some(major), minor), _) => Some((major, minor.unwrap_or_default())),
        (_, Some(text)) => text
            .split_once('.')
            .and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?))),
        _ => None,
    };
    Ok(Product {
        server,
        kernel,
        // CurrentBuild means something else on old systems.
        build: key
            .text("CurrentBuildNumber")?
            .and_then(|number| number.trim().parse().ok()),
        id: key.text("ProductId")?,
        drive: key.text("SystemRoot")?.and_then(|root| root.chars().next()),
        name,
        edition,
    })
}

/// The system, as far as `product` and the programs in `directory` tell.
pub(super) fn os(
    view: &View,
    directory: &str,
    registry: &Registry,
    product: &Known<Product>,
) -> Os {
    let mut os = Os {
        kind: "Windows".into(),
        id: "windows".into(),
        arch: processor(view, directory, registry),
        ..Os::default()
    };
    let Ok(product) = product else {
        os.evidence.push(Evidence {
            path: directory.to_owned(),
            key: String::new(),
            value: "System32".to_owned(),
        });
        return os;
    };
    os.name = product.name.as_deref().map(printable);
    os.build = product.build;
    os.version = product
        .build
        .and_then(|build| release(build, product.server))
        .map(str::to_owned);
    os.edition = product.edition.as_deref().map(|id| printable(edition(id)));
    let build = product.build.map(|build| build.to_string());
    for (key, value) in [
        ("ProductName", &product.name),
        ("EditionID", &product.edition),
        ("CurrentBuildNumber", &build),
    ] {
        if let Some(value) = value {
            os.evidence.push(Evidence {
                path: format!(r"{SOFTWARE}\{VERSION_KEY}"),
                key: key.to_owned(),
                value: printable(value),
            });
        }
    }
    os
}

/// The release that a build number belongs to; the names of products do not tell.
fn release(build: u32, server: bool) -> Option<&'static str> {
    Some(match (server, build) {
        (true, 3790) => "2003",
        (true, 6001..=6003) => "2008",
        (true, 7600..=7601) => "2008 R2",
        (true, 9200) => "2012",
        (true, 9600) => "2012 R2",
        (true, 14393) => "2016",
        (true, 17763) => "2019",
        (true, 20348) => "2022",
        (true, 26100) => "2025",
        (false, 2600) => "XP",
        (false, 6000..=6003) => "Vista",
        (false, 7600..=7601) => "7",
        (false, 9200) => "8",
        (false, 9600) => "8.1",
        (false, 10240..=21999) => "10",
        (false, 22000..) => "11",
        _ => return None,
    })
}

/// The edition that an `EditionID` names; of one that is not known, the `EditionID`.
fn edition(id: &str) -> &str {
    let id = id.strip_prefix("Server").unwrap_or(id);
    for (beginning, name) in [
        ("Standard", "Standard"),
        ("Datacenter", "Datacenter"),
        ("Enterprise", "Enterprise"),
        ("Web", "WEB"),
        ("Solution", "Essentials"),
        ("Essentials", "Essentials"),
        ("Foundation", "Foundation"),
        ("Professional", "Professional"),
        ("Education", "Education"),
        ("Core", "Core"),
    ] {
        if id.starts_with(beginning) {
            return name;
        }
    }
    id
}

/// The processor that the kernel is for.
fn processor(view: &View, directory: &str, registry: &Registry) -> Option<String> {
    let machine = ["ntoskrnl.exe", "cmd.exe"]
        .iter()
        .find_map(|name| machine(view, &format!("{directory}/System32/{name}")));
    let name = match machine {
        Some(0x8664) => "x86_64",
        Some(0x14c) => "i386",
        Some(0xaa64) => "aarch64",
        _ => {
            // Programs can be stored packed, so that their bytes are not where they seem.
            let key = registry.control(r"Control\Session Manager\Environment");
            let text = key.ok()??.text("PROCESSOR_ARCHITECTURE").ok()??;
            match text.to_ascii_uppercase().as_str() {
                "AMD64" => "x86_64",
                "X86" => "i386",
                "ARM64" => "aarch64",
                _ => return None,
            }
        }
    };
    Some(name.to_owned())
}

/// The machine in the header of the program at `path`.
fn machine(view: &View, path: &str) -> Option<u16> {
    let file = view.open(path).ok()??;
    let mut offset = [0; 4];
    (file.read_at(0x3c, &mut offset).ok()? == offset.len()).then_some(())?;
    let mut head = [0; 6];
    let at = u64::from(u32::from_le_bytes(offset));
    (file.read_at(at, &mut head).ok()? == head.len()).then_some(())?;
    let [b'P', b'E', 0, 0, low, high] = head else {
        return None;
    };
    Some(u16::from_le_bytes([low, high]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builds_tell_releases_and_servers_from_clients() {
        for (build, server, client) in [
            (7601, Some("2008 R2"), Some("7")),
            (9600, Some("2012 R2"), Some("8.1")),
            (14393, Some("2016"), Some("10")),
            (17763, Some("2019"), Some("10")),
            (19045, None, Some("10")),
            (22631, None, Some("11")),
            (26100, Some("2025"), Some("11")),
        ] {
            assert_eq!(release(build, true), server, "{build}");
            assert_eq!(release(build, false), client, "{build}");
        }
    }

    #[test]
    fn editions_lose_the_words_about_installation_and_licence() {
        for (id, name) in [
            ("ServerStandard", "Standard"),
            ("ServerStandardEval", "Standard"),
            ("ServerStandardEvalCor", "Standard"),
            ("ServerDatacenterCore", "Datacenter"),
            ("ServerSolution", "Essentials"),
            ("ServerWeb", "WEB"),
            ("EnterpriseEval", "Enterprise"),
            ("Professional", "Professional"),
            ("EducationN", "Education"),
            ("IoTUAP", "IoTUAP"),
        ] {
            assert_eq!(edition(id), name);
        }
    }
}
