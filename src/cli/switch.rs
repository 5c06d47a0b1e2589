//! `marbre switch` (shell): what operators decide over the law's head, from a terminal. Owns what can be
//! asked and how; the running server decides whether it can be.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Map, Value, json};

use crate::degradation::switches::{Key, Subject};
use crate::site::name::check_name;

use super::operator::{self, Url};
use super::output;
use super::terms::{Server, Signed, Terms};

mod words;

use words::{cleared, list, set};

/// Switch blocks off and on, hold the level, stretch ttls, on a running server.
#[derive(Args)]
pub(super) struct Switch {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    server: Server,
}

#[derive(Subcommand)]
enum What {
    /// Print what is set, until when, and by whom.
    List,
    /// Leave a block out of all pages; an essential one is filled by what stands in for it.
    Off {
        /// The fragment's name.
        #[arg(value_name = "BLOCK")]
        block: String,
        #[command(flatten)]
        timed: Timed,
    },
    /// Keep a block on all pages: no level gives it up.
    On {
        /// The fragment's name.
        #[arg(value_name = "BLOCK")]
        block: String,
        #[command(flatten)]
        timed: Timed,
    },
    /// Plan all pages at one level.
    Pin(ALevel),
    /// Plan no page below a level.
    Floor(ALevel),
    /// Plan no page above a level.
    Cap(ALevel),
    /// Keep what the law has learned as it is.
    Freeze(Timed),
    /// Let the law decide and report, and give nothing up.
    DryRun(Timed),
    /// Multiply every ttl.
    Ttl {
        /// By what, 0.1 to 100.
        #[arg(value_name = "FACTOR")]
        factor: f64,
        #[command(flatten)]
        timed: Timed,
    },
    /// Leave out what the site schedules, this time: it does not begin, or ends now, with all that it sets.
    Skip {
        /// The schedule's name.
        #[arg(value_name = "SCHEDULE")]
        schedule: String,
        #[command(flatten)]
        signed: Signed,
    },
    /// Take a switch back, before it begins or while it is in force.
    Clear {
        /// What it is about: block/NAME or NAME, pin, floor, cap, freeze, dry-run, ttl, schedule/NAME for one
        /// that is skipped; of one that begins later its address, as `list` shows it.
        #[arg(value_name = "SUBJECT")]
        subject: String,
        /// Who does so.
        #[arg(long, env = "MARBRE_OWNER", value_name = "WHO")]
        owner: Option<String>,
    },
}

#[derive(Args)]
struct ALevel {
    /// The level: 0 is the full page.
    #[arg(value_name = "N")]
    level: u8,
    #[command(flatten)]
    timed: Timed,
}

/// What every switch has.
#[derive(Args)]
struct Timed {
    #[command(flatten)]
    terms: Terms,
    /// When it begins, if not now: 2026-11-03T20:00 by the site's zone, or 2026-11-03T20:00+01:00.
    #[arg(long, value_name = "MOMENT")]
    from: Option<String>,
    /// When it ends, written like --from.
    #[arg(long, value_name = "MOMENT", conflicts_with = "span")]
    until: Option<String>,
}

