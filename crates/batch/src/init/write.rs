//! A draft as a manifest with comments.

use std::fmt::Write as _;
use std::path::Path;

use diskimg::printable;
use diskimg::units::{GIB, human};

use super::{Disk, Draft, Refused};

/// The notation of the manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notation {
    /// YAML.
    Yaml,
    /// TOML.
    Toml,
}

/// What the manifest says that no file tells.
#[derive(Clone, Debug)]
pub struct Settings<'a> {
    /// Where the manifest will stand: sources are told from there.
    pub dir: &'a Path,
    /// The bucket, if it is known.
    pub bucket: Option<&'a str>,
    /// The notation.
    pub notation: Notation,
}

impl Draft {
    /// The manifest.
    #[must_use]
    pub fn manifest(&self, settings: &Settings<'_>) -> String {
        let mut writer = Writer {
            text: String::new(),
            settings,
        };
        writer.head(self);
        if !self.images.is_empty() {
            writer.list("images");
            for image in &self.images {
                writer.image(image);
            }
        }
        if !self.servers.is_empty() {
            writer.list("servers");
            for server in &self.servers {
                writer.server(server);
            }
        }
        if self.images.is_empty() && self.servers.is_empty() && !writer.is_toml() {
            writer.text.push_str("images: []\n");
        }
        writer.refused(&self.refused);
        writer.text
    }
}

struct Writer<'a> {
    text: String,
    settings: &'a Settings<'a>,
}

impl Writer<'_> {
    fn is_toml(&self) -> bool {
        self.settings.notation == Notation::Toml
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = self.text.write_fmt(line);
        self.text.push('\n');
    }

    fn head(&mut self, draft: &Draft) {
        let in_servers = draft.servers.iter().map(|server| server.data.len());
        let in_packages = draft.images.iter().map(|image| image.data.len());
        let data: usize = in_servers.chain(in_packages).sum();
        let disks = draft.images.len() + draft.servers.len() + data;
        self.line(format_args!(
            "# {disks} disks found by imgferry batch init, {} files refused (see the end), {} passed over.",
            draft.refused.len(),
            draft.passed_over
        ));
        self.line(format_args!(
            "# Replace each TODO, then: imgferry batch plan THIS-FILE. Names of operating systems: imgferry os-versions"
        ));
        let bucket = self.settings.bucket.map_or("TODO".to_owned(), quoted);
        match self.is_toml() {
            true => {
                let bucket = self.settings.bucket.unwrap_or("TODO");
                self.line(format_args!(
                    "version = 1\n\n[defaults]\nbucket = {}\n# tags = {{env = \"prod\"}}\n",
                    in_quotes(&dollars(bucket))
                ));
            }
            false => self.line(format_args!(
                "version: 1\n\ndefaults:\n  bucket: {bucket}\n  # tags: {{env: prod}}\n"
            )),
        }
    }

    fn list(&mut self, name: &str) {
        if !self.is_toml() {
            self.line(format_args!("{name}:"));
        }
    }

    fn image(&mut self, image: &super::group::Named) {
        let disk = &image.disk;
        let mut keys = vec![("name", quoted(&image.name))];
        keys.extend(self.disk_keys(disk, true));
        let mut notes = notes(disk);
        notes.extend(image.data.iter().map(|data| {
            let member = data.path.file_name().unwrap_or_default().to_string_lossy();
            format!(
                "its data disk {member} is imported with it: {}, {} virtual",
                data.format,
                human(data.virtual_size)
            )
        }));
        if !disk.boots() {
            notes.push("nothing on it can be started: if it is a data disk, put type: DataImage in place of os_version and firmware".to_owned());
        }
        match self.is_toml() {
            true => self.toml("[[images]]", &keys, &notes),
            false => self.yaml("  - ", "    ", &keys, &notes),
        }
    }

    fn server(&mut self, server: &super::Server) {
        let mut notes = notes(&server.system);
        if !server.system.boots() {
            notes.push("nothing on it can be started: is it the system disk?".to_owned());
        }
        let system = self.disk_keys(&server.system, true);
        match self.is_toml() {
            true => {
                self.toml("[[servers]]", &[("name", quoted(&server.name))], &[]);
                self.toml("[servers.system]", &system, &notes);
                for data in &server.data {
                    let keys = self.disk_keys(&data.disk, false);
                    self.toml("[[servers.data]]", &keys, &self::notes(&data.disk));
                }
            }
            false => {
                self.line(format_args!("  - name: {}", quoted(&server.name)));
                self.line(format_args!("    system:"));
                self.yaml("      ", "      ", &system, &notes);
                self.line(format_args!("    data:"));
                for data in &server.data {
                    let keys = self.disk_keys(&data.disk, false);
                    self.yaml("      - ", "        ", &keys, &self::notes(&data.disk));
                }
            }
        }
    }

    /// What the disk itself tells, and what only a person knows of a system disk.
    fn disk_keys(&self, disk: &Disk, is_system: bool) -> Vec<(&'static str, String)> {
        let mut keys = vec![("source", quoted(&self.source(&disk.path)))];
        if is_system {
            keys.push(("os_version", "TODO".to_owned()));
            let firmware = disk.boot.and_then(diskimg::partitions::BootMode::firmware);
            let firmware = disk.firmware.or(firmware);
            keys.extend(firmware.map(|firmware| ("firmware", firmware.to_owned())));
        }
        let min_disk = disk.virtual_size.div_ceil(GIB).max(1);
        keys.push(("min_disk", min_disk.to_string()));
        if !disk.builds_on.is_empty() {
            keys.push(("allow_backing", "TODO".to_owned()));
        }
        keys
    }

    fn source(&self, path: &Path) -> String {
        let path = path.strip_prefix(self.settings.dir).unwrap_or(path);
        path.to_string_lossy().into_owned()
    }

    fn yaml(&mut self, first: &str, next: &str, keys: &[(&str, String)], notes: &[String]) {
        for note in notes {
            self.line(format_args!("{next}# {}", printable(note)));
        }
        for (number, (key, value)) in keys.iter().enumerate() {
            let indent = if number == 0 { first } else { next };
            self.line(format_args!("{indent}{key}: {value}"));
        }
    }

    fn toml(&mut self, table: &str, keys: &[(&str, String)], notes: &[String]) {
        self.line(format_args!("{table}"));
        for note in notes {
            self.line(format_args!("# {}", printable(note)));
        }
        for (key, value) in keys {
            let is_bare = *key == "min_disk" || value.starts_with('"');
            match is_bare {
                true => self.line(format_args!("{key} = {value}")),
                false => self.line(format_args!("{key} = \"{value}\"")),
            }
        }
        self.text.push('\n');
    }

    fn refused(&mut self, refused: &[Refused]) {
        if refused.is_empty() {
            return;
        }
        self.line(format_args!("\n# Not in the batch:"));
        for file in refused {
            let source = self.source(&file.path);
            self.line(format_args!(
                "#   {}: {}",
                printable(&source),
                printable(&file.reason)
            ));
            if let Some(hint) = &file.hint {
                self.line(format_args!("#     {}", printable(&hint.to_string())));
            }
        }
    }
}

