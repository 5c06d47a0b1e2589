//! What the commands have in common by which operators decide something on a running server. Owns these
//! arguments; what is decided is each command's.

use clap::Args;

use super::operator::Operator;

/// Which server, and how to talk to it.
#[derive(Args)]
pub(super) struct Server {
    /// Where the server listens to operators.
    #[arg(
        long,
        global = true,
        env = "MARBRE_ADMIN",
        default_value = "http://127.0.0.1:8081",
        value_name = "URL"
    )]
    pub(super) admin: String,
    /// The token of [admin], if it has one.
    #[arg(
        long,
        global = true,
        env = "MARBRE_ADMIN_TOKEN",
        hide_env_values = true,
        value_name = "TOKEN"
    )]
    pub(super) token: Option<String>,
    #[command(flatten)]
    pub(super) token_file: TokenFile,
    /// Print JSON.
    #[arg(long, global = true)]
    pub(super) json: bool,
}

/// The token in a file, which no list of processes shows.
#[derive(Args, Default)]
pub(super) struct TokenFile {
    /// A file that holds the token, instead of `--token`; MARBRE_ADMIN_TOKEN_FILE names it too.
    #[arg(
        long = "token-file",
        global = true,
        env = "MARBRE_ADMIN_TOKEN_FILE",
        value_name = "FILE",
        value_parser = token_in
    )]
    token_in_file: Option<String>,
}

impl TokenFile {
    /// The token in it, or else this one.
    pub(super) fn or<'t>(&'t self, token: Option<&'t str>) -> Option<&'t str> {
        self.token_in_file.as_deref().or(token)
    }
}

/// The token that is in a file.
fn token_in(file: &str) -> Result<String, String> {
    let text =
        std::fs::read_to_string(file).map_err(|error| format!("it cannot be read: {error}"))?;
    match text.trim_end() {
        "" => Err("it is empty".to_owned()),
        token if token.contains(char::is_control) => Err("it holds more than one line".to_owned()),
        token => Ok(token.to_owned()),
    }
}

/// Who decides, and why.
#[derive(Args)]
pub(super) struct Signed {
    /// Who decides so, and can be asked about it.
    #[arg(long, env = "MARBRE_OWNER", value_name = "WHO")]
    pub(super) owner: String,
    /// Why.
    #[arg(long, value_name = "WHY")]
    pub(super) reason: String,
}

/// The same of what has an end.
#[derive(Args)]
pub(super) struct Terms {
    #[command(flatten)]
    pub(super) signed: Signed,
    /// For how long: a switch 30d at most [default: 12h], a fault a day [default: what is declared].
    #[arg(long = "for", value_name = "TIME")]
    pub(super) span: Option<String>,
}

impl Server {
    pub(super) fn operator(&self) -> Operator<'_> {
        Operator {
            admin: &self.admin,
            token: self.token_file.or(self.token.as_deref()),
        }
    }
}
