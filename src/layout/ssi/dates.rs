//! `date_local` and `date_gmt`: a time in the words of `config timefmt`. Owns the meaning of the
//! format, which is that of C's `strftime` in its default locale.

use jiff::fmt::strtime::BrokenDownTime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

/// What is written of a date at most: nginx's `NGX_HTTP_SSI_DATE_LEN`, in bytes.
const DATE_BYTES_MAX: usize = 2048;

/// What may stand between `%` and its letter: how to fill up, and the other calendars and digits of
/// POSIX, of which the default locale has none.
const FLAGS: [char; 7] = ['-', '_', '0', '^', '#', 'E', 'O'];

/// The letters of C and of its usual libraries that need no translation.
const LETTERS: &str = "aAbBCdeFgGHIjklmMpPRSTuUVwWyYzZ";

/// Which of the two dates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Zone {
    /// In the time of the site.
    Local,
    /// In Greenwich's.
    Gmt,
}

/// How dates are shown at this place of the document.
#[derive(Debug, Clone)]
pub(super) struct Dates {
    /// The site's time zone.
    pub zone: TimeZone,
    /// What `config timefmt` says.
    pub format: Vec<u8>,
}

impl Dates {
    /// nginx's format, in this zone.
    pub(super) fn within(zone: TimeZone) -> Self {
        Self {
            zone,
            format: b"%A, %d-%b-%Y %H:%M:%S %Z".to_vec(),
        }
    }

    /// A time in this format; nothing if that would be too long.
    pub(super) fn show(&self, unix_seconds: i64, zone: Zone) -> String {
        let Ok(timestamp) = Timestamp::from_second(unix_seconds) else {
            return String::new();
        };
        let zoned = match zone {
            Zone::Local => timestamp.to_zoned(self.zone.clone()),
            Zone::Gmt => timestamp.to_zoned(TimeZone::UTC),
        };
        let format = String::from_utf8_lossy(&self.format);
        let mut shown = String::new();
        let mut parts = format.split('%');
        shown.push_str(parts.next().unwrap_or_default());
        while let Some(part) = parts.next() {
            if part.is_empty() {
                // `%%`: what stands between the two is empty, and what follows them is text
                shown.push('%');
                shown.push_str(parts.next().unwrap_or_default());
                continue;
            }
            let fill = part.trim_start_matches(FLAGS);
            let Some(letter) = fill.chars().next() else {
                // nothing but flags
                shown.push('%');
                shown.push_str(part);
                continue;
            };
            let (flags, rest) = part.split_at(part.len() - fill.len());
            shown.push_str(&field(flags, letter, &zoned, zone));
            shown.push_str(&rest[letter.len_utf8()..]);
            if shown.len() > DATE_BYTES_MAX {
                return String::new();
            }
        }
        shown
    }
}

impl Default for Dates {
    fn default() -> Self {
        Self::within(TimeZone::UTC)
    }
}

/// What one letter after `%` stands for; as it was written if it stands for nothing.
fn field(flags: &str, letter: char, zoned: &Zoned, zone: Zone) -> String {
    let fill = flags.trim_matches(['E', 'O']);
    let format = match letter {
        's' => return zoned.timestamp().as_second().to_string(),
        'n' => return "\n".to_owned(),
        't' => return "\t".to_owned(),
        'Z' if zone == Zone::Gmt => return "GMT".to_owned(),
        'c' => "%a %b %e %H:%M:%S %Y".to_owned(),
        'D' | 'x' => "%m/%d/%y".to_owned(),
        'X' => "%H:%M:%S".to_owned(),
        'r' => "%I:%M:%S %p".to_owned(),
        'h' => "%b".to_owned(),
        other if LETTERS.contains(other) => format!("%{fill}{other}"),
        other => return format!("%{flags}{other}"),
    };
    let shown = BrokenDownTime::from(zoned).to_string(&format);
    shown.unwrap_or_else(|_| format!("%{flags}{letter}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(format: &str, zone: Zone) -> String {
        let dates = Dates {
            format: format.into(),
            ..Dates::within(TimeZone::get("Europe/Paris").unwrap())
        };
        dates.show(784_111_777, zone)
    }

    #[test]
    fn formats_are_strftimes() {
        for (format, is) in [
            (
                "%A, %d-%b-%Y %H:%M:%S %Z",
                "Sunday, 06-Nov-1994 08:49:37 GMT",
            ),
            ("%s", "784111777"),
            ("%a %e %B %y, %I:%M %p", "Sun  6 November 94, 08:49 AM"),
            (
                "%c|%D|%T|%R|%F|%r",
                "Sun Nov  6 08:49:37 1994|11/06/94|08:49:37|08:49|1994-11-06|08:49:37 AM",
            ),
            ("%j %U %W %V %u %w %C %G", "310 45 44 44 7 0 19 1994"),
            ("100%% %H%%%M", "100% 08%49"),
            ("%q %é %", "%q %é %"),
            ("%Ey %Od", "94 06"),
            ("%-d %_m %", "6 11 %"),
            ("%E", "%E"),
            ("ELSE", "ELSE"),
            ("", ""),
        ] {
            assert_eq!(shown(format, Zone::Gmt), is, "{format}");
        }
        assert_eq!(
            shown("%H:%M %Z %z", Zone::Local),
            "09:49 CET +0100",
            "the site's own time"
        );
        assert_eq!(shown(&"%A ".repeat(1000), Zone::Gmt), "", "too long");
    }
}
