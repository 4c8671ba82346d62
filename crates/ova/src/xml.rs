//! The descriptor as a tree of the elements that matter. Namespaces count, prefixes do not; all
//! limits are held while the document is read, before a tree of it exists.

use diskimg::text::printable;
use diskimg::{Error, ErrorKind, Result};
use quick_xml::XmlVersion;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesRef, BytesStart, Event};
use quick_xml::name::{NamespaceResolver, ResolveResult};
use quick_xml::reader::NsReader;

use crate::limits::{MAX_ATTRIBUTES, MAX_DEPTH, MAX_ELEMENTS, MAX_NAMESPACES, MAX_WARNINGS};

/// Which vocabulary a name belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Space {
    /// None, as of an attribute without a prefix.
    None,
    /// OVF 1 and 2.
    Ovf,
    /// The draft 0.9.
    Draft,
    /// Settings of virtual hardware, those of storage among them.
    Hardware,
    VmWare,
    VirtualBox,
    Encryption,
    Other,
}

impl Space {
    fn of(name: &[u8]) -> Self {
        const CIM: &str = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/";
        let Ok(name) = std::str::from_utf8(name) else {
            return Self::Other;
        };
        match name {
            "http://schemas.dmtf.org/ovf/envelope/1" | "http://schemas.dmtf.org/ovf/envelope/2" => {
                Self::Ovf
            }
            "http://www.vmware.com/schema/ovf/1/envelope" => Self::Draft,
            "http://www.vmware.com/schema/ovf" => Self::VmWare,
            "http://www.virtualbox.org/ovf/machine" => Self::VirtualBox,
            "http://www.w3.org/2001/04/xmlenc#" => Self::Encryption,
            _ => match name
                .strip_prefix(CIM)
                .map(|name| name.trim_end_matches(".xsd"))
            {
                Some("CIM_ResourceAllocationSettingData" | "CIM_StorageAllocationSettingData") => {
                    Self::Hardware
                }
                _ => Self::Other,
            },
        }
    }

    fn resolved(result: &ResolveResult<'_>) -> Result<Self> {
        match result {
            ResolveResult::Unbound => Ok(Self::None),
            ResolveResult::Bound(namespace) => Ok(Self::of(namespace.into_inner())),
            ResolveResult::Unknown(prefix) => Err(Error::new(
                ErrorKind::Corrupt,
                format!(
                    "the prefix \"{}\" stands for no namespace",
                    printable(&String::from_utf8_lossy(prefix))
                ),
            )),
        }
    }
}

/// The names that are looked for. Everything else is left out of the tree.
const KNOWN: [&str; 47] = [
    "Address",
    "AddressOnParent",
    "BootOrderSection",
    "Caption",
    "Config",
    "Description",
    "Disk",
    "DiskSection",
    "ElementName",
    "EncryptedData",
    "EncryptedKey",
    "Envelope",
    "File",
    "Firmware",
    "Hardware",
    "HostResource",
    "InstanceID",
    "Item",
    "Machine",
    "Name",
    "OSType",
    "OperatingSystemSection",
    "Parent",
    "References",
    "ResourceSubType",
    "ResourceType",
    "StorageItem",
    "VirtualHardwareSection",
    "VirtualSystem",
    "VirtualSystemCollection",
    "capacity",
    "capacityAllocationUnits",
    "chunkSize",
    "compression",
    "diskId",
    "fileRef",
    "format",
    "href",
    "id",
    "instanceId",
    "key",
    "osType",
    "parentRef",
    "required",
    "size",
    "type",
    "value",
];

/// `name` as it stands in [`KNOWN`].
fn known(name: &[u8]) -> Option<&'static str> {
    let found = KNOWN.binary_search_by(|known| known.as_bytes().cmp(name));
    KNOWN.get(found.ok()?).copied()
}

