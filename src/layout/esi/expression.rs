//! The expression language: text → a tree. Owns its grammar; what a variable is worth and what a
//! function does is the [evaluation's](super::evaluate) affair.
//!
//! ESI 1.0 has comparisons, `!`, `&` and `|`, which bind in this order; numbers are whole ones.
//! Beyond it there are `&&`, `||`, arithmetic, `has`, `has_i`, lists, ranges and functions, as Akamai
//! and Fastly have them. Invariant: a tree is no deeper than [`DEPTH_MAX`].

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
    /// `$(NAME{key}|default)`
    Variable {
        name: String,
        key: Option<Box<Self>>,
        default: Option<Box<Self>>,
    },
    /// `$name(…)`
    Call(String, Vec<Self>),
    Not(Box<Self>),
    Any(Vec<Self>),
    All(Vec<Self>),
    Compare(Box<Self>, Comparison, Box<Self>),
    /// `+ - * / %`
    Arithmetic(Box<Self>, u8, Box<Self>),
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
        let Some(how) = self.comparison_sign() else {
            return Some(left);
        };
        self.part()?;
        let right = self.sum()?;
        Some(Expression::Compare(Box::new(left), how, Box::new(right)))
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
        for (word, how) in WORDS {
            let after = self.rest.strip_prefix(word);
            if after.is_some_and(|after| !after.starts_with(is_word)) {
                self.rest = &self.rest[word.len()..];
                return Some(how);
            }
        }
        None
    }

    fn sum(&mut self) -> Option<Expression> {
        let mut sum = self.product()?;
        while let Some(sign) = self.sign(b"+-") {
            self.part()?;
            let right = self.product()?;
            sum = self.arithmetic(sum, sign, right)?;
        }
        Some(sum)
    }

    fn product(&mut self) -> Option<Expression> {
        let mut product = self.operand()?;
        while let Some(sign) = self.sign(b"*/%") {
            self.part()?;
            let right = self.operand()?;
            product = self.arithmetic(product, sign, right)?;
        }
        Some(product)
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
            b'$' => self.deeper(Self::variable),
            b'-' => {
                self.take("-");
                self.digits().map(|number| Expression::Number(-number))
            }
            b'0'..=b'9' => self.digits().map(Expression::Number),
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

    fn digits(&mut self) -> Option<i64> {
        self.blank();
        let is_digit = |c: char| c.is_ascii_digit();
        let end = self.rest.find(|c| !is_digit(c)).unwrap_or(self.rest.len());
        let number = self.rest[..end].parse().ok()?;
        self.rest = &self.rest[end..];
        Some(number)
    }

    /// Text in quotes; a backslash takes the meaning from what follows.
    fn text(&mut self) -> Option<String> {
        let mut characters = self.rest.char_indices();
        let (_, quote) = characters.next()?;
        let mut text = String::new();
        while let Some((at, character)) = characters.next() {
            match character {
                '\\' => text.push(characters.next()?.1),
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
            arguments.push(self.any()?);
            while self.take(",") {
                self.part()?;
                arguments.push(self.any()?);
            }
            self.take(")").then_some(())?;
        }
        Some(Expression::Call(name, arguments))
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
        let key = match self.take("{") {
            true => Some(Box::new(self.bare(&['}'])?)),
            false => None,
        };
        if key.is_some() && !self.take("}") {
            return None;
        }
        let default = match self.take("|") {
            true => Some(Box::new(self.bare(&[')'])?)),
            false => None,
        };
        self.take(")")
            .then_some(Expression::Variable { name, key, default })
    }

    /// A variable, a text in quotes, or one without them up to `end`.
    fn bare(&mut self, end: &[char]) -> Option<Expression> {
        self.blank();
        match self.rest.as_bytes().first()? {
            b'\'' | b'"' => self.text().map(Expression::Text),
            b'$' => self.deeper(Self::variable),
            _ => {
                let at = self.rest.find(end)?;
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
