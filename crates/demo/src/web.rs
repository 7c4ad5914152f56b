//! The page, and the events that feed it. In: snapshots. Out: `/` and `/events`, on the loopback address.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;

use crate::DemoError;
use crate::live::Snapshot;

const PAGE: &str = include_str!("page.html");
/// The page needs nothing from elsewhere, and could not get it.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:";
/// Connections at a time: a demo has a few who look.
const CONNECTIONS_MAX: usize = 64;
/// Moments of the curve that are kept: ten minutes.
const HISTORY_MAX: usize = 6000;
/// How long a head may take.
const HEAD_LIMIT: Duration = Duration::from_secs(30);
/// Events that wait for a slow reader.
const WAITING_MAX: usize = 4;

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Web {
    port: u16,
    feed: Arc<Feed>,
    /// Ends with this.
    _server: JoinSet<()>,
}

#[derive(Debug)]
struct Feed {
    /// The newest moment, as an event.
    latest: watch::Sender<Bytes>,
    history: Mutex<Vec<[u64; 3]>>,
}

impl Web {
    /// Listens; 0: on any free port.
    pub(crate) async fn bind(port: u16) -> Result<Web, DemoError> {
        let failed = |source| DemoError::Port { port, source };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(failed)?;
        let port = listener.local_addr().map_err(failed)?.port();
        let feed =
            Arc::new(Feed { latest: watch::channel(Bytes::new()).0, history: Mutex::default() });
        let mut server = JoinSet::new();
        server.spawn(accept(listener, feed.clone()));
        Ok(Web { port, feed, _server: server })
    }

    /// Where the page is.
    pub(crate) fn url(&self) -> String {
        format!("http://{}:{}/", Ipv4Addr::LOCALHOST, self.port)
    }

    /// Tells all who look.
    pub(crate) fn publish(&self, snapshot: &Snapshot) {
        let lags = snapshot.services.each_ref().map(|service| service.lag);
        let mut history = self.feed.history();
        if history.len() < HISTORY_MAX {
            history.push(lags);
        }
        drop(history);
        let json = serde_json::to_string(snapshot).expect("a snapshot holds only text and numbers");
        self.feed.latest.send_replace(event("state", &json));
    }
}

impl Feed {
    fn history(&self) -> MutexGuard<'_, Vec<[u64; 3]>> {
        // No code that holds the lock can panic half way.
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn event(name: &str, json: &str) -> Bytes {
    format!("event: {name}\ndata: {json}\n\n").into()
}

async fn accept(listener: TcpListener, feed: Arc<Feed>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    // Never closed, so it can only grant.
    while let Ok(permit) = room.clone().acquire_owned().await {
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
                let feed = feed.clone();
                connections.spawn(async move {
                    serve(stream, feed).await;
                    drop(permit);
                });
            }
            // No descriptor is free, perhaps: later one may be.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn serve(stream: TcpStream, feed: Arc<Feed>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let feed = feed.clone();
        async move { Ok::<_, Infallible>(answer(&request, &feed)) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_LIMIT)
        .max_buf_size(64 << 10)
        .serve_connection(TokioIo::new(stream), service);
    // Who looks may go at any time.
    let _ = connection.await;
}

fn answer(request: &Request<Incoming>, feed: &Arc<Feed>) -> Response<Answer> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let why = "only GET is served here\n";
        return respond(StatusCode::METHOD_NOT_ALLOWED, "text/plain; charset=utf-8", why.into());
    }
    match request.uri().path() {
        "/" => respond(StatusCode::OK, "text/html; charset=utf-8", PAGE.into()),
        "/events" => {
            let (send, receive) = mpsc::channel(WAITING_MAX);
            // Ends when the connection does, since then nobody receives.
            tokio::spawn(tell(feed.clone(), send));
            respond(StatusCode::OK, "text/event-stream", Answer::Events(receive))
        }
        _ => {
            let why = "there is / and /events\n";
            respond(StatusCode::NOT_FOUND, "text/plain; charset=utf-8", why.into())
        }
    }
}

/// The curve so far, then each moment. A slow reader misses some.
async fn tell(feed: Arc<Feed>, to: mpsc::Sender<Bytes>) {
    let mut latest = feed.latest.subscribe();
    let history = serde_json::to_string(&*feed.history());
    let history = history.expect("a history holds only numbers");
    if to.send(event("history", &history)).await.is_err() {
        return;
    }
    loop {
        let now = latest.borrow_and_update().clone();
        if !now.is_empty() && to.send(now).await.is_err() {
            return;
        }
        tokio::select! {
            changed = latest.changed() => if changed.is_err() { return },
            () = to.closed() => return,
        }
    }
}

fn respond(status: StatusCode, kind: &'static str, body: Answer) -> Response<Answer> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    response
}

/// The body of an answer.
enum Answer {
    /// All of it, until it is taken.
    Text(Option<Bytes>),
    Events(mpsc::Receiver<Bytes>),
}

impl From<&'static str> for Answer {
    fn from(text: &'static str) -> Answer {
        Answer::Text(Some(Bytes::from_static(text.as_bytes())))
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let bytes = match &mut *self {
            Answer::Text(text) => Poll::Ready(text.take()),
            Answer::Events(events) => events.poll_recv(context),
        };
        bytes.map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Answer::Text(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Answer::Text(text) => SizeHint::with_exact(text.as_ref().map_or(0, Bytes::len) as u64),
            Answer::Events(_) => SizeHint::default(),
        }
    }
}
