//! cloud-init: whether it is there, which sources of data it asks, whether it sets up the network.

use crate::Seen;
use crate::budget::MAX_YAML;
use crate::known::Known;
use crate::linux::source::{Source, below, first};
use crate::linux::version::numbers;
use crate::linux::yaml::{self, Node};
use crate::text::printable;
use crate::tree::Kind;
use crate::view::View;

/// Directories with Python's libraries.
const LIBRARIES: &[&str] = &["/usr/lib", "/usr/local/lib", "/usr/lib64"];

/// The configuration after all files are read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Settings {
    /// `datasource_list`, and where it is.
    pub(crate) sources: Option<(Vec<String>, Seen)>,
    /// Where `network: {config: disabled}` is.
    pub(crate) network_off: Option<Seen>,
}

/// An installed release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Release {
    /// `[23, 4, 1]`.
    pub(crate) numbers: Vec<u64>,
    pub(crate) seen: Seen,
    /// Its source for OpenStack has Huawei Cloud's name, whatever the release.
    pub(crate) knows_huawei: bool,
    /// The same for Open Telekom Cloud's.
    pub(crate) knows_telekom: bool,
}

/// cloud-init in the guest.
#[derive(Clone, Debug)]
pub(crate) struct CloudInit {
    pub(crate) program: Known<Option<Seen>>,
    /// `/etc/cloud/cloud-init.disabled`.
    pub(crate) disabled: Known<Option<Seen>>,
    pub(crate) settings: Known<Settings>,
    /// `policy:` of ds-identify, and where it is.
    pub(crate) policy: Known<Option<(String, Seen)>>,
    /// Data for a source that is found without a cloud.
    pub(crate) seed: Known<Option<Seen>>,
    pub(crate) release: Known<Option<Release>>,
    /// What an earlier run has left.
    pub(crate) state: Known<Option<Seen>>,
}

impl CloudInit {
    pub(crate) fn collect(view: &View) -> Self {
        Self {
            program: first(view, &["/usr/bin/cloud-init", "/usr/local/bin/cloud-init"]),
            disabled: first(view, &["/etc/cloud/cloud-init.disabled"]),
            settings: settings(view),
            policy: policy(view),
            seed: first(
                view,
                &[
                    "/var/lib/cloud/seed/nocloud/meta-data",
                    "/var/lib/cloud/seed/nocloud-net/meta-data",
                    "/var/lib/cloud/seed/nocloud/user-data",
                    "/var/lib/cloud/seed/nocloud-net/user-data",
                ],
            ),
            release: release(view),
            state: state(view),
        }
    }
}

/// `cloud.cfg`, then the files beside it by name; what comes later wins.
fn settings(view: &View) -> Known<Settings> {
    let mut files = Vec::new();
    files.extend(Source::read(view, "/etc/cloud/cloud.cfg")?);
    files.extend(Source::all(view, "/etc/cloud/cloud.cfg.d", |name| {
        name.ends_with(b".cfg")
    })?);
    let mut settings = Settings::default();
    for file in &files {
        let path = printable(&file.path);
        if file.content.len() as u64 > MAX_YAML {
            return Err(format!("{path} has more than {MAX_YAML} bytes"));
        }
        let Some(document) =
            yaml::parse(&file.content).map_err(|error| format!("{path}, {error}"))?
        else {
            continue;
        };
        // What the rules ask for must be there itself; the file about logs has aliases everywhere.
        for key in ["datasource_list", "network", "<<"] {
            let read = document.get(key).map_or(Ok(()), Node::whole);
            read.map_err(|error| format!("{path}, {error}"))?;
        }
        if let Some((line, list)) = document.entry("datasource_list") {
            let names = match list.text() {
                Some(text) => vec![text.to_owned()],
                None => list
                    .items()
                    .iter()
                    .filter_map(Node::text)
                    .map(str::to_owned)
                    .collect(),
            };
            settings.sources = Some((names, file.seen(line)));
        }
        if let Some((line, network)) = document.entry("network") {
            let config = network.entry("config");
            let is_off = config.is_some_and(|(_, node)| node.text() == Some("disabled"));
            let line = config.map_or(line, |(line, _)| line);
            settings.network_off = is_off.then(|| file.seen(line));
        }
    }
    Ok(settings)
}

fn policy(view: &View) -> Known<Option<(String, Seen)>> {
    let Some(file) = Source::read(view, "/etc/cloud/ds-identify.cfg")? else {
        return Ok(None);
    };
    Ok(file.lines().find_map(|(line, text)| {
        let text = String::from_utf8_lossy(text);
        let policy = text.strip_prefix("policy:")?.trim().to_owned();
        Some((policy, file.seen(line)))
    }))
}

/// The release, by the program's own file or by the package's directory.
fn release(view: &View) -> Known<Option<Release>> {
    for library in LIBRARIES {
        for python in view.list(library)? {
            if !python.name.starts_with(b"python") || python.kind == Kind::File {
                continue;
            }
            for packages in ["site-packages", "dist-packages"] {
                let directory = format!(
                    "{library}/{}/{packages}",
                    String::from_utf8_lossy(&python.name)
                );
                if let Some(release) = release_in(view, &directory)? {
                    return Ok(Some(release));
                }
            }
        }
    }
    Ok(None)
}