/// An element, and what is known below it.
#[derive(Debug)]
pub(crate) struct Element {
    pub(crate) space: Space,
    pub(crate) name: &'static str,
    attributes: Vec<Attribute>,
    text: String,
    pub(crate) children: Vec<Element>,
}

#[derive(Debug)]
struct Attribute {
    space: Space,
    name: &'static str,
    value: String,
}

impl Element {
    /// The attribute `name` of `space`, or without a namespace.
    pub(crate) fn attribute(&self, space: Space, name: &str) -> Option<&str> {
        let of = |wanted: Space| {
            let mut attributes = self.attributes.iter();
            attributes.find(move |found| found.space == wanted && found.name == name)
        };
        of(space)
            .or_else(|| of(Space::None))
            .map(|found| found.value.trim())
    }

    /// The children that are called so.
    pub(crate) fn all<'a>(
        &'a self,
        space: Space,
        name: &'static str,
    ) -> impl Iterator<Item = &'a Self> {
        self.children
            .iter()
            .filter(move |child| child.space == space && child.name == name)
    }

    /// The first child that is called so.
    pub(crate) fn first(&self, space: Space, name: &'static str) -> Option<&Self> {
        self.all(space, name).next()
    }

    /// The text of the first child that is called so, without white space around it; `None` when
    /// nothing is left.
    pub(crate) fn text_of(&self, space: Space, name: &'static str) -> Option<&str> {
        self.first(space, name).and_then(Self::text)
    }

    /// Its own text.
    pub(crate) fn text(&self) -> Option<&str> {
        Some(self.text.trim()).filter(|text| !text.is_empty())
    }
}

/// The outermost element of a document, if it is known; adds warnings of parts that the document
/// requires and that are not.
///
/// # Errors
/// `Corrupt` when it is no XML, `Unsupported` for what is refused by name, `Limit`.
pub(crate) fn read(text: &str, warnings: &mut Vec<String>) -> Result<Option<Element>> {
    let mut reader = NsReader::from_str(text);
    let mut tree = Tree::default();
    loop {
        let event = reader.read_event();
        let at = reader.error_position().max(reader.buffer_position());
        let event = event.map_err(|error| {
            Error::corrupt("descriptor", at, "it is not well-formed XML").caused_by(error)
        })?;
        let done = tree
            .take(event, reader.resolver(), warnings)
            .map_err(|error| error.at("descriptor", at))?;
        if done {
            break;
        }
    }
    Ok(tree.root)
}

/// A document as far as it was read.
#[derive(Default)]
struct Tree {
    root: Option<Element>,
    /// The elements that are open; `None` for those that are not known.
    open: Vec<Option<Element>>,
    elements: u32,
    declarations: u32,
}

fn beyond(what: &str, most: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Limit, format!("more than {most} {what}"))
}

impl Tree {
    /// Adds what was read; says whether that was the end.
    fn take(
        &mut self,
        event: Event<'_>,
        resolver: &NamespaceResolver,
        warnings: &mut Vec<String>,
    ) -> Result<bool> {
        match event {
            Event::Start(start) => self.start(&start, resolver, warnings)?,
            Event::Empty(start) => {
                self.start(&start, resolver, warnings)?;
                self.end();
            }
            Event::End(_) => self.end(),
            Event::Text(text) => {
                let text = text.decode().map_err(|e| {
                    Error::new(ErrorKind::Corrupt, "a text is no UTF-8").caused_by(e)
                })?;
                self.text(&text);
            }
            Event::CData(text) => {
                let text = text.decode().map_err(|e| {
                    Error::new(ErrorKind::Corrupt, "a text is no UTF-8").caused_by(e)
                })?;
                self.text(&text);
            }
            Event::GeneralRef(reference) => {
                let text = resolve(&reference)?;
                self.text(&text);
            }
            Event::DocType(_) => {
                return Err(Error::unsupported(
                    "it has a DTD (DOCTYPE), and no package needs one: entities can grow without \
                     bounds and name files",
                ));
            }
            Event::Decl(declared) => {
                let encoding = declared.encoding().and_then(std::result::Result::ok);
                if let Some(encoding) = encoding
                    && !encoding.eq_ignore_ascii_case(b"utf-8")
                    && !encoding.eq_ignore_ascii_case(b"us-ascii")
                {
                    return Err(Error::unsupported(format!(
                        "its encoding is {}, and UTF-8 is read",
                        printable(&String::from_utf8_lossy(&encoding))
                    )));
                }
            }
            Event::Comment(_) | Event::PI(_) => {}
            Event::Eof if self.open.is_empty() => return Ok(true),
            Event::Eof => {
                return Err(Error::new(
                    ErrorKind::Truncated,
                    "it ends inside of an element",
                ));
            }
        }
        Ok(false)
    }

