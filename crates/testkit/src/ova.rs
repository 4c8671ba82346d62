//! Packages of virtual machines: ordinary ones, and parts to make hostile ones of.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

/// Bytes of a tar header, and what contents are padded to.
const BLOCK: usize = 512;

/// A tar archive that grows member by member.
#[derive(Clone, Debug, Default)]
pub struct Tar(Vec<u8>);

impl Tar {
    /// Without members.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a file.
    #[must_use]
    pub fn file(self, name: &str, content: &[u8]) -> Self {
        self.member(name, b'0', &octal(content.len() as u64), content)
    }

    /// Adds a member of the type `kind`, whose header says its size in the bytes `size`, whatever
    /// `content` has.
    #[must_use]
    pub fn member(self, name: &str, kind: u8, size: &[u8], content: &[u8]) -> Self {
        self.block(&header(name, kind, size)).content(content)
    }

    /// Adds a header as it is.
    #[must_use]
    pub fn block(mut self, header: &[u8; BLOCK]) -> Self {
        self.0.extend(header);
        self
    }

    /// Adds bytes, padded.
    #[must_use]
    pub fn content(mut self, content: &[u8]) -> Self {
        self.0.extend(content);
        self.0.resize(self.0.len().next_multiple_of(BLOCK), 0);
        self
    }

    /// Adds an extended header for the next member, of these keys and values.
    #[must_use]
    pub fn pax(self, records: &[(&str, &str)]) -> Self {
        let text: String = records
            .iter()
            .map(|(key, value)| record(key, value))
            .collect();
        let size = octal(text.len() as u64);
        self.member("PaxHeader/next", b'x', &size, text.as_bytes())
    }

    /// The archive with its end mark.
    #[must_use]
    pub fn end(mut self) -> Vec<u8> {
        self.0.extend([0; 2 * BLOCK]);
        self.0
    }

    /// The archive without one.
    #[must_use]
    pub fn cut(self) -> Vec<u8> {
        self.0
    }
}

/// A size in octal digits.
#[must_use]
pub fn octal(size: u64) -> Vec<u8> {
    format!("{size:011o}\0").into_bytes()
}

/// A size in base 256.
#[must_use]
pub fn base256(size: u64) -> Vec<u8> {
    let mut field = vec![0x80, 0, 0, 0];
    field.extend(size.to_be_bytes());
    field
}

/// The header of a member, with the right checksum.
#[must_use]
pub fn header(name: &str, kind: u8, size: &[u8]) -> [u8; BLOCK] {
    let mut header = [0; BLOCK];
    put(&mut header, 0, name.as_bytes());
    put(&mut header, 100, b"0000644\0");
    put(&mut header, 124, size);
    put(&mut header, 136, b"00000000000\0");
    put(&mut header, 156, &[kind]);
    put(&mut header, 257, b"ustar\x0000");
    sealed(header)
}

/// `header` with the right checksum.
#[must_use]
pub fn sealed(mut header: [u8; BLOCK]) -> [u8; BLOCK] {
    put(&mut header, 148, &[b' '; 8]);
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    put(&mut header, 148, format!("{sum:06o}\0 ").as_bytes());
    header
}

fn put(header: &mut [u8; BLOCK], at: usize, bytes: &[u8]) {
    for (to, from) in header.iter_mut().skip(at).zip(bytes) {
        *to = *from;
    }
}

fn record(key: &str, value: &str) -> String {
    let rest = format!(" {key}={value}\n");
    let mut len = rest.len();
    while len != rest.len() + len.to_string().len() {
        len = rest.len() + len.to_string().len();
    }
    format!("{len}{rest}")
}

/// A virtual machine: its descriptor is made of this.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Its name.
    pub name: String,
    /// Files of its disks and their capacities, in the order in which they are attached.
    pub disks: Vec<(String, u64)>,
    /// The value of `vmw:Config` with the key `firmware`.
    pub firmware: Option<&'static str>,
    /// `vmw:osType`.
    pub os: &'static str,
}

impl Machine {
    /// With these disks.
    #[must_use]
    pub fn new(name: &str, disks: &[(&str, u64)]) -> Self {
        let disks = disks.iter().map(|(file, size)| ((*file).to_owned(), *size));
        Self {
            name: name.to_owned(),
            disks: disks.collect(),
            firmware: None,
            os: "ubuntu64Guest",
        }
    }

    /// Its descriptor.
    #[must_use]
    pub fn descriptor(&self) -> String {
        let (mut files, mut disks, mut items) = (String::new(), String::new(), String::new());
        for (number, (file, capacity)) in self.disks.iter().enumerate() {
            let _ = writeln!(
                files,
                r#"    <File ovf:href="{file}" ovf:id="file{number}"/>"#
            );
            let _ = writeln!(
                disks,
                r#"    <Disk ovf:capacity="{capacity}" ovf:diskId="disk{number}" ovf:fileRef="file{number}"/>"#
            );
            let _ = writeln!(
                items,
                "      <Item><rasd:AddressOnParent>{number}</rasd:AddressOnParent>\
                 <rasd:ElementName>Hard disk {number}</rasd:ElementName>\
                 <rasd:HostResource>ovf:/disk/disk{number}</rasd:HostResource>\
                 <rasd:InstanceID>{}</rasd:InstanceID><rasd:Parent>3</rasd:Parent>\
                 <rasd:ResourceType>17</rasd:ResourceType></Item>",
                number + 10
            );
        }
        let firmware = self.firmware.map_or_else(String::new, |firmware| {
            format!(r#"      <vmw:Config vmw:key="firmware" vmw:value="{firmware}"/>"#)
        });
        format!(
            r#"<?xml version="1.0" encoding="UTF-8"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1" xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData" xmlns:vmw="http://www.vmware.com/schema/ovf">
  <References>
{files}  </References>
  <DiskSection>
{disks}  </DiskSection>
  <VirtualSystem ovf:id="{name}">
    <Name>{name}</Name>
    <OperatingSystemSection ovf:id="94" vmw:osType="{os}"/>
    <VirtualHardwareSection>
      <Item><rasd:Address>0</rasd:Address><rasd:InstanceID>3</rasd:InstanceID><rasd:ResourceType>6</rasd:ResourceType></Item>
{items}{firmware}
    </VirtualHardwareSection>
  </VirtualSystem>
</Envelope>
"#,
            name = self.name,
            os = self.os,
        )
    }

    /// An archive of the descriptor, a manifest of SHA-256, and the disks with these contents, in
    /// the order of [`Self::disks`].
    #[must_use]
    pub fn archive(&self, contents: &[&[u8]]) -> Vec<u8> {
        let descriptor = self.descriptor();
        let names = self.disks.iter().map(|(name, _)| name.as_str());
        let files: Vec<(&str, &[u8])> = names.zip(contents.iter().copied()).collect();
        let own = format!("{}.ovf", self.name);
        let all = [(own.as_str(), descriptor.as_bytes())];
        let listed: Vec<(&str, &[u8])> = all.into_iter().chain(files.iter().copied()).collect();
        let tar = Tar::new()
            .file(&own, descriptor.as_bytes())
            .file(&format!("{}.mf", self.name), manifest(&listed).as_bytes());
        let add = |tar: Tar, (name, content): &(&str, &[u8])| tar.file(name, content);
        files.iter().fold(tar, add).end()
    }
}

/// The manifest of these files.
#[must_use]
pub fn manifest(files: &[(&str, &[u8])]) -> String {
    let line = |(name, content): &(&str, &[u8])| {
        format!("SHA256({name})= {}\n", hex::encode(Sha256::digest(content)))
    };
    files.iter().map(line).collect()
}
