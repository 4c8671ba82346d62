//! What a script is told of a request.

/// The operation of the S3 protocol that a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// POST ?uploads
    CreateUpload,
    /// PUT ?partNumber&uploadId
    UploadPart,
    /// PUT ?partNumber&uploadId with a copy source
    CopyPart,
    /// GET ?uploadId
    ListParts,
    /// POST ?uploadId
    CompleteUpload,
    /// DELETE ?uploadId
    AbortUpload,
    /// GET bucket?uploads
    ListUploads,
    /// PUT object
    PutObject,
    /// PUT object with a copy source
    CopyObject,
    /// GET object
    GetObject,
    /// HEAD object
    HeadObject,
    /// DELETE object
    DeleteObject,
    /// HEAD bucket
    HeadBucket,
    /// Everything else.
    Other,
}

/// A request, by its head. Addressing is path-style.
#[derive(Clone, Debug)]
pub struct Seen {
    /// What it asks for.
    pub op: Op,
    /// Its part number, if it has one.
    pub part: Option<u32>,
    /// Method.
    pub method: String,
    /// Path and query as sent.
    pub target: String,
    /// Headers in order, names as sent.
    pub headers: Vec<(String, String)>,
    /// The how many-th request of this operation it is, from 1.
    pub nth: u32,
    /// The how many-th request of this operation, path and part it is, from 1.
    pub attempt: u32,
    /// How many requests of this operation are under way, this one included.
    pub in_flight: u32,
}

impl Seen {
    /// Tells the operation of a request.
    pub(super) fn new(method: &str, target: &str, headers: Vec<(String, String)>) -> Self {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let param = |name: &str| {
            query.split('&').find_map(|pair| {
                let (found, value) = pair.split_once('=').unwrap_or((pair, ""));
                (found == name).then_some(value)
            })
        };
        let part = param("partNumber").and_then(|number| number.parse().ok());
        let is_object = path
            .trim_start_matches('/')
            .split_once('/')
            .is_some_and(|(_, key)| !key.is_empty());
        let copies = headers
            .iter()
            .any(|(name, _)| name.to_ascii_lowercase().ends_with("-copy-source"));
        let upload = param("uploadId").is_some();
        let op = match method {
            "POST" if upload => Op::CompleteUpload,
            "POST" if param("uploads").is_some() => Op::CreateUpload,
            "PUT" if upload && copies => Op::CopyPart,
            "PUT" if upload => Op::UploadPart,
            "PUT" if is_object && copies => Op::CopyObject,
            "PUT" if is_object => Op::PutObject,
            "GET" if upload => Op::ListParts,
            "GET" if param("uploads").is_some() => Op::ListUploads,
            "GET" if is_object => Op::GetObject,
            "HEAD" if is_object => Op::HeadObject,
            "HEAD" => Op::HeadBucket,
            "DELETE" if upload => Op::AbortUpload,
            "DELETE" if is_object => Op::DeleteObject,
            _ => Op::Other,
        };
        Self {
            op,
            part,
            method: method.to_owned(),
            target: target.to_owned(),
            headers,
            nth: 0,
            attempt: 0,
            in_flight: 0,
        }
    }

    /// The first header called `name`, in any case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers
            .find(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The target without its query: `/bucket/key`.
    #[must_use]
    pub fn path(&self) -> &str {
        let end = self.target.find('?').unwrap_or(self.target.len());
        self.target.get(..end).unwrap_or_default()
    }

    /// Whether this sends part `number`.
    #[must_use]
    pub fn is_part(&self, number: u32) -> bool {
        self.op == Op::UploadPart && self.part == Some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_told_by_method_and_query() {
        let op = |method, target| Seen::new(method, target, Vec::new()).op;
        assert_eq!(op("POST", "/b/k?uploads"), Op::CreateUpload);
        assert_eq!(op("POST", "/b/k?uploads="), Op::CreateUpload);
        assert_eq!(op("POST", "/b/k?uploadId=x"), Op::CompleteUpload);
        assert_eq!(op("PUT", "/b/k?partNumber=3&uploadId=x"), Op::UploadPart);
        assert_eq!(op("PUT", "/b/k?x-id=PutObject"), Op::PutObject);
        assert_eq!(op("GET", "/b/k?uploadId=x"), Op::ListParts);
        assert_eq!(op("GET", "/b?uploads"), Op::ListUploads);
        assert_eq!(op("GET", "/b/k"), Op::GetObject);
        assert_eq!(op("HEAD", "/b/k"), Op::HeadObject);
        assert_eq!(op("HEAD", "/b/"), Op::HeadBucket);
        assert_eq!(op("DELETE", "/b/k?uploadId=x"), Op::AbortUpload);
        let source = vec![("X-Amz-Copy-Source".to_owned(), "b/zero".to_owned())];
        let copy = Seen::new("PUT", "/b/k?partNumber=7&uploadId=x", source);
        assert_eq!((copy.op, copy.part), (Op::CopyPart, Some(7)));
        assert_eq!(copy.path(), "/b/k");
    }
}
