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
    /// The template called `not_found()`: the answer holds nothing to show.
    #[error("the template says that there is nothing to show: it called not_found()")]
    NotFound,
    /// The output passed its limit, in bytes.
    #[error("output larger than {0} bytes")]
    TooLarge(usize),
}

impl RenderError {
    pub(super) fn template(error: &minijinja::Error) -> Self {
        if is_not_found(error) {
            return Self::NotFound;
        }
        let kind = error.kind();
        let message = match (error.name(), error.detail()) {
            (Some(name), Some(detail)) => format!("{name}: {kind}: {detail}"),
            (Some(name), None) => format!("{name}: {kind}"),
            (None, Some(detail)) => format!("{kind}: {detail}"),
            (None, None) => kind.to_string(),
        };
        Self::Template {
            message,
            line: error.line(),
        }
    }
}

/// What `not_found()` ends a rendering with.
#[derive(Debug, thiserror::Error)]
#[error("nothing to show")]
pub(super) struct NothingToShow;

/// The engine wraps an error once for each include it passes through.
fn is_not_found(error: &minijinja::Error) -> bool {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next {
        if error.is::<NothingToShow>() {
            return true;
        }
        next = error.source();
    }
    false
}
