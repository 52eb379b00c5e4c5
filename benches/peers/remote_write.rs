//! Remote write 1.0 to a peer: protobuf by hand, snappy, one connection.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

/// Samples of one request, by series.
#[derive(Default)]
pub struct Request {
    message: Vec<u8>,
    series: Vec<u8>,
    pair: Vec<u8>,
}

impl Request {
    /// Adds a series. Labels need not be sorted.
    pub fn put(&mut self, labels: &[(&str, String)], samples: impl Iterator<Item = (i64, f64)>) {
        let mut sorted: Vec<&(&str, String)> = labels.iter().collect();
        sorted.sort_unstable();
        self.series.clear();
        for (name, value) in sorted {
            self.pair.clear();
            put_bytes(&mut self.pair, 1, name.as_bytes());
            put_bytes(&mut self.pair, 2, value.as_bytes());
            put_bytes(&mut self.series, 1, &self.pair);
        }
        for (timestamp_ms, value) in samples {
            self.pair.clear();
            self.pair.push(1 << 3 | 1);
            self.pair.extend_from_slice(&value.to_le_bytes());
            self.pair.push(2 << 3);
            put_varint(&mut self.pair, timestamp_ms as u64);
            put_bytes(&mut self.series, 2, &self.pair);
        }
        put_bytes(&mut self.message, 1, &self.series);
    }

    pub fn len(&self) -> usize {
        self.message.len()
    }
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn put_bytes(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    out.push(field << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// A connection to a peer on this machine.
pub struct Peer {
    stream: BufReader<TcpStream>,
    port: u16,
}

impl Peer {
    pub fn connect(port: u16) -> std::io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        Ok(Peer { stream: BufReader::new(stream), port })
    }

    /// Sends what `request` holds, empties it, and waits for the answer.
    pub fn send(&mut self, request: &mut Request) -> std::io::Result<()> {
        let body = snap::raw::Encoder::new().compress_vec(&request.message).map_err(std::io::Error::other)?;
        request.message.clear();
        let head = format!(
            "POST /api/v1/write HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nContent-Length: {}\r\n\
             Content-Encoding: snappy\r\nContent-Type: application/x-protobuf\r\n\
             X-Prometheus-Remote-Write-Version: 0.1.0\r\n\r\n",
            self.port,
            body.len()
        );
        self.stream.get_mut().write_all(head.as_bytes())?;
        self.stream.get_mut().write_all(&body)?;
        let (status, answer) = self.answer()?;
        if (200..300).contains(&status) {
            return Ok(());
        }
        Err(std::io::Error::other(format!("the peer answered {status}: {answer}")))
    }

    fn answer(&mut self) -> std::io::Result<(u16, String)> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
        let mut length = 0;
        loop {
            line.clear();
            self.stream.read_line(&mut line)?;
            let header = line.trim().to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            if let Some(value) = header.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or_default();
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    }
}
