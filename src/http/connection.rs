//! Connections, and the patience with those who hold them.
//!
//! hyper knows one time limit of these, for the head of an HTTP/1 request, and starts it only when the first bytes have
//! told the version. So connections are watched here, whatever they speak: who says nothing, sends a head byte by byte,
//! keeps a connection that nobody uses, or does not read its answer, is cut off and costs a socket until then.

mod activity;
mod places;

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::ConnectInfo;
use axum::http::{Request, Response};
use axum::serve::Listener;
use futures_util::future::BoxFuture;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use ipnet::IpNet;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{sleep_until, timeout};
use tower::Service;

pub use activity::Patience;

use activity::{Activity, Answer, Running};
use places::{Place, Places};

/// How long whoever is to be cut off may take to say goodbye, which HTTP/2 does.
const GOODBYE: Duration = Duration::from_secs(1);

/// How many requests may be under way on one connection of HTTP/2. Each may hold a body and an answer in memory, and with
/// hyper's own 200 a few clients could hold a lot.
const MAX_STREAMS: u32 = 64;

/// Answers requests with the routes of `router`, each of which has a [`ConnectInfo<SocketAddr>`], until `shutdown` comes.
/// Then no new connection is accepted, idle ones are closed, and this resolves when the last request has been answered.
///
/// In `trusted` networks there are proxies: their connections are everybody's, and not bounded by address.
pub async fn serve(
    mut listener: TcpListener,
    router: Router,
    patience: Patience,
    trusted: Vec<IpNet>,
    shutdown: impl Future<Output = ()> + Send,
) {
    let mut shutdown = pin!(shutdown);
    let places = Places::new(patience, trusted);
    let (stopping, stop) = watch::channel(());
    loop {
        let (stream, peer, place) = tokio::select! {
            biased;
            () = &mut shutdown => break,
            accepted = accept(&mut listener, &places) => accepted,
        };
        // Without it, an answer in two packets can wait for the client's delayed acknowledgement. It is only slower.
        let _ = stream.set_nodelay(true);
        let activity = Arc::new(Activity::new(patience));
        let socket = Socket { stream, activity: Arc::clone(&activity), _place: place };
        let service = Watched { router: router.clone(), peer, activity };
        tokio::spawn(attend(socket, service, stop.clone()));
    }
    drop((listener, stop));
    stopping.send_replace(());
    stopping.closed().await;
}

/// Waits for room, then for somebody to take it. Who has too much already is closed at once, and costs no more than that.
/// Failing to accept is logged by nobody and tried again by axum.
async fn accept(listener: &mut TcpListener, places: &Arc<Places>) -> (TcpStream, SocketAddr, Place) {
    loop {
        let room = places.room().await;
        let (stream, peer) = Listener::accept(listener).await;
        if let Some(place) = places.take(room, peer.ip()) {
            return (stream, peer, place);
        }
    }
}

/// Serves one connection to its end: the client's, the server's, or that of the patience with it.
async fn attend(socket: Socket, service: Watched, mut stop: watch::Receiver<()>) {
    let activity = Arc::clone(&service.activity);
    let mut builder = Builder::new(TokioExecutor::new());
    // Watched here instead.
    builder.http1().header_read_timeout(None);
    builder.http2().max_concurrent_streams(MAX_STREAMS);
    // WebSockets over HTTP/2 begin with it.
    builder.http2().enable_connect_protocol();
    let service = TowerToHyperService::new(service);
    let mut connection = pin!(builder.serve_connection_with_upgrades(TokioIo::new(socket), service));
    let mut timer = pin!(sleep_until(activity.deadline()));
    let mut is_stopping = false;
    loop {
        let is_overdue = tokio::select! {
            biased;
            changed = stop.changed(), if !is_stopping => {
                // Without a sender, the server has been cut off already.
                is_stopping = true;
                changed.is_err()
            }
            is_overdue = poll_fn(|cx| match connection.as_mut().poll(cx) {
                // What went wrong is between hyper and the client.
                Poll::Ready(_) => Poll::Ready(false),
                Poll::Pending => activity.poll_overdue(timer.as_mut(), cx).map(|()| true),
            }) => {
                if !is_overdue {
                    return;
                }
                true
            }
        };
        connection.as_mut().graceful_shutdown();
        if is_overdue {
            let _ = timeout(GOODBYE, connection).await;
            return;
        }
    }
}

/// A connection's socket. Its place is free again when it is closed.
struct Socket {
    stream: TcpStream,
    activity: Arc<Activity>,
    _place: Place,
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = ready!(Pin::new(&mut self.stream).poll_read(cx, buffer));
        if buffer.filled().len() > before {
            self.activity.received();
        }
        Poll::Ready(read)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.activity.sent(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, pieces);
        self.activity.sent(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// The routes, for one connection.
#[derive(Clone)]
struct Watched {
    router: Router,
    peer: SocketAddr,
    activity: Arc<Activity>,
}

impl<B> Service<Request<B>> for Watched
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<axum::BoxError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // A router is always ready.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let running = Running::begin(&self.activity, request.version());
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(self.peer));
        let answer = self.router.call(request);
        Box::pin(async move { Ok(answer.await?.map(|body| Body::new(Answer::new(body, running)))) })
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn handlers_know_the_peer_and_an_idle_connection_does_not_delay_the_end() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/", get(async |ConnectInfo(peer): ConnectInfo<SocketAddr>| peer.to_string()));
        let patience = Duration::from_mins(1);
        let patience = Patience {
            head: patience,
            keep_alive: patience,
            reading: patience,
            connections: 2,
            connections_per_address: 2,
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(serve(listener, router, patience, Vec::new(), async {
            let _ = stopped.await;
        }));
        let _silent = TcpStream::connect(address).await.unwrap();
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let peer = client.local_addr().unwrap().to_string();
        let mut told = Vec::new();
        while !String::from_utf8_lossy(&told).ends_with(&peer) {
            assert!(client.read_buf(&mut told).await.unwrap() > 0, "{}", String::from_utf8_lossy(&told));
        }
        stop.send(()).unwrap();
        assert_eq!(client.read(&mut [0; 1]).await.unwrap(), 0);
        serving.await.unwrap();
        assert!(TcpStream::connect(address).await.is_err());
    }
}
