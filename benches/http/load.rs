//! A load generator: connections that ask, wait for the answer, and ask again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};

use super::operations::{Numbers, Operation};
use super::processes::cpu_seconds;
use super::report::{Latencies, Measured};
use super::stack::Shop;

/// Until caches are warm, statements are prepared, and connections are open.
const WARM_UP: Duration = Duration::from_secs(3);

/// How many ask, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    pub connections: u32,
    pub measured: Duration,
}

impl Load {
    /// Asks for this operation, and tells what it cost these processes and how long it took.
    pub async fn run(
        self,
        address: SocketAddr,
        shops: &Arc<[Shop]>,
        operation: Operation,
        processes: &[(&'static str, u32)],
    ) -> anyhow::Result<Measured> {
        let from = Instant::now() + WARM_UP;
        let until = from + self.measured;
        let clients = (0..self.connections).map(|number| {
            let client = Client::connect(address, Arc::clone(shops), operation, Numbers::new(number));
            tokio::spawn(async move { client.await?.ask(from, until).await })
        });
        let clients: Vec<_> = clients.collect();
        sleep_until(from).await;
        let before = used(processes)?;
        sleep_until(until).await;
        let after = used(processes)?;
        let (mut latencies, mut answer_bytes) = (Vec::new(), 0);
        for client in clients {
            let asked = client.await??;
            latencies.extend(asked.latencies);
            answer_bytes = asked.answer_bytes;
        }
        let cpu = after.iter().zip(&before).map(|((name, after), (_, before))| (*name, after - before)).collect();
        Measured::new(Latencies::of(latencies), self.measured, cpu, answer_bytes)
    }
}

fn used(processes: &[(&'static str, u32)]) -> anyhow::Result<Vec<(&'static str, f64)>> {
    processes.iter().map(|&(name, pid)| Ok((name, cpu_seconds(pid)?))).collect()
}

/// What one client found out.
struct Asked {
    latencies: Vec<Duration>,
    answer_bytes: usize,
}

/// One connection.
struct Client {
    stream: TcpStream,
    shops: Arc<[Shop]>,
    operation: Operation,
    numbers: Numbers,
    buffer: Vec<u8>,
}

impl Client {
    async fn connect(
        address: SocketAddr,
        shops: Arc<[Shop]>,
        operation: Operation,
        numbers: Numbers,
    ) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, shops, operation, numbers, buffer: Vec::new() })
    }

    async fn ask(mut self, from: Instant, until: Instant) -> anyhow::Result<Asked> {
        let mut asked = Asked { latencies: Vec::new(), answer_bytes: 0 };
        loop {
            let request = self.operation.request(&self.shops, &mut self.numbers);
            let began = Instant::now();
            if began >= until {
                return Ok(asked);
            }
            self.stream.write_all(&request).await?;
            asked.answer_bytes = self.answer().await?;
            let answered = Instant::now();
            if began >= from && answered <= until {
                asked.latencies.push(answered - began);
            }
        }
    }

    /// Reads one answer to its end, refuses all but a good one, and tells how long its body is.
    async fn answer(&mut self) -> anyhow::Result<usize> {
        self.buffer.clear();
        let (body, length) = loop {
            if let Some(head) = find(&self.buffer, b"\r\n\r\n") {
                break (head + 4, content_length(&self.buffer[..head])?);
            }
            self.read().await?;
        };
        while self.buffer.len() < body + length {
            self.read().await?;
        }
        let is_good = self.buffer.starts_with(b"HTTP/1.1 200")
            && (self.buffer[body..].starts_with(self.operation.answer_begins().as_bytes())
                || self.buffer[body..].starts_with(super::bare::FILLER));
        anyhow::ensure!(is_good, "a wrong answer: {}", String::from_utf8_lossy(&self.buffer));
        Ok(length)
    }

    async fn read(&mut self) -> anyhow::Result<()> {
        let count = self.stream.read_buf(&mut self.buffer).await?;
        anyhow::ensure!(count > 0, "the server closed the connection");
        Ok(())
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

fn content_length(head: &[u8]) -> anyhow::Result<usize> {
    let head = std::str::from_utf8(head)?;
    let value = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim())
    });
    Ok(value.context("an answer without a length")?.parse()?)
}