    fn start(
        &mut self,
        start: &BytesStart<'_>,
        resolver: &NamespaceResolver,
        warnings: &mut Vec<String>,
    ) -> Result<()> {
        self.elements = self.elements.saturating_add(1);
        if self.elements > MAX_ELEMENTS {
            return Err(beyond("elements", MAX_ELEMENTS));
        }
        if self.open.len() >= MAX_DEPTH {
            return Err(beyond("levels of elements", MAX_DEPTH));
        }
        if self.open.is_empty() && self.elements > 1 {
            return Err(Error::new(
                ErrorKind::Corrupt,
                "something follows its outermost element",
            ));
        }
        let attributes = self.attributes(start, resolver)?;
        let (resolved, local) = resolver.resolve_element(start.name());
        let space = Space::resolved(&resolved)?;
        let name = known(local.into_inner()).filter(|_| space != Space::Other);
        if space == Space::Encryption && matches!(name, Some("EncryptedData" | "EncryptedKey")) {
            return Err(Error::unsupported("the package is encrypted"));
        }
        let required = attributes
            .iter()
            .any(|found| found.name == "required" && found.value == "true");
        if name.is_none() && required && warnings.len() < MAX_WARNINGS {
            warnings.push(format!(
                "the descriptor requires a part that imgferry does not know, \"{}\"; it is ignored",
                printable(&String::from_utf8_lossy(start.name().into_inner()))
            ));
        }
        // What is below something unknown means nothing here.
        let inside_unknown = self.open.last().is_some_and(Option::is_none);
        self.open
            .push(name.filter(|_| !inside_unknown).map(|name| Element {
                space,
                name,
                attributes,
                text: String::new(),
                children: Vec::new(),
            }));
        Ok(())
    }

    /// The known attributes of an element, after all of them were counted.
    fn attributes(
        &mut self,
        start: &BytesStart<'_>,
        resolver: &NamespaceResolver,
    ) -> Result<Vec<Attribute>> {
        let mut found: Vec<Attribute> = Vec::new();
        // Duplicates are looked for among the known ones below: the reader's own check takes time
        // that grows with the square of their number.
        for (number, attribute) in start.attributes().with_checks(false).enumerate() {
            if number >= MAX_ATTRIBUTES {
                return Err(beyond("attributes in one element", MAX_ATTRIBUTES));
            }
            let attribute = attribute.map_err(|e| {
                Error::new(ErrorKind::Corrupt, "an attribute is malformed").caused_by(e)
            })?;
            if attribute.key.as_namespace_binding().is_some() {
                self.declarations = self.declarations.saturating_add(1);
                if self.declarations > MAX_NAMESPACES {
                    return Err(beyond("namespace declarations", MAX_NAMESPACES));
                }
                continue;
            }
            let value = attribute
                .normalized_value(XmlVersion::Implicit1_0)
                .map_err(|e| {
                    Error::unsupported("an attribute has a reference that is not one of XML's own")
                        .caused_by(e)
                })?;
            let (resolved, local) = resolver.resolve_attribute(attribute.key);
            let space = Space::resolved(&resolved)?;
            let Some(name) = known(local.into_inner()) else {
                continue;
            };
            if found
                .iter()
                .any(|known| known.space == space && known.name == name)
            {
                return Err(Error::new(
                    ErrorKind::Corrupt,
                    format!("an element has the attribute {name} twice"),
                ));
            }
            found.push(Attribute {
                space,
                name,
                value: value.into_owned(),
            });
        }
        Ok(found)
    }

