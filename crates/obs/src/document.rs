//! XML answers that the SDK would not take, made readable: control characters in keys, and roots
//! that other servers name otherwise.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use aws_sdk_s3::config::interceptors::BeforeDeserializationInterceptorContextMut;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_sdk_s3::primitives::SdkBody;
use aws_smithy_runtime_api::client::orchestrator::Metadata;
use bytes::Bytes;
use http_body::{Body, Frame};
use http_body_util::combinators::Collect;
use http_body_util::{BodyExt, Limited};

/// Longest body of an answer, in bytes. What this crate asks for is answered in a few hundred.
const MAX_BODY: usize = 1 << 20;
/// The same of a range of an object. Nobody here asks for more.
const MAX_RANGE: usize = 16 << 20;

/// Name of the operation that `config` belongs to, such as `ListParts`.
pub(crate) fn operation(config: &ConfigBag) -> &str {
    config.load::<Metadata>().map_or("", Metadata::name)
}

/// An operation that is answered by a document.
struct Shape {
    operation: &'static str,
    /// Name of the document's root.
    root: &'static str,
    /// Elements that tell such a document whatever its root is called.
    telling: &'static [&'static str],
}

const SHAPES: [Shape; 6] = [
    Shape {
        operation: "CreateMultipartUpload",
        root: "InitiateMultipartUploadResult",
        telling: &["<UploadId>"],
    },
    Shape {
        operation: "UploadPartCopy",
        root: "CopyPartResult",
        telling: &["<ETag>"],
    },
    Shape {
        operation: "CompleteMultipartUpload",
        root: "CompleteMultipartUploadResult",
        telling: &["<ETag>", "<Location>"],
    },
    Shape {
        operation: "ListParts",
        root: "ListPartsResult",
        telling: &["<UploadId>", "<IsTruncated>", "<Part>"],
    },
    Shape {
        operation: "ListMultipartUploads",
        root: "ListMultipartUploadsResult",
        telling: &["<Upload>", "<IsTruncated>"],
    },
    Shape {
        operation: "ListObjects",
        root: "ListBucketResult",
        telling: &["<Contents>", "<IsTruncated>"],
    },
];

/// Whether a success of this operation is a document.
pub(crate) fn is_answered_by_document(operation: &str) -> bool {
    SHAPES.iter().any(|shape| shape.operation == operation)
}

/// Cuts a body off where it gets longer than what was asked for can be, because the SDK would take
/// all of it into memory; and makes documents readable.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Readable;

impl Intercept for Readable {
    fn name(&self) -> &'static str {
        "Readable"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let response = context.response_mut();
        let is_object = operation(config) == "GetObject" && response.status().is_success();
        let body = response.take_body();
        *response.body_mut() = if is_object {
            SdkBody::from_body_1_x(Limited::new(body, MAX_RANGE))
        } else {
            let shape = SHAPES
                .iter()
                .find(|shape| shape.operation == operation(config));
            SdkBody::from_body_1_x(Document {
                gathering: Some(Box::pin(Limited::new(body, MAX_BODY).collect())),
                shape,
            })
        };
        Ok(())
    }
}

/// A body that comes in one piece, made readable.
struct Document {
    gathering: Option<Pin<Box<Collect<Limited<SdkBody>>>>>,
    shape: Option<&'static Shape>,
}

