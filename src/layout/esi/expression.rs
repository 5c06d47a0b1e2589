//! The expression language: text → a tree. Owns its grammar; what a variable is worth and what a
//! function does is the [evaluation's](super::evaluate) affair.
//!
//! ESI 1.0 has comparisons, `!`, `&` and `|`, which bind in this order; numbers are whole ones.
//! Beyond it there are `&&`, `||`, arithmetic from left to right, `has`, `has_i`, `matches`,
//! `matches_i`, lists, ranges, dictionaries and functions, as Akamai and Fastly have them, and ledge's
//! `=~`. Numbers with a point are texts that [compare](super::value) as numbers.
//! Invariant: a tree is no deeper than [`DEPTH_MAX`].

use super::value::Comparison;

/// Parentheses, lists and calls inside one another; each takes some of the stack.
const DEPTH_MAX: usize = 24;

/// Operators and items of one expression.
const PARTS_MAX: usize = 2048;

/// An expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Expression {
    Number(i64),
    Text(String),
    Bool(bool),
    List(Vec<Self>),
    Range(Box<Self>, Box<Self>),
    Dictionary(Vec<(Self, Self)>),
    /// `$(NAME{key}|default)`
    Variable {
        name: String,
        keys: Vec<Self>,
        default: Option<Box<Self>>,
    },
    /// `$name(…)`
    Call(String, Vec<Self>),
    Not(Box<Self>),
    Any(Vec<Self>),
    All(Vec<Self>),
    Compare(Box<Self>, Comparison, Box<Self>),
    /// A text and a regular expression.
    Match(Box<Self>, Pattern, Box<Self>),
    /// `+ - * / %`
    Arithmetic(Box<Self>, u8, Box<Self>),
}

impl Expression {
    /// `$(NAME)`
    fn variable(name: &str) -> Self {
        Self::Variable {
            name: name.to_owned(),
            keys: Vec::new(),
            default: None,
        }
    }
}

/// How a regular expression is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pattern {
    /// `matches`: as it is.
    Plain,
    /// `matches_i`: the case of letters does not matter.
    AnyCase,
    /// `=~`: between slashes, an `i` may follow.
    Slashes,
}

/// Reads what stands in the braces after a name; `None` if it is no key.
pub(super) fn parse_key(text: &str) -> Option<Expression> {
    let mut parser = Parser {
        rest: text,
        depth: 0,
        parts: 0,
    };
    let key = parser.bare(&[])?;
    parser.blank();
    parser.rest.is_empty().then_some(key)
}

/// Reads an expression; `None` if it is none.
pub(super) fn parse(text: &str) -> Option<Expression> {
    let mut parser = Parser {
        rest: text,
        depth: 0,
        parts: 0,
    };
    let expression = parser.any()?;
    parser.blank();
    parser.rest.is_empty().then_some(expression)
}

/// Reads what a loop goes through: an expression, or the bare name of a variable.
pub(super) fn parse_collection(text: &str) -> Option<Expression> {
    let name = text.trim();
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.chars().all(is_word);
    match is_name && !matches!(name, "true" | "false") {
        true => Some(Expression::variable(name)),
        false => parse(text),
    }
}

struct Parser<'t> {
    rest: &'t str,
    depth: usize,
    parts: usize,
}

