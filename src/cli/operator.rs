//! A client of the admin API (shell): how commands ask a running server. Owns the request and what is said
//! when there is no answer; what is asked for, and what is made of it, is each command's.

use std::time::Duration;

use http::{Method, StatusCode};
use reqwest::Client;
use reqwest::redirect::Policy;
use serde_json::Value;

pub(super) use reqwest::Url;

/// A server on this machine answers in a moment; one with a slow disk takes some seconds.
const PATIENCE: Duration = Duration::from_secs(20);

/// Why there is no good answer.
pub(super) enum Failed {
    /// The server does not do what it is asked, and says why.
    Refused(String),
    /// Nobody has said whether it is done.
    Unanswered(String),
}

impl Failed {
    /// Why, in words.
    pub(super) fn why(self) -> String {
        match self {
            Self::Refused(why) | Self::Unanswered(why) => why,
        }
    }
}

/// Which server, and how to talk to it.
pub(super) struct Operator<'a> {
    /// Where it listens to operators.
    pub(super) admin: &'a str,
    /// The token of `[admin]`, if it has one.
    pub(super) token: Option<&'a str>,
}

impl Operator<'_> {
    /// Whether something answers there, and well.
    pub(super) async fn is_well(&self, url: Url) -> Result<(), String> {
        let answer = client()?.get(url).send().await;
        let answer = answer.map_err(|error| told(&error))?;
        match answer.status().is_success() {
            true => Ok(()),
            false => Err(answer.status().to_string()),
        }
    }

    /// What the server answers, or why it does not do what it is asked.
    pub(super) async fn ask(
        &self,
        method: Method,
        url: Url,
        body: Option<&Value>,
    ) -> Result<Value, String> {
        self.try_ask(method, url, body).await.map_err(Failed::why)
    }

    /// The same, and whether it may be done nevertheless.
    pub(super) async fn try_ask(
        &self,
        method: Method,
        url: Url,
        body: Option<&Value>,
    ) -> Result<Value, Failed> {
        let text = self.try_ask_text(method, url, body).await?;
        let read = serde_json::from_str(&text);
        read.map_err(|_| {
            let why = format!("what answers at {} is no marbre server", shown(self.admin));
            Failed::Unanswered(why)
        })
    }

    /// The same where the answer is not JSON.
    pub(super) async fn ask_text(
        &self,
        method: Method,
        url: Url,
        body: Option<&Value>,
    ) -> Result<String, String> {
        let asked = self.try_ask_text(method, url, body).await;
        asked.map_err(Failed::why)
    }

    async fn try_ask_text(
        &self,
        method: Method,
        url: Url,
        body: Option<&Value>,
    ) -> Result<String, Failed> {
        let client = client().map_err(Failed::Refused)?;
        let mut asking = client.request(method, url.clone());
        if let Some(token) = self.token {
            let token = token.trim();
            if token.contains(char::is_control) {
                let why = "the token is one line of text, and what was given is not";
                return Err(Failed::Refused(why.to_owned()));
            }
            asking = asking.bearer_auth(token);
        }
        if let Some(body) = body {
            asking = asking.body(body.to_string());
        }
        let answer = asking.send().await.map_err(|error| {
            Failed::Unanswered(format!(
                "no server answers operators at {}: {}; `--admin URL` says where it is",
                shown(self.admin),
                told(&error)
            ))
        })?;
        let status = answer.status();
        let text = answer.text().await;
        let text = text.map_err(|error| Failed::Unanswered(told(&error)))?;
        if status == StatusCode::UNAUTHORIZED {
            let text = text.trim_end();
            let why =
                format!("{text}; give `--token` or `--token-file`, or set MARBRE_ADMIN_TOKEN");
            return Err(Failed::Refused(why));
        }
        let why = || match text.trim_end() {
            "" => format!("{} answers {status}", shown(url.as_str())),
            text => text.to_owned(),
        };
        match status {
            _ if status.is_success() => Ok(text),
            _ if status.is_client_error() => Err(Failed::Refused(why())),
            // what is between has given up, and not the server
            _ => Err(Failed::Unanswered(why())),
        }
    }
}

fn client() -> Result<Client, String> {
    // the first caller installs it; later calls find it installed
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .no_proxy()
        .redirect(Policy::none())
        .timeout(PATIENCE)
        .build()
        .map_err(|error| told(&error))
}

/// The address of this path at a server, which may be given without a scheme.
pub(super) fn url(admin: &str, path: &str, query: &[(&str, &str)]) -> Result<Url, String> {
    let base = match admin.contains("://") {
        true => admin.to_owned(),
        false => format!("http://{admin}"),
    };
    let no_url = || format!("`{}` is not the URL of a server", shown(admin));
    let mut url = Url::parse(base.trim_end_matches('/')).map_err(|_| no_url())?;
    let is_socket = admin.starts_with("unix:");
    if is_socket || !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(no_url());
    }
    let path = format!("{}{path}", url.path().trim_end_matches('/'));
    url.set_path(&path);
    // a `..` would lead to something else than what is meant
    let steps = |path: &str| path.matches('/').count();
    if steps(url.path()) != steps(&path) {
        return Err(format!("`{path}` is no path"));
    }
    if !query.is_empty() {
        url.query_pairs_mut().extend_pairs(query);
    }
    Ok(url)
}

/// An address as it may be told: without a password.
fn shown(address: &str) -> String {
    let (scheme, rest) = match address.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), address),
    };
    match rest.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}***@{host}"),
        None => address.to_owned(),
    }
}

/// The innermost cause, which says most.
fn told(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_leads_where_it_says() {
        for path in [
            "/chaos/../level",
            "/chaos/%2e%2E/level",
            "/switches/a/../../x",
        ] {
            assert!(url("h:1", path, &[]).is_err(), "{path}");
        }
        let found = url("h:1", "/chaos/a?b#c", &[]).unwrap();
        assert_eq!(found.as_str(), "http://h:1/chaos/a%3Fb%23c");
    }

    #[test]
    fn an_address_is_told_without_its_password() {
        for (address, told) in [
            ("http://127.0.0.1:8081", "http://127.0.0.1:8081"),
            ("http://me:s3/c@h:1/x", "http://***@h:1/x"),
            ("me:s3@h", "***@h"),
        ] {
            assert_eq!(shown(address), told);
        }
        let refused = url("ftp://me:s3@h", "/", &[]).unwrap_err();
        assert!(!refused.contains("s3"), "{refused}");
    }
}
