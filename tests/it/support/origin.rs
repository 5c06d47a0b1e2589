//! A scripted origin on a real socket. It does to a connection exactly what it is told, also what
//! no HTTP library would do: it speaks bytes.
//!
//! ```ignore
//! let cms = origin().on("/articles/a", html("<p>text</p>")).start().await;
//! cms.on("/articles/a", status(503));
//! ```

use std::collections::{HashMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// What has not come by then does not come: a guard against tests that hang, not a measure.
const PATIENCE: Duration = Duration::from_secs(60);

/// One thing done to a connection.
#[derive(Clone)]
enum Act {
    Send(Vec<u8>),
    /// A byte at a time, with a pause before each.
    Drip(Vec<u8>, Duration),
    WaitFor(Gate),
    /// Takes so long, as a slow origin does.
    Take(Duration),
    Hang,
    /// Closes with a reset rather than an end.
    Reset,
    /// The same bytes again and again, until the peer has had enough.
    Endless(Vec<u8>),
    /// Gives back whatever comes, until the peer ends it.
    Echo,
}

/// What an origin does with one request, from its head to the end.
#[derive(Clone)]
pub(crate) struct Reply {
    acts: Vec<Act>,
    keep_alive: bool,
}

/// A whole answer of this type.
pub(crate) fn typed(content_type: &str, body: impl AsRef<[u8]>) -> Reply {
    let body = body.as_ref();
    Reply::headed(200, &[("content-type", content_type)], body)
}

/// A whole HTML answer.
pub(crate) fn html(body: impl AsRef<[u8]>) -> Reply {
    typed("text/html; charset=utf-8", body)
}

/// A whole JSON answer.
pub(crate) fn json(body: impl AsRef<[u8]>) -> Reply {
    typed("application/json", body)
}

/// An answer with this status and a short HTML body.
pub(crate) fn status(status: u16) -> Reply {
    let body = format!("<h1>origin says {status}</h1>");
    Reply::headed(status, &[("content-type", "text/html")], body.as_bytes())
}

/// These bytes, then the end of the connection.
pub(crate) fn raw(bytes: impl AsRef<[u8]>) -> Reply {
    Reply {
        acts: vec![Act::Send(bytes.as_ref().to_vec())],
        keep_alive: false,
    }
}

impl Reply {
    /// A whole answer.
    pub(crate) fn headed(status: u16, headers: &[(&str, &str)], body: &[u8]) -> Self {
        let mut bytes = format!(
            "HTTP/1.1 {status} Whatever\r\ncontent-length: {}\r\n",
            body.len()
        );
        for (name, value) in headers {
            bytes += &format!("{name}: {value}\r\n");
        }
        bytes += "\r\n";
        let mut bytes = bytes.into_bytes();
        bytes.extend_from_slice(body);
        Self {
            acts: vec![Act::Send(bytes)],
            keep_alive: true,
        }
    }

    /// The same with one more header.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        for act in &mut self.acts {
            if let Act::Send(bytes) = act
                && let Some(line) = bytes.windows(2).position(|w| w == b"\r\n")
            {
                let more = format!("\r\n{name}: {value}");
                bytes.splice(line..line, more.into_bytes());
                break;
            }
        }
        self
    }

    /// The same, begun when the gate opens.
    pub(crate) fn gated(mut self, gate: &Gate) -> Self {
        self.acts.insert(0, Act::WaitFor(gate.clone()));
        self
    }

    /// The same, begun after so long: the origin is slow.
    pub(crate) fn after(mut self, span: Duration) -> Self {
        self.acts.insert(0, Act::Take(span));
        self
    }

    /// Then these bytes.
    pub(crate) fn then(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.acts.push(Act::Send(bytes.as_ref().to_vec()));
        self
    }

    /// Then these bytes, one at a time.
    pub(crate) fn then_drip(mut self, bytes: impl AsRef<[u8]>, pause: Duration) -> Self {
        self.acts.push(Act::Drip(bytes.as_ref().to_vec(), pause));
        self.keep_alive = false;
        self
    }

    /// Then nothing, for ever.
    pub(crate) fn then_hang(mut self) -> Self {
        self.acts.push(Act::Hang);
        self
    }

    /// Then these bytes again and again, until the peer has had enough.
    pub(crate) fn then_endless(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.acts.push(Act::Endless(bytes.as_ref().to_vec()));
        self.keep_alive = false;
        self
    }

    /// Then gives back whatever comes.
    pub(crate) fn then_echo(mut self) -> Self {
        self.acts.push(Act::Echo);
        self.keep_alive = false;
        self
    }

    /// Then nothing until the gate opens.
    pub(crate) fn then_wait(mut self, gate: &Gate) -> Self {
        self.acts.push(Act::WaitFor(gate.clone()));
        self
    }

    /// Then the end of the connection.
    pub(crate) fn then_close(mut self) -> Self {
        self.keep_alive = false;
        self
    }

    /// Then a reset.
    pub(crate) fn then_reset(mut self) -> Self {
        self.acts.push(Act::Reset);
        self
    }
}