impl Body for Document {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        let Some(gathering) = &mut this.gathering else {
            return Poll::Ready(None);
        };
        let gathered = ready!(gathering.as_mut().poll(cx));
        this.gathering = None;
        Poll::Ready(match gathered {
            Ok(body) => {
                let bytes = body.to_bytes();
                (!bytes.is_empty()).then(|| Ok(Frame::data(readable(bytes, this.shape))))
            }
            Err(error) => Some(Err(error)),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.gathering.is_none()
    }
}

/// The same document, as an XML parser takes it and with the root that the SDK expects.
fn readable(body: Bytes, shape: Option<&Shape>) -> Bytes {
    let is_forbidden = |byte: &u8| *byte < 0x20 && !matches!(byte, b'\t' | b'\n' | b'\r');
    let has_forbidden = body.iter().any(is_forbidden);
    let Ok(text) = std::str::from_utf8(&body) else {
        return body;
    };
    let root = root_of(text);
    let renamed = shape.zip(root).filter(|(shape, root)| {
        let local = root.rsplit(':').next().unwrap_or(root);
        local != shape.root
            && !local.eq_ignore_ascii_case("html")
            && local != "Error"
            && shape.telling.iter().any(|telling| text.contains(telling))
    });
    if !has_forbidden && renamed.is_none() {
        return body;
    }
    let text = match renamed {
        Some((shape, root)) => with_root(text, root, shape.root),
        None => text.to_owned(),
    };
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match u8::try_from(c) {
            Ok(byte) if is_forbidden(&byte) => escaped.push_str(&format!("&#x{byte:X};")),
            _ => escaped.push(c),
        }
    }
    escaped.into()
}

/// Name of the first element, as it is written.
fn root_of(text: &str) -> Option<&str> {
    let mut rest = text.trim_start_matches('\u{feff}').trim_start();
    loop {
        let inside = rest.strip_prefix('<')?;
        let end = match inside {
            _ if inside.starts_with('?') => "?>",
            _ if inside.starts_with("!--") => "-->",
            _ if inside.starts_with('!') => ">",
            _ => {
                let is_end = |c: char| c.is_whitespace() || matches!(c, '>' | '/');
                let name = inside.split(is_end).next()?;
                return (!name.is_empty()).then_some(name);
            }
        };
        rest = inside.split_once(end)?.1.trim_start();
    }
}

/// `text` with the element `root`, which is its first and last one, called `name`.
fn with_root(text: &str, root: &str, name: &str) -> String {
    let renamed = text.replacen(&format!("<{root}"), &format!("<{name}"), 1);
    match renamed.rsplit_once(&format!("</{root}")) {
        Some((before, after)) => format!("{before}</{name}{after}"),
        None => renamed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(operation: &str, body: &str) -> String {
        let shape = SHAPES.iter().find(|shape| shape.operation == operation);
        let body = readable(Bytes::copy_from_slice(body.as_bytes()), shape);
        String::from_utf8(body.to_vec()).unwrap()
    }

    #[test]
    fn control_characters_become_references() {
        let raw = "<A><Key>\u{1b}[31mx\u{1}\ty</Key>\n</A>";
        let expected = "<A><Key>&#x1B;[31mx&#x1;\ty</Key>\n</A>";
        assert_eq!(read("ListMultipartUploads", raw), expected);
        assert_eq!(read("", raw), expected);
    }

    #[test]
    fn a_root_of_another_name_is_renamed_if_the_document_is_what_was_asked_for() {
        let listed = "<?xml version=\"1.0\"?>\n<!-- a --><ListPartsResponse \
                      xmlns=\"x\"><UploadId>u</UploadId></ListPartsResponse>";
        let renamed = listed.replace("ListPartsResponse", "ListPartsResult");
        assert_eq!(read("ListParts", listed), renamed);
        assert_eq!(read("ListParts", &renamed), renamed);
        let prefixed = "<s3:Parts><IsTruncated>false</IsTruncated></s3:Parts>";
        let expected = "<ListPartsResult><IsTruncated>false</IsTruncated></ListPartsResult>";
        assert_eq!(read("ListParts", prefixed), expected);
        for other in [
            "<Error><UploadId>u</UploadId></Error>",
            "<!DOCTYPE html><HTML><UploadId>u</UploadId></HTML>",
            "<Something/>",
            "<UploadId",
            "no document <UploadId>",
            "",
        ] {
            assert_eq!(read("ListParts", other), other);
        }
    }
}