impl Disk {
    /// That it is imported only where the files may be opened that it builds on.
    #[must_use]
    pub fn needs_backing(&self) -> String {
        format!(
            "this is a snapshot, which builds on {}; if you trust it, set allow_backing to their \
             directory",
            self.builds_on.join(", ")
        )
    }
}

fn notes(disk: &Disk) -> Vec<String> {
    let mut notes = vec![format!(
        "{}{}, {} virtual, the file takes {}",
        disk.format,
        disk.compression
            .as_ref()
            .map_or_else(String::new, |name| format!(" compressed with {name}")),
        human(disk.virtual_size),
        human(disk.bytes_on_disk)
    )];
    if let Some(system) = &disk.system {
        let words = ova::Hints {
            os: vec![system.clone()],
            ..ova::Hints::default()
        };
        let family = words.os_family().map_or_else(String::new, |family| {
            format!("; look for {family} in the list of imgferry os-versions")
        });
        notes.push(format!("the machine's system is called {system:?}{family}"));
    }
    if !disk.builds_on.is_empty() {
        notes.push(disk.needs_backing());
    }
    notes.extend(disk.warnings.iter().cloned());
    notes
}

/// `$` begins a variable in a manifest.
fn dollars(text: &str) -> String {
    text.replace('$', "$$")
}

/// The text as a value: plain where every notation reads it as text, else in quotes.
fn quoted(text: &str) -> String {
    let text = dollars(text);
    let is_plain = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-'))
        && !matches!(
            text.to_ascii_lowercase().as_str(),
            "true" | "false" | "null" | "yes" | "no" | "on" | "off" | "y" | "n"
        );
    match is_plain {
        true => text,
        false => in_quotes(&text),
    }
}

/// In double quotes, as YAML and TOML both read them.
fn in_quotes(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            c if c == ' ' || c.is_alphanumeric() || c.is_ascii_graphic() => quoted.push(c),
            c if u32::from(c) > 0xffff => {
                let _ = write!(quoted, "\\U{:08x}", u32::from(c));
            }
            c => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(c));
            }
        }
    }
    quoted.push('"');
    quoted
}
