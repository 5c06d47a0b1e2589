//! What expressions come to. Owns comparison, truth and the text of values, and whose text it is:
//! what a reader has sent is not written into HTML, or into an address, as if the site had said it.

/// Whose text it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Author {
    /// The site wrote it.
    Site,
    /// A document's own text that a reader's was written into: escaped where that is done, so it may
    /// stand in HTML as it is, and is a reader's in an address or a header.
    Written,
    /// A whole query, which is made of several values.
    ReaderQuery,
    /// It came with the request.
    Reader,
}

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    /// There is none.
    Undefined,
    /// Yes or no.
    Bool(bool),
    /// A whole number.
    Number(i64),
    /// Text.
    Text(String, Author),
    /// Several.
    List(Vec<Self>),
    /// Values by name, in the order in which they were set.
    Dictionary(Vec<(String, Self)>),
}

/// How two values are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    Unequal,
    Less,
    Greater,
    AtMost,
    AtLeast,
    /// The left one holds the right one.
    Has,
    /// The same, whatever the case of letters.
    HasAnyCase,
}

impl Value {
    /// Text of the site.
    pub(super) fn own(text: impl Into<String>) -> Self {
        Self::Text(text.into(), Author::Site)
    }

    /// Text of the reader.
    pub(super) fn readers(text: impl Into<String>) -> Self {
        Self::Text(text.into(), Author::Reader)
    }

    /// The same value as text, cut to `max` bytes.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Undefined => String::new(),
            Self::Bool(value) => value.to_string(),
            Self::Number(number) => number.to_string(),
            Self::Text(text, _) => text.clone(),
            Self::List(items) => {
                let texts: Vec<String> = items.iter().map(Self::text).collect();
                texts.join(",")
            }
            Self::Dictionary(entries) => {
                let texts: Vec<String> = entries
                    .iter()
                    .map(|(key, value)| format!("{key}={}", value.text()))
                    .collect();
                texts.join("&")
            }
        }
    }

    /// Whose text it is; several are their least trusted one's.
    pub(super) fn author(&self) -> Author {
        match self {
            Self::Undefined | Self::Bool(_) | Self::Number(_) => Author::Site,
            Self::Text(_, author) => *author,
            Self::List(items) => {
                let authors = items.iter().map(Self::author);
                authors.max().unwrap_or(Author::Site)
            }
            // keys are told apart by nobody: a reader's is there with a reader's value, see `under`
            Self::Dictionary(entries) => {
                let authors = entries.iter().map(|(_, value)| value.author());
                authors.max().unwrap_or(Author::Site)
            }
        }
    }

    /// The same value as it is kept under a key that is somebody's: it is a reader's where the key is one, so
    /// that nothing writes the two as if the site had said them.
    pub(super) fn under(self, key: Author) -> Self {
        if key == Author::Site {
            return self;
        }
        match self {
            Self::Undefined => Self::Undefined,
            Self::List(items) => {
                Self::List(items.into_iter().map(|item| item.under(key)).collect())
            }
            Self::Dictionary(entries) => {
                let entries = entries.into_iter();
                Self::Dictionary(
                    entries
                        .map(|(name, value)| (name, value.under(key)))
                        .collect(),
                )
            }
            Self::Bool(_) | Self::Number(_) | Self::Text(..) => Self::readers(self.text()),
        }
    }

    /// Whether there is something.
    pub(super) fn is_there(&self) -> bool {
        match self {
            Self::Undefined => false,
            Self::Text(text, _) => !text.is_empty(),
            Self::List(items) => !items.is_empty(),
            Self::Dictionary(entries) => !entries.is_empty(),
            Self::Bool(_) | Self::Number(_) => true,
        }
    }

    /// Whether it counts as true where a test is nothing but a value.
    pub(super) fn is_true(&self) -> bool {
        match self {
            Self::Bool(value) => *value,
            Self::Number(number) => *number != 0,
            Self::Undefined | Self::Text(..) | Self::List(_) | Self::Dictionary(_) => {
                self.is_there()
            }
        }
    }

    /// The number that it is, or that its text is.
    pub(super) fn number(&self) -> Option<i64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Text(text, _) => text.trim().parse().ok(),
            Self::Undefined | Self::Bool(_) | Self::List(_) | Self::Dictionary(_) => None,
        }
    }

    /// The same with digits after a point.
    fn decimal(&self) -> Option<f64> {
        let text = self.text();
        let unsigned = text.trim().trim_start_matches(['+', '-']);
        let is_plain = |c: char| c.is_ascii_digit() || c == '.';
        // neither `inf` nor `1e9`
        match unsigned.chars().all(is_plain) {
            true => text.trim().parse().ok(),
            false => None,
        }
    }

    /// How two values compare as numbers, if both are.
    fn as_numbers(&self, other: &Self) -> Option<std::cmp::Ordering> {
        match (self.number(), other.number()) {
            (Some(left), Some(right)) => Some(left.cmp(&right)),
            _ => self.decimal()?.partial_cmp(&other.decimal()?),
        }
    }

    /// Compares as numbers where both are, else as text. With what is undefined nothing compares
    /// (ESI 1.0, 4.2); nor does a number with what is none, but that they differ.
    pub(super) fn compares(&self, how: Comparison, other: &Self) -> bool {
        if *self == Self::Undefined || *other == Self::Undefined {
            return false;
        }
        let order = match self.as_numbers(other) {
            Some(order) => order,
            None => {
                let is_number = |value: &Self| matches!(value, Self::Number(_));
                let holds = matches!(how, Comparison::Has | Comparison::HasAnyCase);
                if (is_number(self) || is_number(other)) && !holds {
                    return how == Comparison::Unequal;
                }
                self.text().cmp(&other.text())
            }
        };
        match how {
            Comparison::Equal => order.is_eq(),
            Comparison::Unequal => order.is_ne(),
            Comparison::Less => order.is_lt(),
            Comparison::Greater => order.is_gt(),
            Comparison::AtMost => order.is_le(),
            Comparison::AtLeast => order.is_ge(),
            Comparison::Has => self.text().contains(&other.text()),
            Comparison::HasAnyCase => {
                let lower = |value: &Self| value.text().to_lowercase();
                lower(self).contains(&lower(other))
            }
        }
    }
}

/// The text for a place in HTML. A reader's `<`, `>` and quotes cannot end the text or the attribute
/// that they are written into; an `&` does no harm, and queries are full of them.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            _ => escaped.push(character),
        }
    }
    escaped
}

/// The text for a place in an address that begins with `before`: within the one segment of the path,
/// or the one value of the query, that it is written into.
pub(super) fn in_address(before: &str, text: &str, author: Author) -> String {
    use std::fmt::Write as _;
    if author == Author::Site {
        return text.to_owned();
    }
    let in_query = before.contains('?');
    if !in_query && matches!(text, "." | "..") {
        return String::new();
    }
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        let is_kept = match byte {
            b'&' | b'=' | b'+' => author == Author::ReaderQuery || (byte != b'&' && in_query),
            b'/' | b'?' => in_query,
            b'#' | b'\\' | b'<' | b'>' | b'"' | b'{' | b'}' | b'^' | b'`' | b'|' => false,
            _ => byte.is_ascii_graphic(),
        };
        if is_kept {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}