impl Parser<'_> {
    fn blank(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn take(&mut self, text: &str) -> bool {
        self.blank();
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// One more part, if that is not too many.
    fn part(&mut self) -> Option<()> {
        self.parts += 1;
        (self.parts <= PARTS_MAX).then_some(())
    }

    fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        self.depth += 1;
        let found = (self.depth <= DEPTH_MAX).then(|| read(self)).flatten();
        self.depth -= 1;
        found
    }

    fn any(&mut self) -> Option<Expression> {
        let first = self.all()?;
        let mut several = vec![first];
        while self.take("||") || self.take("|") {
            self.part()?;
            several.push(self.all()?);
        }
        one_or(several, Expression::Any)
    }

    fn all(&mut self) -> Option<Expression> {
        let first = self.not()?;
        let mut several = vec![first];
        while self.take("&&") || self.take("&") {
            self.part()?;
            several.push(self.not()?);
        }
        one_or(several, Expression::All)
    }

    fn not(&mut self) -> Option<Expression> {
        self.blank();
        if self.rest.starts_with('!') && !self.rest.starts_with("!=") {
            self.rest = &self.rest[1..];
            let negated = self.deeper(Self::not)?;
            return Some(Expression::Not(Box::new(negated)));
        }
        self.comparison()
    }

    fn comparison(&mut self) -> Option<Expression> {
        let left = self.sum()?;
        if let Some(pattern) = self.pattern_sign() {
            self.part()?;
            let right = self.sum()?;
            return Some(Expression::Match(Box::new(left), pattern, Box::new(right)));
        }
        let Some(how) = self.comparison_sign() else {
            return Some(left);
        };
        self.part()?;
        let right = self.sum()?;
        Some(Expression::Compare(Box::new(left), how, Box::new(right)))
    }

    fn pattern_sign(&mut self) -> Option<Pattern> {
        if self.take("=~") {
            return Some(Pattern::Slashes);
        }
        const WORDS: [(&str, Pattern); 2] =
            [("matches_i", Pattern::AnyCase), ("matches", Pattern::Plain)];
        self.take_word(&WORDS)
    }

    /// One of these words, and not the start of a longer one.
    fn take_word<T: Copy>(&mut self, words: &[(&str, T)]) -> Option<T> {
        for (word, meaning) in words {
            let after = self.rest.strip_prefix(word);
            if let Some(after) = after.filter(|after| !after.starts_with(is_word)) {
                self.rest = after;
                return Some(*meaning);
            }
        }
        None
    }

    fn comparison_sign(&mut self) -> Option<Comparison> {
        const SIGNS: [(&str, Comparison); 6] = [
            ("==", Comparison::Equal),
            ("!=", Comparison::Unequal),
            ("<=", Comparison::AtMost),
            (">=", Comparison::AtLeast),
            ("<", Comparison::Less),
            (">", Comparison::Greater),
        ];
        const WORDS: [(&str, Comparison); 2] =
            [("has_i", Comparison::HasAnyCase), ("has", Comparison::Has)];
        for (sign, how) in SIGNS {
            if self.take(sign) {
                return Some(how);
            }
        }
        self.take_word(&WORDS)
    }

    /// No sign binds more tightly than another one: `2 + 3 * 4` is 20.
    fn sum(&mut self) -> Option<Expression> {
        let mut sum = self.operand()?;
        while let Some(sign) = self.sign(b"+-*/%") {
            self.part()?;
            let right = self.operand()?;
            sum = self.arithmetic(sum, sign, right)?;
        }
        Some(sum)
    }

    /// A chain of operators is as deep a tree as it is long.
    fn arithmetic(&self, left: Expression, sign: u8, right: Expression) -> Option<Expression> {
        const CHAIN_MAX: usize = 256;
        let chained = Expression::Arithmetic(Box::new(left), sign, Box::new(right));
        (self.parts <= CHAIN_MAX).then_some(chained)
    }

    fn sign(&mut self, signs: &[u8]) -> Option<u8> {
        self.blank();
        let sign = *self.rest.as_bytes().first()?;
        if !signs.contains(&sign) {
            return None;
        }
        self.rest = &self.rest[1..];
        Some(sign)
    }

    fn operand(&mut self) -> Option<Expression> {
        self.blank();
        match self.rest.as_bytes().first()? {
            b'(' => self.deeper(|parser| {
                parser.take("(");
                let inside = parser.any()?;
                parser.take(")").then_some(inside)
            }),
            b'\'' | b'"' => self.text().map(Expression::Text),
            b'[' => self.deeper(Self::list),
            b'{' => self.deeper(Self::dictionary),
            b'$' => self.deeper(Self::variable),
            b'-' | b'+' | b'0'..=b'9' => self.number(),
            _ => self.word(),
        }
    }

    fn word(&mut self) -> Option<Expression> {
        let end = self.rest.find(|c| !is_word(c)).unwrap_or(self.rest.len());
        let word = &self.rest[..end];
        let value = match word {
            "true" => true,
            "false" => false,
            _ => return None,
        };
        self.rest = &self.rest[end..];
        Some(Expression::Bool(value))
    }

    fn number(&mut self) -> Option<Expression> {
        let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
        let sign = usize::from(self.rest.starts_with(['-', '+']));
        let whole = digits(&self.rest[sign..]);
        if whole == 0 {
            return None;
        }
        let mut end = sign + whole;
        // the points of a range are not the point of a number
        let fraction = self.rest[end..].strip_prefix('.').map_or(0, digits);
        if fraction > 0 {
            end += 1 + fraction;
        }
        let (number, rest) = self.rest.split_at(end);
        self.rest = rest;
        match fraction {
            0 => number.parse().ok().map(Expression::Number),
            _ => Some(Expression::Text(number.to_owned())),
        }
    }

    /// Text in quotes. A backslash takes the meaning from a quote or a backslash after it, and is itself
    /// before anything else, so that `'\d'` is a digit where it is matched; between three quotes it always is.
    fn text(&mut self) -> Option<String> {
        if let Some(rest) = self.rest.strip_prefix("'''") {
            let (text, rest) = rest.split_once("'''")?;
            self.rest = rest;
            return Some(text.to_owned());
        }
        let mut characters = self.rest.char_indices();
        let (_, quote) = characters.next()?;
        let mut text = String::new();
        while let Some((at, character)) = characters.next() {
            match character {
                '\\' => match characters.next()?.1 {
                    marked @ ('\\' | '\'' | '"') => text.push(marked),
                    other => text.extend(['\\', other]),
                },
                _ if character == quote => {
                    self.rest = &self.rest[at + 1..];
                    return Some(text);
                }
                _ => text.push(character),
            }
        }
        None
    }

    fn list(&mut self) -> Option<Expression> {
        self.take("[");
        if self.take("]") {
            return Some(Expression::List(Vec::new()));
        }
        let first = self.any()?;
        if self.take("..") {
            let last = self.any()?;
            let range = Expression::Range(Box::new(first), Box::new(last));
            return self.take("]").then_some(range);
        }
        let mut items = vec![first];
        while self.take(",") {
            self.part()?;
            items.push(self.any()?);
        }
        self.take("]").then_some(Expression::List(items))
    }

    fn dictionary(&mut self) -> Option<Expression> {
        self.take("{");
        let mut entries = Vec::new();
        if self.take("}") {
            return Some(Expression::Dictionary(entries));
        }
        loop {
            self.part()?;
            let key = self.any()?;
            self.take(":").then_some(())?;
            entries.push((key, self.any()?));
            if !self.take(",") {
                break;
            }
        }
        self.take("}").then_some(Expression::Dictionary(entries))
    }

    fn variable(&mut self) -> Option<Expression> {
        self.rest = self.rest.strip_prefix('$')?;
        if let Some(rest) = self.rest.strip_prefix('(') {
            self.rest = rest;
            return self.reference();
        }
        let name = self.name()?;
        self.rest = self.rest.strip_prefix('(')?;
        let mut arguments = Vec::new();
        if !self.take(")") {
            // names of functions are small: `$A(B)` is more likely text that is meant for the browser
            let argument = match name.contains(|c: char| c.is_ascii_uppercase()) {
                true => Self::any,
                false => Self::argument,
            };
            arguments.push(argument(self)?);
            while self.take(",") {
                self.part()?;
                arguments.push(argument(self)?);
            }
            self.take(")").then_some(())?;
        }
        Some(Expression::Call(name, arguments))
    }

    /// An expression, or the bare name of a variable.
    fn argument(&mut self) -> Option<Expression> {
        self.blank();
        let end = self.rest.find(|c| !is_word(c)).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && !matches!(name, "true" | "false")
            && rest.trim_start().starts_with([',', ')']);
        if !is_name {
            return self.any();
        }
        let variable = Expression::variable(name);
        self.rest = rest;
        Some(variable)
    }

    fn name(&mut self) -> Option<String> {
        let end = self.rest.find(|c| !is_word(c)).unwrap_or(self.rest.len());
        let name = self.rest[..end].to_owned();
        self.rest = &self.rest[end..];
        (!name.is_empty()).then_some(name)
    }

    fn reference(&mut self) -> Option<Expression> {
        self.blank();
        let name = self.name()?;
        let mut keys = Vec::new();
        while self.take("{") {
            self.part()?;
            keys.push(self.bare(&['}'])?);
            self.take("}").then_some(())?;
        }
        let default = match self.take("|") {
            true => Some(Box::new(self.default()?)),
            false => None,
        };
        self.take(")").then_some(Expression::Variable {
            name,
            keys,
            default,
        })
    }

    /// As ESI 1.0 has it, white space takes quotes.
    fn default(&mut self) -> Option<Expression> {
        self.blank();
        let is_bare = !self.rest.starts_with(['\'', '"', '$']);
        let default = self.bare(&[')'])?;
        let is_split = matches!(&default, Expression::Text(text) if text.contains(' '));
        (!is_bare || !is_split).then_some(default)
    }

    /// A variable, a text in quotes, or one without them up to `end`, or to the end.
    fn bare(&mut self, end: &[char]) -> Option<Expression> {
        self.blank();
        match self.rest.as_bytes().first()? {
            b'\'' | b'"' => self.text().map(Expression::Text),
            b'$' => self.deeper(Self::variable),
            _ => {
                let at = match end {
                    [] => self.rest.len(),
                    _ => self.rest.find(end)?,
                };
                let text = self.rest[..at].trim().to_owned();
                self.rest = &self.rest[at..];
                Some(Expression::Text(text))
            }
        }
    }
}

fn is_word(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '_'
}

fn one_or(
    mut several: Vec<Expression>,
    join: fn(Vec<Expression>) -> Expression,
) -> Option<Expression> {
    match several.len() {
        1 => several.pop(),
        _ => Some(join(several)),
    }
}
