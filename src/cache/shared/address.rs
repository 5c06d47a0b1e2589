//! Where the store is. Owns how `shared.valkey` is read, and what may be shown of it.
//!
//! `redis://`, `rediss://` (TLS), `valkey://` and `valkeys://` name one server;
//! `redis+sentinel://a:26379,b:26379/NAME` asks sentinels for the primary of NAME;
//! `redis+cluster://a:6379,b:6379` begins with any nodes of a cluster. User and password, before
//! an `@`, are those of the servers: sentinels are asked without. A database is the last part of
//! the path (clusters have only database 0).
//!
//! Invariant: the password is shown nowhere, not even when the address cannot be read.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use redis::aio::MultiplexedConnection;
use redis::cluster::ClusterClientBuilder;
use redis::sentinel::{SentinelClient, SentinelNodeConnectionInfo, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, ConnectionInfo, IntoConnectionInfo as _, ProtocolVersion,
    RedisResult, TlsMode,
};

use tokio::io::{AsyncRead, AsyncWrite};

use super::link::Connection;

/// Where a sentinel listens unless the address says otherwise.
const SENTINEL_PORT: &str = "26379";

/// What to write instead.
const FORMS: &str = "write redis://HOST:6379 (rediss:// for TLS, redis://:PASSWORD@HOST:6379/DB), \
     redis+sentinel://HOST:26379,HOST:26379/NAME, or redis+cluster://HOST:6379,HOST:6379";

/// A store that can be dialled.
pub(super) struct Address {
    servers: Servers,
    shown: String,
    /// As written and as meant.
    secrets: Vec<String>,
    /// What makes connections, if it is not the network.
    dial: Option<Arc<dyn Dial>>,
}

/// A connection: bytes both ways.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// Whatever makes connections to the store.
pub trait Dial: Send + Sync {
    /// A new connection. Whoever asks bounds how long it may take.
    fn dial(&self) -> BoxFuture<'static, io::Result<Box<dyn Stream>>>;
}

enum Servers {
    One(Box<ConnectionInfo>),
    Sentinels {
        sentinels: Vec<ConnectionInfo>,
        name: String,
        primary: SentinelNodeConnectionInfo,
    },
    Cluster(Vec<ConnectionInfo>),
}

/// An address that cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the address of the shared store {what}: {FORMS}")]
pub struct BadAddress {
    what: String,
}

fn bad<T>(what: impl Into<String>) -> Result<T, BadAddress> {
    Err(BadAddress { what: what.into() })
}

