//! A server on a loopback port that can be stopped.

use std::net::{IpAddr, SocketAddr};

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::StartError;
use crate::guard::Guard;

/// Tells every server to stop.
#[derive(Clone)]
pub(crate) struct Stop(watch::Receiver<bool>);

impl Stop {
    /// One who tells, and what it is told by.
    pub(crate) fn channel() -> (watch::Sender<bool>, Self) {
        let (sender, receiver) = watch::channel(false);
        (sender, Self(receiver))
    }

    /// Waits until told, or until nobody is left to tell.
    pub(crate) async fn told(mut self) {
        let _ = self.0.wait_for(|stop| *stop).await;
    }
}

/// Binds `port` of `host` for `what`, or says which flag chooses another one.
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

/// Serves `router` behind `guard` until told to stop.
pub(crate) fn serve(listener: TcpListener, guard: Guard, router: Router, stop: Stop) -> JoinHandle<()> {
    let router = guard.around(router);
    tokio::spawn(async move {
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        if let Err(error) = axum::serve(listener, service).with_graceful_shutdown(stop.told()).await {
            tracing::error!(cause = %error, "a local server ended");
        }
    })
}