/// Something that a test opens when it is ready.
#[derive(Clone)]
pub(crate) struct Gate(Arc<watch::Sender<bool>>);

impl Gate {
    pub(crate) fn closed() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }

    pub(crate) fn open(&self) {
        self.0.send_replace(true);
    }

    async fn opened(&self) {
        let mut seen = self.0.subscribe();
        seen.wait_for(|open| *open)
            .await
            .expect("the sender is held here");
    }
}

#[derive(Default)]
struct Script {
    replies: HashMap<String, Reply>,
    /// What is said once before that, in this order.
    first: HashMap<String, VecDeque<Reply>>,
    /// Whole request heads by target, in order of arrival.
    seen: Vec<(String, String)>,
    /// The body of each, in the same order, without its framing.
    bodies: Vec<Vec<u8>>,
}

/// What has become of what was sent.
#[derive(Default)]
struct Sent {
    /// Bytes that the connections have taken.
    bytes: AtomicU64,
    /// Connections that the peer closed before everything was sent.
    cut: watch::Sender<usize>,
}

/// A port that is nobody else's. Connections to it are refused unless somebody listens.
pub(crate) struct Port {
    pub(crate) address: SocketAddr,
    _held: Socket,
}

impl Port {
    pub(crate) fn held() -> Self {
        let held = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        held.set_reuse_address(true).expect("a socket has options");
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        held.bind(&any.into()).expect("loopback has free ports");
        let address = held.local_addr().ok().and_then(|at| at.as_socket());
        Self {
            address: address.expect("a bound socket has an address"),
            _held: held,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// A running origin. Dropping it closes its port and its connections.
pub(crate) struct Origin {
    address: SocketAddr,
    script: Arc<Mutex<Script>>,
    arrivals: Arc<watch::Sender<usize>>,
    sent: Arc<Sent>,
    stop: CancellationToken,
}

/// An origin that has not been started.
#[derive(Default)]
pub(crate) struct Unstarted(Script);

pub(crate) fn origin() -> Unstarted {
    Unstarted::default()
}

impl Unstarted {
    pub(crate) fn on(mut self, target: &str, reply: Reply) -> Self {
        self.0.replies.insert(target.to_owned(), reply);
        self
    }

    /// Once, before what is said for ever.
    pub(crate) fn first(mut self, target: &str, reply: Reply) -> Self {
        let first = self.0.first.entry(target.to_owned()).or_default();
        first.push_back(reply);
        self
    }

    pub(crate) async fn start(self) -> Origin {
        let listener = TcpListener::bind("127.0.0.1:0").await;
        self.listen(listener.expect("loopback has free ports"))
    }

    /// Listens at a port where connections were refused so far.
    pub(crate) async fn start_at(self, port: &Port) -> Origin {
        let listener = TcpListener::bind(port.address).await;
        self.listen(listener.expect("the port is held for this"))
    }

    fn listen(self, listener: TcpListener) -> Origin {
        let origin = Origin {
            address: listener
                .local_addr()
                .expect("a bound listener has an address"),
            script: Arc::new(Mutex::new(self.0)),
            arrivals: Arc::new(watch::Sender::new(0)),
            sent: Arc::default(),
            stop: CancellationToken::new(),
        };
        let (script, arrivals) = (Arc::clone(&origin.script), Arc::clone(&origin.arrivals));
        let (sent, stop) = (Arc::clone(&origin.sent), origin.stop.clone());
        spawn(async move {
            loop {
                let accepted = tokio::select! {
                    () = stop.cancelled() => return,
                    accepted = listener.accept() => accepted,
                };
                let Ok((stream, _)) = accepted else { return };
                let (script, arrivals, stop) =
                    (Arc::clone(&script), Arc::clone(&arrivals), stop.clone());
                let sent = Arc::clone(&sent);
                spawn(async move {
                    tokio::select! {
                        () = stop.cancelled() => {}
                        _ = serve(stream, &script, &arrivals, &sent) => {}
                    }
                });
            }
        });
        origin
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test's own servers end with the test's runtime"
)]
pub(crate) fn spawn(future: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(future);
}

impl Origin {
    /// From now on.
    pub(crate) fn on(&self, target: &str, reply: Reply) {
        self.script.lock().replies.insert(target.to_owned(), reply);
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many requests for this target have arrived.
    pub(crate) fn hits(&self, target: &str) -> usize {
        self.script
            .lock()
            .seen
            .iter()
            .filter(|(seen, _)| seen == target)
            .count()
    }

    /// Every target that was asked for.
    pub(crate) fn targets(&self) -> Vec<String> {
        self.script
            .lock()
            .seen
            .iter()
            .map(|(target, _)| target.clone())
            .collect()
    }

    /// The head of the last request for this target, lower case names as they came.
    pub(crate) fn last_head(&self, target: &str) -> Option<String> {
        let script = self.script.lock();
        script
            .seen
            .iter()
            .rev()
            .find(|(seen, _)| seen == target)
            .map(|(_, head)| head.clone())
    }

    /// The body of the last request for this target.
    pub(crate) fn last_body(&self, target: &str) -> Option<Vec<u8>> {
        let script = self.script.lock();
        let last = script.seen.iter().rposition(|(seen, _)| seen == target)?;
        Some(script.bodies[last].clone())
    }

    /// How many bytes the connections have taken so far.
    pub(crate) fn bytes_sent(&self) -> u64 {
        self.sent.bytes.load(Ordering::Relaxed)
    }

    /// How many connections the peer has closed before everything was sent.
    pub(crate) fn cuts(&self) -> usize {
        *self.sent.cut.borrow()
    }

    /// Returns when the peer has closed this many connections before everything was sent.
    pub(crate) async fn cut_off(&self, count: usize) {
        let mut cut = self.sent.cut.subscribe();
        let seen = timeout(PATIENCE, cut.wait_for(|seen| *seen >= count)).await;
        assert!(seen.is_ok(), "{} connections were cut", self.cuts());
    }

    /// Returns when this many requests have arrived in all.
    pub(crate) async fn arrived(&self, count: usize) {
        let mut arrivals = self.arrivals.subscribe();
        let seen = timeout(PATIENCE, arrivals.wait_for(|seen| *seen >= count)).await;
        assert!(seen.is_ok(), "only these arrived: {:?}", self.targets());
    }

    /// Dead: the port is closed and so is every connection.
    pub(crate) fn kill(&self) {
        self.stop.cancel();
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn serve(
    mut stream: TcpStream,
    script: &Mutex<Script>,
    arrivals: &watch::Sender<usize>,
    sent: &Sent,
) -> std::io::Result<()> {
    let _ = stream.set_nodelay(true);
    loop {
        let Some((head, body)) = read_request(&mut stream).await? else {
            return Ok(());
        };
        let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let reply = {
            let mut script = script.lock();
            script.seen.push((target.clone(), head.clone()));
            script.bodies.push(body);
            let path = target.split('?').next().unwrap_or_default();
            let first = script.first.get_mut(&target);
            first.and_then(VecDeque::pop_front).or_else(|| {
                let replies = &script.replies;
                replies.get(&target).or_else(|| replies.get(path)).cloned()
            })
        };
        arrivals.send_modify(|count| *count += 1);
        let reply = reply.unwrap_or_else(|| status(404));
        let keep_alive = reply.keep_alive;
        if let Err(error) = play(&mut stream, reply, sent).await {
            sent.cut.send_modify(|count| *count += 1);
            return Err(error);
        }
        if !keep_alive {
            return stream.shutdown().await;
        }
    }
}

async fn play(stream: &mut TcpStream, reply: Reply, sent: &Sent) -> std::io::Result<()> {
    for act in reply.acts {
        match act {
            Act::Send(bytes) => send(stream, &bytes, sent).await?,
            Act::Drip(bytes, pause) => {
                for byte in bytes {
                    tokio::time::sleep(pause).await;
                    send(stream, &[byte], sent).await?;
                }
            }
            Act::WaitFor(gate) => gate.opened().await,
            Act::Take(span) => tokio::time::sleep(span).await,
            Act::Hang => std::future::pending().await,
            Act::Reset => {
                socket2::SockRef::from(&*stream).set_linger(Some(Duration::ZERO))?;
                return Ok(());
            }
            Act::Endless(bytes) => loop {
                send(stream, &bytes, sent).await?;
            },
            Act::Echo => {
                let (mut from, mut to) = stream.split();
                tokio::io::copy(&mut from, &mut to).await?;
            }
        }
    }
    Ok(())
}

async fn send(stream: &mut TcpStream, mut bytes: &[u8], sent: &Sent) -> std::io::Result<()> {
    while !bytes.is_empty() {
        let count = stream.write(bytes).await?;
        sent.bytes.fetch_add(count as u64, Ordering::Relaxed);
        bytes = &bytes[count..];
    }
    Ok(())
}

/// The next request: its head, and its body without the framing.
async fn read_request(stream: &mut TcpStream) -> std::io::Result<Option<(String, Vec<u8>)>> {
    let Some(head) = read_until(stream, b"\r\n\r\n").await? else {
        return Ok(None);
    };
    let head = String::from_utf8_lossy(&head).into_owned();
    let header = |wanted: &str| {
        let mut lines = head.lines().filter_map(|line| line.split_once(':'));
        lines
            .find(|(name, _)| name.eq_ignore_ascii_case(wanted))
            .map(|(_, value)| value.trim())
    };
    let mut body = Vec::new();
    if header("transfer-encoding").is_some() {
        loop {
            let Some(line) = read_until(stream, b"\r\n").await? else {
                return Ok(None);
            };
            let size = String::from_utf8_lossy(&line);
            let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
            let mut chunk = vec![0; size + 2];
            stream.read_exact(&mut chunk).await?;
            body.extend_from_slice(&chunk[..size]);
            if size == 0 {
                break;
            }
        }
    } else {
        body.resize(
            header("content-length")
                .and_then(|v| v.parse().ok())
                .unwrap_or(0),
            0,
        );
        stream.read_exact(&mut body).await?;
    }
    Ok(Some((head, body)))
}

async fn read_until(stream: &mut TcpStream, end: &[u8]) -> std::io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(end) {
        if stream.read(&mut byte).await? == 0 {
            return Ok(None);
        }
        bytes.push(byte[0]);
    }
    Ok(Some(bytes))
}
