//! `marbre explain`: what a page would do, without asking anybody; or what a recent one did, by its trace.

use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};

use crate::clock::Clock;
use crate::config;
use crate::degradation::Level;
use crate::plan::{self, explain::Explanation, request};
use crate::site::{Found, PageId, Site, Target};

use super::terms::TokenFile;
use super::{File, output};

mod trace;

#[derive(Args)]
pub(super) struct Explain {
    /// The page's path, such as /articles/some-slug; the host of a URL is ignored.
    #[arg(value_name = "URL", required_unless_present = "trace")]
    url: Option<String>,
    /// Ask a running server about a page that it has made: its trace, as `Marbre-Trace` of the answer and
    /// the logs say it.
    #[arg(long, value_name = "ID", conflicts_with_all = ["url", "file", "level", "headers"])]
    trace: Option<String>,
    /// Where that server listens to operators.
    #[arg(
        long,
        env = "MARBRE_ADMIN",
        default_value = "http://127.0.0.1:8081",
        value_name = "URL"
    )]
    admin: String,
    /// The token of [admin], if it has one.
    #[arg(
        long,
        env = "MARBRE_ADMIN_TOKEN",
        hide_env_values = true,
        value_name = "TOKEN"
    )]
    token: Option<String>,
    #[command(flatten)]
    token_file: TokenFile,
    #[command(flatten)]
    file: File,
    /// Plan at this level of degradation (0 = full page).
    #[arg(long, default_value_t = 0, value_name = "N")]
    level: u8,
    /// A request header, as `Name: value`; may be repeated.
    #[arg(long = "header", short = 'H', value_name = "HEADER")]
    headers: Vec<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Explain {
    pub(super) fn run(self) -> ExitCode {
        if let Some(id) = &self.trace {
            let token = self.token_file.or(self.token.as_deref());
            return trace::run(id, &self.admin, token, self.json);
        }
        let url = self.url.unwrap_or_default();
        let site = match load(&self.file) {
            Ok(site) => site,
            Err(code) => return code,
        };
        let level = match level(&site, self.level) {
            Ok(level) => level,
            Err(code) => return code,
        };
        let (asked, id) = match Asked::new(&site, &url, &self.headers) {
            Ok(asked) => asked,
            Err(why) => {
                output::message(&format!("error: {why}"));
                return ExitCode::FAILURE;
            }
        };
        // planning needs an instant, which on a paused or real clock needs a runtime's context
        let facts = request::facts(&site, &asked.uri, &asked.headers, asked.params, 1);
        let now = Clock::start().now();
        let plan = plan::plan(&site, id, &facts, level, &Arc::default(), now);
        let explanation = Explanation::new(&site, &plan);
        if self.json {
            output::json(&explanation);
        } else {
            output::result(&explanation.text());
        }
        ExitCode::SUCCESS
    }
}

/// The level that was asked for, or what is wrong with it, printed.
pub(super) fn level(site: &Site, number: u8) -> Result<Level, ExitCode> {
    site.ladder.level(number).map_err(|error| {
        output::message(&format!("error: {error}"));
        ExitCode::FAILURE
    })
}

/// Loads a site, or prints what is wrong with it.
pub(super) fn load(file: &File) -> Result<Site, ExitCode> {
    config::load(&file.file, &|name| std::env::var(name).ok())
        .map(|loaded| loaded.site)
        .map_err(|diagnostics| {
            output::message(&diagnostics.render(output::colours()));
            ExitCode::FAILURE
        })
}

/// A request for a page, as it was described on the command line.
pub(super) struct Asked {
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
    pub(super) params: Vec<(String, String)>,
}

impl Asked {
    pub(super) fn new(
        site: &Site,
        url: &str,
        headers: &[String],
    ) -> Result<(Self, PageId), String> {
        let path = if url.starts_with('/') {
            url.to_owned()
        } else {
            path_of(url)?
        };
        let uri: Uri = path
            .parse()
            .map_err(|_| format!("`{url}` is not a URL or a path"))?;
        let headers = headers
            .iter()
            .map(|line| header(line))
            .collect::<Result<_, _>>()?;
        match site.routes.find(uri.path()) {
            Found::Match {
                target: Target::Page(id),
                params,
            } => Ok((
                Self {
                    uri,
                    headers,
                    params,
                },
                id,
            )),
            Found::Match {
                target: Target::Proxy(index),
                ..
            } => {
                let proxy = &site.proxies[index];
                Err(format!(
                    "`{path}` is passed through to {} ([[proxy]] {})",
                    site.origin(proxy.origin).name,
                    proxy.route
                ))
            }
            Found::Match {
                target: Target::Static(index),
                ..
            } => Err(format!(
                "`{path}` is a file of [[static]] {}",
                site.statics[index].route
            )),
            Found::Match {
                target: Target::Status { .. },
                ..
            } => Err(format!("`{path}` is the site's own status, of [status]")),
            Found::Nothing => Err(format!(
                "no page answers to `{path}`; routes are: {}",
                routes(site)
            )),
            Found::Refused(why) => Err(format!("`{path}` is refused: {why}")),
        }
    }
}

fn routes(site: &Site) -> String {
    site.pages
        .iter()
        .map(|page| page.route.as_str())
        .collect::<Vec<_>>()
        .join(", ")
}

fn path_of(url: &str) -> Result<String, String> {
    let uri: Uri = url
        .parse()
        .map_err(|_| format!("`{url}` is not a URL or a path"))?;
    let path = uri.path_and_query().map(|path| path.as_str().to_owned());
    path.filter(|_| uri.scheme().is_some())
        .ok_or_else(|| format!("`{url}` is neither a path (`/…`) nor a URL (`http://…`)"))
}

fn header(line: &str) -> Result<(HeaderName, HeaderValue), String> {
    let wrong = || format!("`{line}` is not a header: write `Name: value`");
    let (name, value) = line.split_once(':').ok_or_else(wrong)?;
    let name = name.trim().parse().map_err(|_| wrong())?;
    Ok((name, value.trim().parse().map_err(|_| wrong())?))
}
