//! Which of two frames of one copy stays. Owns the order of [`Stamp`]s, how one is written in front
//! of a frame, and the script by which the server compares; pure.
//!
//! # Why in the server, and why as text
//!
//! Two nodes that read, compare and write would overwrite each other between the two; a script runs
//! alone. It compares the stamps as text of one width, because Lua's numbers lose what is beyond
//! 2^53, and in decimal digits, because Lua compares text by the server's locale and every locale
//! agrees on digits.
//!
//! Invariant: whatever does not begin with a stamp is not ours: it is never shown, and any put
//! overwrites it.

use bytes::Bytes;

/// Orders two frames of one id.
///
/// Where both have a version and these differ, the higher one stays. Else time decides: the
/// incoming one replaces the known one unless `known.stored_at > incoming.began`, for then its
/// answer may be from before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// As given by the origin with a push.
    pub version: Option<u64>,
    /// When the frame was made, in microseconds since 1970 (UTC).
    pub stored_at: u64,
    /// When whoever made it set out, in microseconds since 1970 (UTC).
    pub began: u64,
}

/// Says whose value this is, and how it is laid out.
const MAGIC: &str = "mb1:";

/// Enough for the digits of any `u64`.
const DIGITS: usize = 20;

/// The magic, the version, the time, and a colon after each of these two.
pub(super) const HEADER_BYTES: usize = MAGIC.len() + 2 * (DIGITS + 1);

/// KEYS: the value. ARGV: the header, `began` as digits, `keep` in milliseconds, header and frame.
/// Returns 1 if the frame was put, 0 if a newer one is there.
///
/// `pcall`, since a key of another type answers with an error, and is overwritten too.
pub(super) const PUT: &str = r"
local function read(header)
  return string.match(header, '^mb1:([%d%-]+):(%d+):$')
end
local known = redis.pcall('GETRANGE', KEYS[1], 0, #ARGV[1] - 1)
if type(known) == 'string' and #known == #ARGV[1] then
  local version, stored = read(known)
  if version and #version == 20 then
    local incoming = read(ARGV[1])
    local both = not string.find(version .. incoming, '-', 1, true)
    if both and version ~= incoming then
      if version > incoming then return 0 end
    elseif stored > ARGV[2] then
      return 0
    end
  end
end
redis.call('SET', KEYS[1], ARGV[4], 'PX', ARGV[3])
return 1
";

impl Stamp {
    /// What stands in front of the frame.
    pub(super) fn header(&self) -> String {
        let stored_at = digits(self.stored_at);
        match self.version.map(digits) {
            Some(version) => format!("{MAGIC}{version}:{stored_at}:"),
            None => format!("{MAGIC}{:->DIGITS$}:{stored_at}:", ""),
        }
    }

    /// `began` as the script compares it.
    pub(super) fn began_digits(&self) -> String {
        digits(self.began)
    }
}

fn digits(number: u64) -> String {
    format!("{number:0DIGITS$}")
}

/// The frame behind the stamp, unless the value is not ours.
pub(super) fn frame(value: Bytes) -> Option<Bytes> {
    let header = std::str::from_utf8(value.get(..HEADER_BYTES)?).ok()?;
    let (version, stored_at) = header.strip_prefix(MAGIC)?.split_at_checked(DIGITS + 1)?;
    let version = version.strip_suffix(':')?;
    let numbered = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let readable = (numbered(version) || version.bytes().all(|byte| byte == b'-'))
        && numbered(stored_at.strip_suffix(':')?);
    readable.then(|| value.slice(HEADER_BYTES..))
}

/// What holds of every value in the store.
#[cfg(any(test, feature = "fuzzing"))]
pub(in crate::cache) fn hold(input: &[u8]) {
    let value = Bytes::copy_from_slice(input);
    if let Some(frame) = frame(value.clone()) {
        assert_eq!(frame, value[HEADER_BYTES..]);
        assert!(value.starts_with(MAGIC.as_bytes()));
    }
    let number = input.iter().fold(0, |n, byte| n << 8 | u64::from(*byte));
    let stamp = Stamp {
        version: number.is_multiple_of(2).then_some(number),
        stored_at: number,
        began: number,
    };
    let stamped = [stamp.header().as_bytes(), input].concat();
    assert_eq!(frame(stamped.into()), Some(value));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(version: Option<u64>, stored_at: u64) -> Stamp {
        Stamp {
            version,
            stored_at,
            began: 0,
        }
    }

    #[test]
    fn headers_have_one_width_and_the_frame_comes_back() {
        for version in [None, Some(0), Some(7), Some(u64::MAX)] {
            for stored_at in [0, 1, u64::MAX] {
                let header = stamp(version, stored_at).header();
                assert_eq!(header.len(), HEADER_BYTES, "{header}");
                for body in ["", "x", "\u{e9}tat"] {
                    let value = Bytes::from(format!("{header}{body}"));
                    assert_eq!(frame(value).unwrap(), body);
                }
            }
        }
    }

    #[test]
    fn headers_sort_as_their_numbers() {
        let numbers = [0, 1, 9, 10, 1 << 53, (1 << 53) + 1, u64::MAX];
        for pair in numbers.windows(2) {
            assert!(stamp(Some(pair[0]), 0).header() < stamp(Some(pair[1]), 0).header());
            assert!(digits(pair[0]) < digits(pair[1]));
        }
    }

    #[test]
    fn what_is_not_ours_is_no_frame() {
        let ours = format!("{}body", stamp(None, 5).header());
        let strange = [
            String::new(),
            "mb1:".to_owned(),
            ours[..HEADER_BYTES - 1].to_owned(),
            ours.replace("mb1", "mb2"),
            ours.replacen("---", "--1", 1),
            ours.replacen(":0", ":x", 1),
            format!("{}\u{e9}", &ours[..HEADER_BYTES - 1]),
            "<html>".repeat(20),
        ];
        for value in strange {
            assert_eq!(frame(Bytes::from(value.clone())), None, "{value}");
        }
    }
}
