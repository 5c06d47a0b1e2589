//! The PROXY protocol, versions 1 and 2 (<https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>):
//! a balancer that passes bytes on says first whose they are. Owns its reading (shell) and its form.
//!
//! Who is trusted to say so must say so: whether a connection begins with a header is not guessed, for
//! a reader could then send one. Invariant: nothing that follows the header is taken from the
//! connection.

use std::io;
use std::net::{IpAddr, SocketAddr};

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

/// How a header of version 2 begins.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// The longest header of version 1, its line's end included.
const LINE_BYTES_MAX: usize = 107;

/// The longest addresses and additions of version 2 that are read. Certificates may be in them, of which
/// nothing is taken.
const REST_BYTES_MAX: usize = 4096;

/// Whose the connection is; `None`: of whom it comes from, as where a balancer looks whether the server
/// is well.
pub(super) async fn read(stream: &mut TcpStream) -> io::Result<Option<SocketAddr>> {
    // no header of either version is shorter
    let mut first = [0; SIGNATURE.len()];
    stream.read_exact(&mut first).await?;
    if first != SIGNATURE {
        let line = read_line(stream, &first).await?;
        return line_says(&line).ok_or_else(malformed);
    }
    let mut head = [0; 4];
    stream.read_exact(&mut head).await?;
    let [command, family, length @ ..] = head;
    let length = usize::from(u16::from_be_bytes(length));
    if length > REST_BYTES_MAX {
        return Err(malformed());
    }
    let mut rest = vec![0; length];
    stream.read_exact(&mut rest).await?;
    block_says(command, family, &rest).ok_or_else(malformed)
}

/// The rest of a line, and not a byte more.
async fn read_line(stream: &mut TcpStream, first: &[u8]) -> io::Result<Vec<u8>> {
    if !first.starts_with(b"PROXY ") {
        return Err(malformed());
    }
    let mut line = first.to_vec();
    while !line.ends_with(b"\n") {
        let mut seen = [0; LINE_BYTES_MAX];
        let room = LINE_BYTES_MAX - line.len();
        if room == 0 {
            return Err(malformed());
        }
        let count = stream.peek(&mut seen[..room]).await?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let end = memchr::memchr(b'\n', &seen[..count]);
        let taken = end.map_or(count, |end| end + 1);
        stream.read_exact(&mut seen[..taken]).await?;
        line.extend_from_slice(&seen[..taken]);
    }
    Ok(line)
}

fn malformed() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "no header of the PROXY protocol",
    )
}

/// `PROXY TCP4 192.0.2.1 203.0.113.1 4711 443\r\n`. `None` for what is none.
fn line_says(line: &[u8]) -> Option<Option<SocketAddr>> {
    let line = std::str::from_utf8(line).ok()?.strip_suffix("\r\n")?;
    let rest = line.strip_prefix("PROXY ")?;
    if rest == "UNKNOWN" || rest.starts_with("UNKNOWN ") {
        return Some(None);
    }
    let mut words = rest.split(' ');
    let mut word = || words.next();
    let (family, from, to) = (word()?, word()?, word()?);
    let (from_port, _to_port) = (port(word()?)?, port(word()?)?);
    let (from, to): (IpAddr, IpAddr) = (from.parse().ok()?, to.parse().ok()?);
    let is_right = match family {
        "TCP4" => from.is_ipv4() && to.is_ipv4(),
        "TCP6" => from.is_ipv6() && to.is_ipv6(),
        _ => false,
    };
    (is_right && word().is_none()).then_some(Some(SocketAddr::new(from, from_port)))
}

fn port(digits: &str) -> Option<u16> {
    let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    digits.parse().ok().filter(|_| is_number)
}

/// The same of version 2.
fn block_says(command: u8, family: u8, rest: &[u8]) -> Option<Option<SocketAddr>> {
    match command {
        // the balancer's own connection
        0x20 => return Some(None),
        0x21 => {}
        _ => return None,
    }
    match family {
        // TCP over IPv4: two addresses, two ports
        0x11 => {
            let (from, rest) = rest.split_first_chunk::<4>()?;
            let (_to, rest) = rest.split_first_chunk::<4>()?;
            with_ports(IpAddr::from(*from), rest)
        }
        0x21 => {
            let (from, rest) = rest.split_first_chunk::<16>()?;
            let (_to, rest) = rest.split_first_chunk::<16>()?;
            with_ports(IpAddr::from(*from), rest)
        }
        // not told, datagrams, sockets of the machine: what is meant by them is not a reader's address
        0x00 | 0x12 | 0x22 | 0x31 | 0x32 => Some(None),
        _ => None,
    }
}

fn with_ports(from: IpAddr, rest: &[u8]) -> Option<Option<SocketAddr>> {
    let (ports, _additions) = rest.split_first_chunk::<4>()?;
    let port = u16::from_be_bytes([ports[0], ports[1]]);
    Some(Some(SocketAddr::new(from, port)))
}

