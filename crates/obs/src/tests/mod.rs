//! What goes over the wire, where only the inside of this crate can say what is to be sent.

mod payload;
mod wire;
