//! What can be wrong with a layout, and where. Owns the messages; does not print them.

use thiserror::Error;

/// A layout that cannot be parsed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{problem}")]
pub struct LayoutError {
    /// What is wrong.
    pub problem: Problem,
    /// Byte offset in the layout where it was noticed.
    pub offset: usize,
    /// Length in bytes of the culprit.
    pub len: usize,
}

/// What is wrong with a slot tag.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Problem {
    /// `<fragment …` without its `>`.
    #[error("this `<fragment` tag is never closed with `>`")]
    UnclosedTag,
    /// `<fragment>` without `</fragment>`.
    #[error("this `<fragment>` has no `</fragment>`")]
    MissingEnd,
    /// `</fragment>` without `<fragment>`.
    #[error("this `</fragment>` closes nothing")]
    StrayEnd,
    /// A slot inside another slot's default content.
    #[error("a slot cannot stand inside another slot's default content")]
    Nested,
    /// No `name` attribute.
    #[error("a `<fragment>` needs a `name`")]
    NoName,
    /// An attribute that slots do not have.
    #[error("`{0}` is not an attribute of `<fragment>`: expected `name`, `part` or `defer`")]
    UnknownAttribute(String),
    /// The same attribute twice.
    #[error("`{0}` is given twice")]
    DuplicateAttribute(String),
    /// An attribute whose value is missing or not quoted properly.
    #[error("`{0}` needs a quoted value")]
    BadValue(String),
    /// An ESI element that depends on the request.
    #[error("`esi:{0}` depends on the request, and a layout is the same for all")]
    NotFixed(String),
    /// `<esi:include>` without `src`.
    #[error("this `<esi:include>` has no `src`")]
    NoSource,
    /// `<esi:include alt>`.
    #[error("an `<esi:include>` of a layout has no `alt`")]
    Alternative,
    /// `<esi:include>` of an address that no fragment has.
    #[error("no fragment has the address `{0}`")]
    NobodyDeclares(String),
    /// `<esi:remove>` without its end.
    #[error("this `<esi:remove>` has no `</esi:remove>`")]
    UnclosedRemove,
}

impl Problem {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::UnclosedTag => "write `<fragment name=\"…\">`",
            Self::MissingEnd => {
                "close it, or write `<fragment name=\"…\"/>` if it has no default content"
            }
            Self::StrayEnd => "remove it",
            Self::Nested => "move the inner slot out, or declare it as a fallback of the outer one",
            Self::NoName => "write `<fragment name=\"…\">` with a name from `[fragments.…]`",
            Self::UnknownAttribute(_) => {
                "timeouts, priorities and sources are declared in fragments.toml"
            }
            Self::DuplicateAttribute(_) => "keep one of the two",
            Self::BadValue(_) => "write it as `name=\"value\"`",
            Self::NotFixed(_) => {
                "let an origin answer with this document, through a `[[proxy]]` with `markup = \"esi\"`, or choose by the fragment's own source"
            }
            Self::NoSource => "write `<esi:include src=\"/path\"/>` with the address of a fragment",
            Self::Alternative => "declare it as `fallback` of the fragment",
            Self::NobodyDeclares(_) => {
                "write the path of a fragment's `source`, with its `{name}`s, or give the fragment `include = \"…\"`"
            }
            Self::UnclosedRemove => "close it",
        }
    }
}