/// What holds of whatever a connection begins with.
#[cfg(any(test, feature = "fuzzing"))]
pub(in crate::server) fn hold(input: &[u8]) {
    let mut bytes = [0; 18];
    for (into, from) in bytes.iter_mut().zip(input) {
        *into = *from;
    }
    let [ports @ .., command, family] = bytes.last_chunk::<4>().expect("it is longer");
    let port = u16::from_be_bytes(*ports);
    let _ = block_says(*command, *family, input);
    let _ = block_says(0x21, 0x21, input);

    let v4 = bytes.first_chunk::<4>().expect("it is longer");
    let v6 = bytes.first_chunk::<16>().expect("it is longer");
    for (word, family, address, octets) in [
        ("TCP4", 0x11, IpAddr::from(*v4), v4.as_slice()),
        ("TCP6", 0x21, IpAddr::from(*v6), v6.as_slice()),
    ] {
        let told = Some(Some(SocketAddr::new(address, port)));
        let line = format!("PROXY {word} {address} {address} {port} 1\r\n");
        assert_eq!(line_says(line.as_bytes()), told);
        assert!(line.len() <= LINE_BYTES_MAX);
        let block = [octets, octets, ports, &[0, 1], input].concat();
        assert_eq!(block_says(0x21, family, &block), told);
    }
    // what a line says can be said again
    if let Some(Some(from)) = line_says(input) {
        let (word, address, port) = (
            if from.is_ipv4() { "TCP4" } else { "TCP6" },
            from.ip(),
            from.port(),
        );
        let line = format!("PROXY {word} {address} {address} {port} 1\r\n");
        assert_eq!(line_says(line.as_bytes()), Some(Some(from)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_whose_the_connection_is() {
        let long = format!("PROXY UNKNOWN {}\r\n", "f".repeat(80));
        for (line, expected) in [
            (
                "PROXY TCP4 192.0.2.1 203.0.113.1 4711 443\r\n",
                Some("192.0.2.1:4711"),
            ),
            (
                "PROXY TCP6 2001:db8::1 ::1 4711 443\r\n",
                Some("[2001:db8::1]:4711"),
            ),
            ("PROXY UNKNOWN\r\n", Some("")),
            (&long, Some("")),
            ("PROXY UNKNOWNS\r\n", None),
            ("PROXY TCP4 192.0.2.1 203.0.113.1 4711 443\n", None),
            ("PROXY TCP4 2001:db8::1 ::1 4711 443\r\n", None),
            ("PROXY TCP6 192.0.2.1 203.0.113.1 4711 443\r\n", None),
            ("PROXY TCP4 192.0.2.1 203.0.113.1 4711\r\n", None),
            ("PROXY TCP4 192.0.2.1 203.0.113.1 4711 443 1\r\n", None),
            ("PROXY TCP4  192.0.2.1 203.0.113.1 4711 443\r\n", None),
            ("PROXY TCP4 192.0.2.1 203.0.113.1 65536 443\r\n", None),
            ("PROXY TCP4 192.0.2.1 203.0.113.1 +1 443\r\n", None),
            ("PROXY UDP4 192.0.2.1 203.0.113.1 4711 443\r\n", None),
            ("PROXY\r\n", None),
            ("GET / HTTP/1.1\r\n", None),
        ] {
            let says = line_says(line.as_bytes());
            let says = says.map(|from| from.map_or(String::new(), |from| from.to_string()));
            assert_eq!(says.as_deref(), expected, "{line:?}");
        }
    }

    #[test]
    fn so_does_a_block_of_bytes() {
        let v4 = [192, 0, 2, 1, 203, 0, 113, 1, 0x12, 0x67, 1, 187];
        let mut v6 = [0; 36];
        v6[..4].copy_from_slice(&[0x20, 1, 0xd, 0xb8]);
        v6[15] = 1;
        v6[32..34].copy_from_slice(&[0x12, 0x67]);
        let with_additions = [v4.as_slice(), &[4, 0, 1, 0]].concat();
        for (command, family, rest, expected) in [
            (0x21, 0x11, v4.as_slice(), Some("192.0.2.1:4711")),
            (0x21, 0x11, &with_additions, Some("192.0.2.1:4711")),
            (0x21, 0x21, &v6, Some("[2001:db8::1]:4711")),
            (0x20, 0x11, &v4, Some("")),
            (0x20, 0x00, &[], Some("")),
            (0x21, 0x00, &[], Some("")),
            (0x21, 0x31, &[0; 216], Some("")),
            (0x21, 0x11, &v4[..11], None),
            (0x21, 0x21, &v6[..35], None),
            (0x21, 0x41, &v4, None),
            (0x11, 0x11, &v4, None),
            (0x22, 0x11, &v4, None),
        ] {
            let says = block_says(command, family, rest);
            let says = says.map(|from| from.map_or(String::new(), |from| from.to_string()));
            assert_eq!(says.as_deref(), expected, "{command:x} {family:x}");
        }
    }

    #[test]
    fn any_bytes_are_read_without_harm() {
        proptest::proptest!(|(bytes: Vec<u8>, command: u8, family: u8)| {
            let _ = block_says(command, family, &bytes);
            hold(&bytes);
        });
    }
}