/// A request to the server, and how its answer is put into words.
struct Request {
    method: Method,
    path: String,
    query: Option<(&'static str, String)>,
    body: Option<Value>,
    words: fn(&Value) -> String,
}

impl Switch {
    pub(super) fn run(self) -> ExitCode {
        let answered = self.what.request().and_then(|request| {
            let answer = super::run_async(self.server.ask_for(&request))?;
            Ok((answer, request.words))
        });
        match answered {
            Ok((answer, words)) => {
                for trouble in [&answer["nodes_trouble"], &answer["shared"]["trouble"]] {
                    if let Some(trouble) = trouble.as_str() {
                        output::message(&format!("warning: {trouble}"));
                    }
                }
                if let Some(trouble) = answer["trouble"].as_str() {
                    output::message(&format!(
                        "warning: this would not survive a restart of the server: {trouble}"
                    ));
                }
                match self.server.json {
                    true => output::json(&answer),
                    false => output::result(&words(&answer)),
                }
                ExitCode::SUCCESS
            }
            Err(why) => {
                output::message(&format!("error: {why}"));
                ExitCode::FAILURE
            }
        }
    }
}

impl What {
    fn request(&self) -> Result<Request, String> {
        let (subject, what, timed) = match self {
            Self::List => {
                return Ok(Request {
                    method: Method::GET,
                    path: "/switches".to_owned(),
                    query: None,
                    body: None,
                    words: list,
                });
            }
            Self::Clear { subject, owner } => {
                return Ok(Request {
                    method: Method::DELETE,
                    path: path_of(&key_of(subject))?,
                    query: owner.clone().map(|owner| ("by", owner)),
                    body: None,
                    words: cleared,
                });
            }
            Self::Skip { schedule, signed } => {
                let subject = Subject::Schedule(schedule.clone());
                return Ok(Request {
                    method: Method::PUT,
                    path: path_of(&Key::from(&subject))?,
                    query: None,
                    body: Some(json!({ "owner": signed.owner, "reason": signed.reason })),
                    words: set,
                });
            }
            Self::Off { block, timed } => (
                Subject::Block(block.clone()),
                Some(("off", json!(true))),
                timed,
            ),
            Self::On { block, timed } => (
                Subject::Block(block.clone()),
                Some(("on", json!(true))),
                timed,
            ),
            Self::Pin(ALevel { level, timed }) => {
                (Subject::Pin, Some(("level", json!(level))), timed)
            }
            Self::Floor(ALevel { level, timed }) => {
                (Subject::Floor, Some(("level", json!(level))), timed)
            }
            Self::Cap(ALevel { level, timed }) => {
                (Subject::Cap, Some(("level", json!(level))), timed)
            }
            Self::Freeze(timed) => (Subject::Freeze, None, timed),
            Self::DryRun(timed) => (Subject::DryRun, None, timed),
            Self::Ttl { factor, timed } => (Subject::Ttl, Some(("factor", json!(factor))), timed),
        };
        let terms = &timed.terms;
        let mut body = Map::new();
        body.extend(what.map(|(key, value)| (key.to_owned(), value)));
        body.insert("owner".to_owned(), json!(terms.signed.owner));
        body.insert("reason".to_owned(), json!(terms.signed.reason));
        let times = [
            ("for", &terms.span),
            ("from", &timed.from),
            ("until", &timed.until),
        ];
        for (key, time) in times {
            body.extend(time.iter().map(|time| (key.to_owned(), json!(time))));
        }
        Ok(Request {
            method: Method::PUT,
            path: path_of(&Key::from(&subject))?,
            query: None,
            body: Some(Value::Object(body)),
            words: set,
        })
    }
}

/// Where the switch is that has this address.
fn path_of(key: &Key) -> Result<String, String> {
    match &key.subject {
        Subject::Block(name) => check_name("a block", name)?,
        Subject::Schedule(name) => check_name("a schedule", name)?,
        Subject::Pin
        | Subject::Floor
        | Subject::Cap
        | Subject::Freeze
        | Subject::DryRun
        | Subject::Ttl => {}
    }
    Ok(format!("/switches/{key}"))
}

/// A block may be called by its name alone.
fn key_of(text: &str) -> Key {
    text.parse().unwrap_or_else(|_| {
        let block = text.trim_start_matches("block/").to_owned();
        Key::from(&Subject::Block(block))
    })
}

impl Server {
    /// What the server answers, or why it does not do what it is asked.
    async fn ask_for(&self, request: &Request) -> Result<Value, String> {
        let url = self.url(request)?;
        let method = request.method.clone();
        let operator = self.operator();
        operator.ask(method, url, request.body.as_ref()).await
    }

    fn url(&self, request: &Request) -> Result<Url, String> {
        let query = request.query.iter();
        let query: Vec<(&str, &str)> = query.map(|(key, value)| (*key, value.as_str())).collect();
        operator::url(&self.admin, &request.path, &query)
    }
}

#[cfg(test)]
mod tests {
    use super::super::terms::TokenFile;
    use super::*;

    #[test]
    fn a_block_may_be_called_by_its_name() {
        for (text, subject) in [
            ("pin", "pin"),
            ("dry-run", "dry-run"),
            ("slideshow", "block/slideshow"),
            ("block/slideshow", "block/slideshow"),
            ("block/pin", "block/pin"),
            ("schedule/night", "schedule/night"),
            ("floor@2026-11-03T19:00:00Z", "floor@2026-11-03T19:00:00Z"),
        ] {
            assert_eq!(key_of(text).to_string(), subject);
        }
    }

    #[test]
    fn where_the_server_is() {
        let url = |admin: &str, query| {
            let server = Server {
                admin: admin.to_owned(),
                token: None,
                token_file: TokenFile::default(),
                json: false,
            };
            let request = Request {
                method: Method::GET,
                path: "/switches/block/a b".to_owned(),
                query,
                body: None,
                words: list,
            };
            server.url(&request).map(|url| url.to_string())
        };
        let path = "/switches/block/a%20b";
        assert_eq!(
            url("http://[::1]:8081/", None),
            Ok(format!("http://[::1]:8081{path}"))
        );
        assert_eq!(
            url("127.0.0.1:9", None),
            Ok(format!("http://127.0.0.1:9{path}"))
        );
        assert_eq!(
            url(
                "https://ops.example/marbre/",
                Some(("by", "a&b".to_owned()))
            ),
            Ok(format!("https://ops.example/marbre{path}?by=a%26b"))
        );
        for wrong in ["", "http://", "ftp://x", "unix:/run/x"] {
            assert!(url(wrong, None).is_err(), "{wrong}");
        }
    }
}
