//! Why a fragment could not be rendered. Owns the messages; a caller turns them into a
//! [`Cause`](crate::report::Cause).

/// A rendering that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// The source did not give JSON.
    #[error("not JSON: {0}")]
    Json(String),
    /// The template is missing or failed on this content, or used up its fuel.
    #[error("{message}{}", line.map(|l| format!(" (line {l})")).unwrap_or_default())]
    Template {
        /// What the engine says, without the source.
        message: String,
        /// Line in the template.
        line: Option<usize>,
    },
    /// The output passed its limit, in bytes.
    #[error("output larger than {0} bytes")]
    TooLarge(usize),
}

impl RenderError {
    pub(super) fn template(error: &minijinja::Error) -> Self {
        let kind = error.kind();
        let message = match (error.name(), error.detail()) {
            (Some(name), Some(detail)) => format!("{name}: {kind}: {detail}"),
            (Some(name), None) => format!("{name}: {kind}"),
            (None, Some(detail)) => format!("{kind}: {detail}"),
            (None, None) => kind.to_string(),
        };
        Self::Template { message, line: error.line() }
    }
}
