//! The administrative listener: metrics and health over HTTP, for those who run the node. Off unless `admin.listener` is set.
//!
//! ```text
//!   /metrics   everything that is counted, as Prometheus reads it
//!   /ready     200 when every partition is recovered and the disk can be written; 503 and the reason until then
//!   /live      200 as long as the process answers
//! ```
//!
//! Each request asks the actors at that moment (`actors::observe`); between requests nothing is done.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::{Router, routing::get};
use ottla_actors::observe;
use ottla_actors::shared::Shared;
use ottla_actors::stage::shards::Shard;
use ottla_config::Endpoint;
use tokio::sync::oneshot;

use crate::door::Hall;
use crate::server::Common;

mod metrics;

/// What the answers are made from.
pub(crate) struct Sources {
    pub(crate) shared: Arc<Shared>,
    pub(crate) hall: Hall,
    pub(crate) common: Arc<Common>,
}

/// A listener that answers until it is dropped.
pub(crate) struct Admin {
    /// Where it really listens.
    pub(crate) bound: SocketAddr,
    _open: oneshot::Sender<()>,
}

impl Admin {
    /// Listens, on the control shard, which has time.
    pub(crate) async fn open(endpoint: &Endpoint, control: &Shard, sources: Sources) -> io::Result<Admin> {
        let place = (endpoint.host.clone(), endpoint.port);
        let (bound_to, bound) = oneshot::channel();
        let (open, closed) = oneshot::channel::<()>();
        control.spawn(move || async move {
            let host = if place.0.is_empty() { "0.0.0.0" } else { place.0.as_str() };
            let listener = match tokio::net::TcpListener::bind((host, place.1)).await {
                Ok(listener) => listener,
                Err(error) => return drop(bound_to.send(Err(error))),
            };
            let _ = bound_to.send(listener.local_addr());
            tokio::select! {
                // It ends only with the listener.
                _ = axum::serve(listener, router(Arc::new(sources))) => (),
                _ = closed => (),
            }
        });
        let bound = bound.await.map_err(|_| io::Error::other("the control thread ended"))?;
        let why = |error: io::Error| {
            io::Error::other(format!(
                "cannot listen on admin.listener {}:{}: {error}",
                endpoint.host, endpoint.port
            ))
        };
        Ok(Admin { bound: bound.map_err(why)?, _open: open })
    }
}

fn router(sources: Arc<Sources>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/ready", get(ready))
        .route("/live", get(|| async { "live\n" }))
        .with_state(sources)
}

async fn metrics(State(sources): State<Arc<Sources>>) -> impl IntoResponse {
    let node = observe::look(&sources.shared).await;
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (kind, metrics::text(&sources, &node))
}

async fn ready(State(sources): State<Arc<Sources>>) -> impl IntoResponse {
    if sources.hall.is_leaving() {
        return (StatusCode::SERVICE_UNAVAILABLE, "the node is leaving\n".to_owned());
    }
    match observe::look(&sources.shared).await.unready() {
        None => (StatusCode::OK, "ready\n".to_owned()),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    }
}
