//! An origin that never says the same twice: whatever is asked for, its answer is a piece (see
//! [`numbered`](super::numbered)) named as the path, with the next number. It can die, its port then
//! refusing connections, and come back on the same port.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::numbered::piece_within;

/// A running origin, or a dead one. Dropping it closes its port.
pub(crate) struct Press {
    address: SocketAddr,
    /// Bound and not listening: keeps the port for this origin while it is dead.
    _place: Socket,
    says: Arc<Says>,
    life: Option<Life>,
}

struct Says {
    next: AtomicU64,
    bytes: RangeInclusive<usize>,
}

struct Life {
    end: CancellationToken,
    tasks: TaskTracker,
}

impl Press {
    /// Answers have so many bytes of text.
    pub(crate) fn start(bytes: RangeInclusive<usize>) -> Self {
        let place = socket();
        place
            .bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
            .expect("loopback has free ports");
        let address = place.local_addr().expect("it is bound");
        let mut press = Self {
            address: address.as_socket().expect("an address of the internet"),
            _place: place,
            says: Arc::new(Says {
                next: AtomicU64::new(1),
                bytes,
            }),
            life: None,
        };
        press.revive();
        press
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many answers were asked for.
    pub(crate) fn asked(&self) -> u64 {
        self.says.next.load(Ordering::Relaxed) - 1
    }

    /// Refuses connections from now on, and drops those that there are.
    pub(crate) async fn die(&mut self) {
        if let Some(life) = self.life.take() {
            life.end.cancel();
            life.tasks.close();
            life.tasks.wait().await;
        }
        // a connection may get this very port as its own, and then it is connected with itself
        for _ in 0..10 {
            if TcpStream::connect(self.address).await.is_err() {
                return;
            }
        }
        panic!("{} answers still", self.address);
    }

    /// Answers again.
    pub(crate) fn revive(&mut self) {
        let socket = socket();
        socket.bind(&self.address.into()).expect("its own port");
        socket.listen(1024).expect("its own port");
        let listener = TcpListener::from_std(socket.into()).expect("a runtime");
        let (end, tasks) = (CancellationToken::new(), TaskTracker::new());
        let (says, within, ended) = (Arc::clone(&self.says), tasks.clone(), end.clone());
        tasks.spawn(async move {
            loop {
                let accepted = tokio::select! {
                    () = ended.cancelled() => return,
                    accepted = listener.accept() => accepted,
                };
                let Ok((stream, _)) = accepted else { continue };
                let (says, ended) = (Arc::clone(&says), ended.clone());
                within.spawn(async move {
                    tokio::select! {
                        () = ended.cancelled() => {}
                        _ = answer_all(stream, &says) => {}
                    }
                });
            }
        });
        self.life = Some(Life { end, tasks });
    }
}

impl Drop for Press {
    fn drop(&mut self) {
        if let Some(life) = &self.life {
            life.end.cancel();
        }
    }
}

/// A port may be bound by several of these as long as one at most listens.
fn socket() -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_reuse_address(true).expect("a socket");
    socket.set_nonblocking(true).expect("a socket");
    socket
}

async fn answer_all(mut stream: TcpStream, says: &Says) -> std::io::Result<()> {
    let _ = stream.set_nodelay(true);
    let mut seen = Vec::new();
    loop {
        let end = loop {
            if let Some(at) = memchr::memmem::find(&seen, b"\r\n\r\n") {
                break at + 4;
            }
            if stream.read_buf(&mut seen).await? == 0 {
                return Ok(());
            }
        };
        let head = String::from_utf8_lossy(&seen[..end]).into_owned();
        seen.drain(..end);
        let path = head.split(' ').nth(1).unwrap_or_default();
        let number = says.next.fetch_add(1, Ordering::Relaxed);
        let body = piece_within(path, number, &says.bytes);
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(answer.as_bytes()).await?;
    }
}
