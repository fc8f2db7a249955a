//! Counts what the server asks of PostgreSQL, from a place between the two.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio_postgres::config::Host;

use super::TestDatabase;

/// A stand-in for PostgreSQL that passes everything on.
pub struct Counter {
    /// Where the server finds its database behind the counter.
    pub url: String,
    asked: Arc<AtomicUsize>,
}

impl Counter {
    /// Stands in for this database until the test ends.
    pub async fn of(database: &TestDatabase) -> Self {
        let config: tokio_postgres::Config = database.app_url.parse().expect("a URL");
        let [Host::Unix(folder)] = config.get_hosts() else { panic!("the private PostgreSQL listens on a socket") };
        let socket = folder.join(".s.PGSQL.5432");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = UnixStream::connect(&socket).await.expect("PostgreSQL");
                let (answers, requests) = server.into_split();
                tokio::spawn(pass_on(client, requests, answers, Arc::clone(&counted)));
            }
        });
        Self { url: format!("postgresql://mercato_app@{address}/{}", database.name), asked }
    }

    /// How many statements some work sends; what is sent as one text counts once.
    ///
    /// The least of three times: the server looks shops up again every few seconds, whoever asks next.
    pub async fn of_work(&self, work: impl AsyncFn()) -> usize {
        let mut least = usize::MAX;
        for _ in 0..3 {
            let before = self.asked.load(Ordering::SeqCst);
            work().await;
            least = least.min(self.asked.load(Ordering::SeqCst) - before);
        }
        least
    }
}

/// Copies both ways until either side hangs up.
async fn pass_on(client: TcpStream, requests: OwnedWriteHalf, mut answers: OwnedReadHalf, asked: Arc<AtomicUsize>) {
    let (incoming, mut outgoing) = client.into_split();
    tokio::select! {
        _ = count(incoming, requests, &asked) => {}
        _ = tokio::io::copy(&mut answers, &mut outgoing) => {}
    }
}

/// Copies messages of PostgreSQL's protocol, each a type and a length, of which only the first has no type.
async fn count(
    mut incoming: tokio::net::tcp::OwnedReadHalf,
    mut requests: OwnedWriteHalf,
    asked: &AtomicUsize,
) -> std::io::Result<()> {
    let mut kind = None;
    loop {
        let length = incoming.read_u32().await?;
        let mut message = vec![0; length as usize - 4];
        incoming.read_exact(&mut message).await?;
        // A text of statements, or the execution of a prepared one.
        if matches!(kind, Some(b'Q' | b'E')) {
            asked.fetch_add(1, Ordering::SeqCst);
        }
        let head: Vec<u8> = kind.into_iter().chain(length.to_be_bytes()).collect();
        requests.write_all(&[head, message].concat()).await?;
        kind = Some(incoming.read_u8().await?);
    }
}
