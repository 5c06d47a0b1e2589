//! The three actors of every black-box test: an origin, a newsroom, a reader.

pub(crate) mod authority;
pub(crate) mod browser;
pub(crate) mod collector;
pub(crate) mod frames;
pub(crate) mod held;
pub(crate) mod newspaper;
pub(crate) mod newsroom;
pub(crate) mod numbered;
pub(crate) mod operator;
pub(crate) mod origin;
pub(crate) mod peer;
pub(crate) mod press;
pub(crate) mod program;
pub(crate) mod reader;
pub(crate) mod valkey;

pub(crate) use authority::Authority;
pub(crate) use newsroom::{Newsroom, newsroom};
pub(crate) use operator::Operator;
pub(crate) use origin::{Gate, Origin, Port, Reply, html, json, origin, raw, status};
pub(crate) use peer::Peer;
pub(crate) use press::Press;
pub(crate) use program::Program;
pub(crate) use reader::Page;
pub(crate) use valkey::Valkey;