impl Address {
    /// Reads an address.
    pub(super) fn read(url: &str) -> Result<Self, BadAddress> {
        let Some((scheme, rest)) = url.trim().split_once("://") else {
            return bad("has no scheme");
        };
        let (base, kind) = scheme.split_once('+').unwrap_or((scheme, ""));
        let secure = match base {
            "redis" | "valkey" => false,
            "rediss" | "valkeys" => true,
            _ => return bad("begins with a scheme that is not known"),
        };
        if rest.contains(['?', '#']) {
            // a password with such a character looks the same
            return bad(
                "has a `?` or a `#`: there are no options, and in a password they are \
                        written %3F and %23",
            );
        }
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        if path.contains('@') {
            return bad("has a `/` before its `@`: in a password it is written %2F");
        }
        let (login, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        let Some((user, password)) = login
            .split_once(':')
            .or(login.is_empty().then_some(("", "")))
        else {
            return bad("has a user and no password: a password alone is `:PASSWORD@`");
        };
        let (before_db, db) = match kind {
            "sentinel" => path.split_once('/').unwrap_or((path, "")),
            _ => ("", path),
        };
        if !db.is_empty() && db.parse::<u16>().is_err() {
            return bad("ends in a database that is not a number");
        }
        let login_at = match login {
            "" => String::new(),
            login => format!("{login}@"),
        };
        let tls = if secure { "rediss" } else { "redis" };
        let info = |login_at: &str, host: &str, db: &str| {
            let info = format!("{tls}://{login_at}{host}/{db}").into_connection_info();
            // the library's words may hold what it could not read, and so the password
            info.map(with_resp2).or(bad(match login_at {
                "" => format!("has a host that cannot be read, `{host}`"),
                _ => "cannot be read: what is not a letter or a digit in the password is \
                      written with %, and each host is HOST:PORT"
                    .to_owned(),
            }))
        };
        let infos = |login_at: &str, db: &str, port: &str| -> Result<Vec<_>, BadAddress> {
            let hosts = hosts.split(',').map(|host| with_port(host, port));
            hosts.map(|host| info(login_at, &host, db)).collect()
        };
        if hosts.split(',').any(str::is_empty) {
            return bad("has no host, or an empty one between commas");
        }
        let servers = match kind {
            "" if hosts.contains(',') => {
                return bad(
                    "has several hosts: say whether they are sentinels or a cluster's nodes",
                );
            }
            "" => Servers::One(Box::new(info(&login_at, hosts, db)?)),
            "sentinel" if before_db.is_empty() => {
                return bad("has no name for the sentinels to look up");
            }
            "sentinel" => {
                let first = hosts.split(',').next().expect("split gives one at least");
                let server = info(&login_at, first, db)?;
                let primary = SentinelNodeConnectionInfo::default()
                    .set_redis_connection_info(server.redis_settings().clone());
                Servers::Sentinels {
                    sentinels: infos("", "", SENTINEL_PORT)?,
                    name: before_db.to_owned(),
                    primary: match secure {
                        true => primary.set_tls_mode(TlsMode::Secure),
                        false => primary,
                    },
                }
            }
            "cluster" if !matches!(db, "" | "0") => {
                return bad("has a database, and clusters none");
            }
            "cluster" => Servers::Cluster(infos(&login_at, "", "6379")?),
            _ => return bad("begins with a scheme that is not known"),
        };
        let shown_login = match (user, password) {
            ("", "") => String::new(),
            (user, _) => format!("{user}:***@"),
        };
        let meant = percent_encoding::percent_decode_str(password).decode_utf8_lossy();
        let mut secrets = vec![password.to_owned(), meant.into_owned()];
        secrets.retain(|secret| !secret.is_empty());
        let path = if path.is_empty() {
            String::new()
        } else {
            format!("/{path}")
        };
        Ok(Self {
            servers,
            shown: format!("{scheme}://{shown_login}{hosts}{path}"),
            secrets,
            dial: None,
        })
    }

    /// The same, to which this makes the connections where it is one server.
    pub(super) fn dialled_by(self, dial: Option<Arc<dyn Dial>>) -> Self {
        Self { dial, ..self }
    }

    /// A new connection. The caller bounds how long it may take; `timeout` bounds each answer.
    pub(super) async fn dial(&self, timeout: Duration) -> RedisResult<Connection> {
        // no limits of the library's own: the link has its own for every step
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None);
        match &self.servers {
            Servers::One(info) if let Some(dial) = &self.dial => {
                let stream = dial.dial().await?;
                let settings = info.redis_settings();
                let made = MultiplexedConnection::new_with_config(settings, stream, config);
                let (connection, driving) = made.await?;
                #[allow(
                    clippy::disallowed_methods,
                    reason = "it ends with the connection, as the library's own do"
                )]
                tokio::spawn(driving);
                Ok(Connection::One(connection))
            }
            Servers::One(info) => {
                let client = Client::open(info.as_ref().clone())?;
                let connection = client.get_multiplexed_async_connection_with_config(&config);
                Ok(Connection::One(connection.await?))
            }
            Servers::Sentinels {
                sentinels,
                name,
                primary,
            } => {
                // asked anew each time: after a failover, the primary is another
                let mut client = SentinelClient::build(
                    sentinels.clone(),
                    name,
                    Some(primary.clone()),
                    SentinelServerType::Master,
                )?;
                let connection = client.get_async_connection_with_config(&config);
                Ok(Connection::One(connection.await?))
            }
            Servers::Cluster(nodes) => {
                let client = ClusterClientBuilder::new(nodes.iter().cloned())
                    .response_timeout(timeout)
                    .use_protocol(ProtocolVersion::RESP2)
                    // one more, where a slot has moved
                    .retries(1)
                    .build()?;
                Ok(Connection::Cluster(client.get_async_connection().await?))
            }
        }
    }

    /// Whether a new connection may lead to another server.
    pub(super) fn may_move(&self) -> bool {
        match self.servers {
            Servers::One(_) => false,
            Servers::Sentinels { .. } | Servers::Cluster(_) => true,
        }
    }

    /// A text that may quote the server's answers, without the password.
    pub(super) fn scrub(&self, text: String) -> String {
        let scrubbed = |text: String, secret: &String| text.replace(secret.as_str(), "***");
        self.secrets.iter().fold(text, scrubbed)
    }
}