    fn end(&mut self) {
        let Some(Some(element)) = self.open.pop() else {
            return;
        };
        match self.open.last_mut() {
            Some(Some(parent)) => parent.children.push(element),
            Some(None) => {}
            None => self.root = Some(element),
        }
    }

    fn text(&mut self, text: &str) {
        if let Some(Some(element)) = self.open.last_mut() {
            element.text.push_str(text);
        }
    }
}

/// The character that a reference stands for.
fn resolve(reference: &BytesRef<'_>) -> Result<String> {
    let refused = || {
        Error::unsupported(format!(
            "it refers to an entity, \"&{};\", that is not one of XML's own",
            printable(&String::from_utf8_lossy(reference))
        ))
    };
    if let Some(character) = reference.resolve_char_ref().map_err(|_| refused())? {
        return Ok(character.to_string());
    }
    let name = std::str::from_utf8(reference).map_err(|_| refused())?;
    resolve_predefined_entity(name)
        .map(str::to_owned)
        .ok_or_else(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_looked_up_by_halving() {
        assert!(KNOWN.is_sorted());
        assert_eq!(known(b"href"), Some("href"));
        assert_eq!(known(b"EULA"), None);
    }

    #[test]
    fn prefixes_do_not_matter() {
        let text = r#"<x:Envelope xmlns:x="http://schemas.dmtf.org/ovf/envelope/2" xmlns:y="urn:z">
            <x:References><x:File x:href="a &amp; b" y:id="no" id="f"/><y:File x:id="g"/>
            </x:References></x:Envelope>"#;
        let root = read(text, &mut Vec::new()).unwrap().unwrap();
        let references = root.first(Space::Ovf, "References").unwrap();
        assert_eq!(references.children.len(), 1);
        let file = references.first(Space::Ovf, "File").unwrap();
        assert_eq!(file.attribute(Space::Ovf, "href"), Some("a & b"));
        assert_eq!(file.attribute(Space::Ovf, "id"), Some("f"));
    }

    #[test]
    fn texts_are_put_together() {
        let text = "<Envelope xmlns='http://schemas.dmtf.org/ovf/envelope/1'><Name> a&lt;\
                    <![CDATA[<b>]]>&#x41;<EULA>no</EULA> </Name></Envelope>";
        let root = read(text, &mut Vec::new()).unwrap().unwrap();
        assert_eq!(root.text_of(Space::Ovf, "Name"), Some("a<<b>A"));
    }

    #[test]
    fn what_could_grow_or_reach_out_is_refused() {
        let refused = |text: &str| read(text, &mut Vec::new()).unwrap_err().to_string();
        assert!(refused("<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>").contains("DTD"));
        assert!(refused("<a>&b;</a>").contains("&b;"));
        assert!(refused("<a href='&b;'/>").contains("reference"));
        assert!(refused("<?xml version='1.0' encoding='UTF-16'?><a/>").contains("UTF-16"));
        assert!(refused("<a><b></a>").contains("well-formed"));
        assert!(refused("<a>").contains("ends"));
        assert!(refused("<a/><b/>").contains("follows"));
        assert!(read("", &mut Vec::new()).unwrap().is_none());
        assert!(refused("<x:a/>").contains("prefix"));
        let deep = "<a>".repeat(65);
        assert!(refused(&deep).contains("64 levels"));
        let wide: String = (0..65).map(|n| format!(" a{n}=''")).collect();
        assert!(refused(&format!("<a{wide}/>")).contains("64 attributes"));
        let many = format!("<a>{}</a>", "<b/>".repeat(100_000));
        assert!(refused(&many).contains("100000 elements"));
    }
}
