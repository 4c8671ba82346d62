//! What can happen to a request.

use std::time::Duration;

/// What happens to one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The request is read and answered with this status and error code, and never reaches the
    /// server. Code 200 makes the answer an error inside a success.
    Answer {
        /// Status code.
        status: u16,
        /// `<Code>` of the error document; empty for an answer without a body.
        code: &'static str,
        /// Further headers.
        headers: Vec<(&'static str, String)>,
    },
    /// The request is read, does not reach the server, and is answered as a network does whose
    /// users must sign in: by a web page under status 200, or by a redirect to one under another.
    SignInPage(u16),
    /// The connection is reset as soon as the request's head was read.
    ResetBefore,
    /// Half of the body reaches the server, then both connections are reset.
    ResetInBody,
    /// The server gets the request and answers; the client's connection is reset instead.
    ResetAfter,
    /// Nobody reads the request's body and nobody answers: what the client sends piles up in its
    /// socket.
    StallInBody,
    /// The request is read, does not reach the server, and is never answered.
    Stall,
    /// The server gets the request and answers; the client hears nothing, for ever.
    StallAfter,
    /// The server's answer stops in the middle, and the connection stays open.
    StallInAnswer,
    /// The server's answer ends in the middle.
    TruncatedAnswer,
    /// The server's answer has other ETags than the server said.
    WrongEtag,
    /// The server does what it is asked for, and the client is answered with 500 InternalError.
    LostAnswer,
    /// The server does what it is asked for, and the client gets a web page with this status, as
    /// gateways have them.
    PageAfter(u16),
    /// The server gets the request twice, as from a proxy that repeats it; the client gets the
    /// second answer.
    Twice,
    /// One bit of the body is another one when it reaches the server.
    DamagedBody,
    /// The answer comes this much later.
    Slow(Duration),
}