/// Without the password.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

/// RESP2: nothing is pushed here, and every server speaks it.
fn with_resp2(info: ConnectionInfo) -> ConnectionInfo {
    let settings = info
        .redis_settings()
        .clone()
        .set_protocol(ProtocolVersion::RESP2);
    info.set_redis_settings(settings)
}

/// The colon that matters comes after the bracket of an IPv6 address.
fn with_port(host: &str, port: &str) -> String {
    let after_address = host.rsplit_once(']').map_or(host, |(_, after)| after);
    match after_address.contains(':') {
        true => host.to_owned(),
        false => format!("{host}:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_shown_without_their_password() {
        let cases = [
            ("redis://127.0.0.1:6379", "redis://127.0.0.1:6379"),
            ("valkey://cache/3", "valkey://cache/3"),
            ("redis://:hush@h:1/2", "redis://:***@h:1/2"),
            ("rediss://ann:hush@h", "rediss://ann:***@h"),
            ("valkeys://ann:h%2Fush@[::1]:7", "valkeys://ann:***@[::1]:7"),
            (
                "redis+sentinel://:hush@a,b:2/news/1",
                "redis+sentinel://:***@a,b:2/news/1",
            ),
            ("redis+cluster://:hush@a,b", "redis+cluster://:***@a,b"),
        ];
        for (url, shown) in cases {
            let address = Address::read(url).unwrap_or_else(|error| panic!("{url}: {error}"));
            assert_eq!(address.to_string(), shown);
            assert!(!format!("{address:?}").contains("hush"));
        }
    }

    #[test]
    fn what_cannot_be_read_says_what_and_what_to_write_and_no_password() {
        let cases = [
            ("", "no scheme"),
            ("hush@localhost:6379", "no scheme"),
            ("http://:hush@h", "scheme that is not known"),
            ("redis+magic://:hush@h", "scheme that is not known"),
            ("redis://", "no host"),
            ("redis://:hush@", "no host"),
            ("redis+cluster://a,,b", "no host"),
            ("redis://hush@h", "a user and no password"),
            ("redis://:hu/sh@h", "`/` before its `@`"),
            ("redis://:hu?sh@h", "`?` or a `#`"),
            ("redis://h:6379?protocol=3", "`?` or a `#`"),
            ("redis://h:notaport", "`h:notaport`"),
            ("redis://:hush@h:notaport", "cannot be read"),
            ("redis://h/zero", "not a number"),
            ("redis://a,b", "several hosts"),
            ("redis+sentinel://a,b", "no name"),
            ("redis+cluster://a/3", "clusters none"),
        ];
        for (url, what) in cases {
            let Err(error) = Address::read(url) else {
                panic!("{url} was read");
            };
            let text = error.to_string();
            assert!(text.contains(what), "{url}: {text}");
            assert!(text.contains("redis://HOST:6379"), "{text}");
            assert!(
                !text.contains("hush") && !text.contains("hu/sh"),
                "{url}: {text}"
            );
        }
    }

    #[test]
    fn answers_that_quote_the_password_are_scrubbed() {
        let address = Address::read("redis://:h%2Fush@h").unwrap();
        let said = "no: h/ush, and not h%2Fush".to_owned();
        assert_eq!(address.scrub(said), "no: ***, and not ***");
    }

    #[test]
    fn ports_are_added_where_there_is_none() {
        let cases = [("a", "a:1"), ("a:2", "a:2"), ("[::1]", "[::1]:1")];
        for (host, with) in cases {
            assert_eq!(with_port(host, "1"), with);
        }
        assert_eq!(with_port("[::1]:2", "1"), "[::1]:2");
    }
}
