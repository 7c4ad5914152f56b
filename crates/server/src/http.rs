//! HTTP/1: `/livez`, `/readyz`, `/metrics`, `/version`.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use kerolox_engine::turn::Closed;
use tokio::net::TcpStream;

use crate::core::Shared;
use crate::limits::IDLE_SECONDS;

/// What `/version` says.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// How far a start is, for `/readyz`.
#[derive(Default)]
pub struct Progress {
    done: AtomicU64,
    total: AtomicU64,
    running: OnceLock<Arc<Shared>>,
}

impl Progress {
    /// Notes how far the recovery is, in bytes.
    pub fn set(&self, done: u64, total: u64) {
        self.done.store(done, Ordering::Relaxed);
        self.total.store(total, Ordering::Relaxed);
    }

    /// The start is over: whoever asked before is told so, over the same connection, too.
    pub fn set_running(&self, shared: Arc<Shared>) {
        self.running.get_or_init(|| shared);
    }

    fn text(&self) -> String {
        let (done, total) = (self.done.load(Ordering::Relaxed), self.total.load(Ordering::Relaxed));
        let percent = (done * 100).checked_div(total).unwrap_or(0);
        format!(
            "recovering the commit log: {percent} % ({} of at most {} MiB)\n",
            done >> 20,
            total >> 20
        )
    }
}

/// Whom a connection asks.
#[derive(Clone)]
pub enum Subject {
    Starting(Arc<Progress>),
    Running(Arc<Shared>),
}

impl Subject {
    /// What it has become since.
    fn now(&self) -> Subject {
        match self {
            Subject::Starting(progress) => {
                let running = progress.running.get().cloned();
                running.map_or_else(|| self.clone(), Subject::Running)
            }
            Subject::Running(_) => self.clone(),
        }
    }
}

/// Serves one connection of a running server.
pub async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    serve_subject(stream, Subject::Running(shared)).await;
}

/// Serves one connection.
pub async fn serve_subject(stream: TcpStream, subject: Subject) {
    let service = service_fn(move |request: Request<Incoming>| {
        let subject = subject.now();
        async move { Ok::<_, Infallible>(answer(&request, &subject)) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(IDLE_SECONDS))
        .max_buf_size(64 << 10)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "an HTTP connection ended");
    }
}

fn answer(request: &Request<Incoming>, subject: &Subject) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only GET is served here\n".to_owned());
    }
    match (request.uri().path(), subject) {
        ("/livez", _) => text(StatusCode::OK, "alive\n".to_owned()),
        ("/version", _) => text(StatusCode::OK, format!("kerolox {VERSION}\n")),
        ("/readyz", Subject::Starting(progress)) => {
            text(StatusCode::SERVICE_UNAVAILABLE, progress.text())
        }
        ("/readyz", Subject::Running(shared)) => match not_ready(shared) {
            None => text(StatusCode::OK, "ready\n".to_owned()),
            Some(why) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
        },
        ("/metrics", Subject::Running(shared)) => {
            text(StatusCode::OK, crate::metrics::scrape(shared))
        }
        ("/metrics", Subject::Starting(progress)) => {
            text(StatusCode::SERVICE_UNAVAILABLE, progress.text())
        }
        ("/", _) => {
            text(StatusCode::OK, format!("kerolox {VERSION}: /livez /readyz /metrics /version\n"))
        }
        _ => {
            text(StatusCode::NOT_FOUND, "there is /livez, /readyz, /metrics, /version\n".to_owned())
        }
    }
}

/// Why the broker should get no traffic.
fn not_ready(shared: &Shared) -> Option<String> {
    if shared.stopping.load(Ordering::Acquire) {
        return Some("stopping".to_owned());
    }
    shared.with_core(|core, _| match core.engine.closed()? {
        Closed::Failed(why) => Some(format!("failed: {why}")),
        Closed::DiskFull(why) => Some(format!("disk full: {why}")),
        Closed::Busy(why) => Some(format!("overloaded: {why}")),
        Closed::Over => Some("stopping".to_owned()),
    })
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(
        hyper::header::CONTENT_TYPE,
        hyper::header::HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}