fn release_in(view: &View, directory: &str) -> Known<Option<Release>> {
    let path = format!("{directory}/cloudinit/version.py");
    let found = match Source::read(view, &path)? {
        Some(file) => file.lines().find_map(|(line, text)| {
            let text = String::from_utf8_lossy(text);
            let value = text.strip_prefix("__VERSION__")?.split_once('=')?.1;
            let value = value.trim().trim_matches(['"', '\'']);
            Some((value.to_owned(), file.seen(line)))
        }),
        None => view.list(directory)?.iter().find_map(|entry| {
            let name = String::from_utf8_lossy(&entry.name);
            let rest = name.strip_prefix("cloud_init-")?;
            let is_package = name.ends_with(".dist-info") || name.ends_with(".egg-info");
            let version = rest.split('-').next()?.to_owned();
            is_package.then(|| (version, Seen::at(below(directory, &entry.name))))
        }),
    };
    let Some((version, seen)) = found else {
        return Ok(None);
    };
    let source = format!("{directory}/cloudinit/sources/DataSourceOpenStack.py");
    let source = view.read(source, MAX_YAML)?.unwrap_or_default();
    Ok(Some(Release {
        numbers: numbers(&version),
        seen,
        knows_huawei: contains(&source, b"HUAWEICLOUD"),
        knows_telekom: contains(&source, b"OpenTelekomCloud"),
    }))
}

fn contains(content: &[u8], word: &[u8]) -> bool {
    content.windows(word.len()).any(|part| part == word)
}

/// The link to what an earlier run knows; it may lead nowhere.
fn state(view: &View) -> Known<Option<Seen>> {
    let path = "/var/lib/cloud/instance";
    Ok(view.link_stat(path)?.map(|_| Seen::at(path)))
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::tree::memory::MemoryTree;

    fn collected(tree: MemoryTree) -> CloudInit {
        CloudInit::collect(&View::new(Rc::new(tree), 0))
    }

    #[test]
    fn the_last_file_decides_about_sources_and_network() {
        let cloud = collected(
            MemoryTree::new()
                .file(
                    "/etc/cloud/cloud.cfg",
                    "datasource_list: [ConfigDrive]\nnetwork: {config: disabled}\n",
                )
                .file(
                    "/etc/cloud/cloud.cfg.d/90_dpkg.cfg",
                    "# x\ndatasource_list: [ OpenStack, None ]\n",
                )
                .file(
                    "/etc/cloud/cloud.cfg.d/99-installer.cfg",
                    "a: 1\ndatasource_list:\n  - None\n",
                )
                .file("/etc/cloud/cloud.cfg.d/README", "datasource_list: [Ec2]\n")
                .file("/etc/cloud/ds-identify.cfg", "# x\npolicy: enabled\n"),
        );
        let settings = cloud.settings.unwrap();
        let (sources, seen) = settings.sources.unwrap();
        assert_eq!(sources, ["None"]);
        assert_eq!(
            (seen.path.as_str(), seen.line),
            ("/etc/cloud/cloud.cfg.d/99-installer.cfg", Some(2))
        );
        assert_eq!(settings.network_off.unwrap().line, Some(2));
        assert_eq!(cloud.policy.unwrap().unwrap().0, "enabled");
        assert_eq!(cloud.program, Ok(None));
    }

    #[test]
    fn the_release_is_found_by_file_or_package() {
        let by_file = collected(
            MemoryTree::new()
                .file(
                    "/usr/lib/python3/dist-packages/cloudinit/version.py",
                    "import x\n__VERSION__ = \"22.4.2\"\n",
                )
                .file(
                    "/usr/lib/python3/dist-packages/cloudinit/sources/DataSourceOpenStack.py",
                    "TAGS = ['HUAWEICLOUD']",
                ),
        );
        let release = by_file.release.unwrap().unwrap();
        assert_eq!(release.numbers, [22, 4, 2]);
        assert!(release.knows_huawei && !release.knows_telekom);
        let by_package = collected(MemoryTree::new().file(
            "/usr/lib/python3.9/site-packages/cloud_init-19.4-py3.9.egg-info/PKG-INFO",
            "",
        ));
        assert_eq!(by_package.release.unwrap().unwrap().numbers, [19, 4]);
    }

    #[test]
    fn aliases_matter_only_in_the_settings_that_are_asked_for() {
        let read = |content: &str| {
            let tree = MemoryTree::new()
                .file("/etc/cloud/cloud.cfg.d/05_logging.cfg", content)
                .file("/etc/cloud/cloud.cfg.d/90.cfg", "datasource_list: [Ec2]\n");
            collected(tree).settings
        };
        // As cloud-init itself ships it.
        let logging = "_log:\n - &base |\n   [x]\nlog_cfgs:\n - [ *base ]\n";
        assert_eq!(read(logging).unwrap().sources.unwrap().0, ["Ec2"]);
        assert!(read("a: &x [None]\ndatasource_list: *x\n").is_err());
        assert!(read("a: &x {network: {config: disabled}}\n<<: *x\n").is_err());
    }

    #[test]
    fn a_file_that_is_no_yaml_makes_the_settings_unknown() {
        let cloud = collected(MemoryTree::new().file("/etc/cloud/cloud.cfg", "a: [1\n"));
        assert!(cloud.settings.unwrap_err().contains("/etc/cloud/cloud.cfg"));
    }
}
