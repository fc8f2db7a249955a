//! A line to Redis that can be cut.

use std::path::PathBuf;

use tempfile::TempDir;
use tokio::io::copy_bidirectional;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;

use super::database::variable;

/// A stand-in for Redis that passes everything on, as long as the line is whole.
pub struct RedisLine {
    /// Where the server finds Redis behind the line.
    pub url: String,
    is_whole: watch::Sender<bool>,
    _folder: TempDir,
}

impl RedisLine {
    /// A line that is whole, until the test ends.
    pub fn new() -> Self {
        let url = variable("REDIS_URL");
        let socket = url.strip_prefix("redis+unix://").expect("the private Redis listens on a socket");
        let socket = PathBuf::from(socket);
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("redis.sock");
        let listener = UnixListener::bind(&path).expect("a socket");
        let (is_whole, line) = watch::channel(true);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass_on(client, socket.clone(), line.clone()));
            }
        });
        Self { url: format!("redis+unix://{}", path.display()), is_whole, _folder: folder }
    }

    /// Ends all connections, and each new one at once.
    pub fn cut(&self) {
        self.is_whole.send_replace(false);
    }

    /// Passes everything on again.
    pub fn mend(&self) {
        self.is_whole.send_replace(true);
    }
}

/// Copies both ways until either side hangs up, or the line is cut.
async fn pass_on(mut client: UnixStream, socket: PathBuf, mut line: watch::Receiver<bool>) {
    if !*line.borrow_and_update() {
        return;
    }
    let mut redis = UnixStream::connect(socket).await.expect("Redis");
    tokio::select! {
        _ = copy_bidirectional(&mut client, &mut redis) => {}
        _ = line.changed() => {}
    }
}
