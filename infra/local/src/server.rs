//! Servers on loopback ports that stop on request.

use std::net::{IpAddr, SocketAddr};

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::StartError;
use crate::guard::Guard;

/// The signal to stop, for every server.
#[derive(Clone)]
pub(crate) struct Stop(watch::Receiver<bool>);

impl Stop {
    /// The sender of the signal, and the signal.
    pub(crate) fn channel() -> (watch::Sender<bool>, Self) {
        let (sender, receiver) = watch::channel(false);
        (sender, Self(receiver))
    }

    /// Waits for the signal, or until the sender is dropped.
    pub(crate) async fn stopped(mut self) {
        let _ = self.0.wait_for(|stop| *stop).await;
    }
}

/// Binds `port` of `host` for `what`. The error names the flag that chooses another port.
pub(crate) async fn bind(
    host: IpAddr,
    port: u16,
    what: &'static str,
    flag: &'static str,
) -> Result<(TcpListener, SocketAddr), StartError> {
    let address = SocketAddr::new(host, port);
    let in_use = |cause| StartError::Port { what, address, flag, cause };
    let listener = TcpListener::bind(address).await.map_err(in_use)?;
    let bound = listener.local_addr().map_err(in_use)?;
    Ok((listener, bound))
}

/// Serves `router` behind `guard` until `stop`.
pub(crate) fn serve(listener: TcpListener, guard: Guard, router: Router, stop: Stop) -> JoinHandle<()> {
    let router = guard.around(router);
    tokio::spawn(async move {
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        if let Err(error) = axum::serve(listener, service).with_graceful_shutdown(stop.stopped()).await {
            tracing::error!(cause = %error, "a local server ended");
        }
    })
}
