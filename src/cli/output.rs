//! Printing. Owns the two streams: results and messages. A reader who closes the pipe early is no
//! error.

use std::io::Write as _;

use serde::Serialize;

/// Writes a result.
pub(super) fn result(text: &str) {
    let mut out = anstream::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Writes a result's bytes as they are.
pub(super) fn bytes(bytes: &[u8]) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(bytes).and_then(|()| out.flush());
}

/// Writes a result as JSON.
pub(super) fn json(value: &impl Serialize) {
    let text = serde_json::to_string_pretty(value).expect("what is printed has string keys");
    result(&format!("{text}\n"));
}

/// Writes a message.
pub(super) fn message(text: &str) {
    let mut err = anstream::stderr().lock();
    let _ = err
        .write_all(text.as_bytes())
        .and_then(|()| err.write_all(b"\n"));
}

/// Whether messages may have colours.
pub(super) fn colours() -> bool {
    use std::io::IsTerminal as _;
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}
