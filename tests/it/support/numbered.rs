//! Text that tells its own truth: a piece says its name, its number and its length, and all the
//! rest of it follows from these. So a copy that is torn, mixed from two or wrong in one byte is
//! known from itself, however often the origin has said something else since.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Compression gains little on these.
const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 ,";

const START: &str = "<p data-name=\"";

/// The piece of this name and number, with so many bytes of text.
pub(crate) fn piece(name: &str, number: u64, bytes: usize) -> String {
    let mut rng = fastrand::Rng::with_seed(xxh3_64_with_seed(name.as_bytes(), number));
    let mut text = vec![0; bytes];
    rng.fill(&mut text);
    for byte in &mut text {
        *byte = LETTERS[usize::from(*byte % 64)];
    }
    let text = String::from_utf8(text).expect("letters");
    format!(
        "{START}{name}\" data-number=\"{number}\" data-bytes=\"{bytes}\">{text}</p><!--{name} {number}-->"
    )
}

/// The same with a length that follows from name and number.
pub(crate) fn piece_within(name: &str, number: u64, bytes: &RangeInclusive<usize>) -> String {
    let spread = (bytes.end() - bytes.start() + 1) as u64;
    let more = xxh3_64_with_seed(name.as_bytes(), !number) % spread;
    piece(name, number, bytes.start() + more as usize)
}

/// The names and numbers of the pieces that these bytes are, with nothing before, between or behind
/// them; or what is wrong.
pub(crate) fn pieces(html: &str) -> Result<BTreeMap<String, u64>, String> {
    let mut found = BTreeMap::new();
    let mut rest = html;
    while !rest.is_empty() {
        let at = html.len() - rest.len();
        let (name, number, bytes) = opening(rest)
            .ok_or_else(|| format!("no piece begins at byte {at}: {}", shown(rest)))?;
        let whole = piece(name, number, bytes.min(html.len()));
        rest = rest
            .strip_prefix(&*whole)
            .ok_or_else(|| format!("{name} {number}, at byte {at}, is not what was said"))?;
        if found.insert(name.to_owned(), number).is_some() {
            return Err(format!("{name} is there twice"));
        }
    }
    Ok(found)
}

fn opening(text: &str) -> Option<(&str, u64, usize)> {
    let (name, rest) = text.strip_prefix(START)?.split_once("\" data-number=\"")?;
    let (number, rest) = rest.split_once("\" data-bytes=\"")?;
    let (bytes, _) = rest.split_once("\">")?;
    Some((name, number.parse().ok()?, bytes.parse().ok()?))
}

fn shown(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    #[allow(unused_imports, reason = "the soak has this file too, and no harness")]
    use super::*;

    #[test]
    fn a_wrong_byte_a_cut_and_a_mixture_are_known() {
        let page = piece("a", 1, 200) + &piece("b", 2, 0);
        assert_eq!(
            pieces(&page),
            Ok([("a".to_owned(), 1), ("b".to_owned(), 2)].into())
        );
        for at in 0..page.len() {
            let mut wrong = page.clone().into_bytes();
            wrong[at] = if wrong[at] == b'x' { b'y' } else { b'x' };
            assert!(pieces(&String::from_utf8(wrong).unwrap()).is_err(), "{at}");
        }
        let whole = piece("a", 1, 200).len();
        for to in (1..page.len()).filter(|to| *to != whole) {
            assert!(pieces(&page[..to]).is_err(), "{to}");
        }
        let (new, old) = (piece("a", 2, 200), piece("a", 1, 200));
        assert!(pieces(&(new[..120].to_owned() + &old[120..])).is_err());
        assert!(pieces(&(page.clone() + &page)).is_err());
    }
}
