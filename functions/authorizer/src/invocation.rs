//! The parts of an invocation that Lambda's runtime does not offer a handler: the event
//! as it arrived, and work after the response is posted.
//!
//! The runtime would parse the event, copy it, and log parse errors that can quote it,
//! and with it a credential. The authorizer parses it once, itself.

use std::cell::RefCell;
use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::future::BoxFuture;
use lambda_runtime::LambdaInvocation;
use lambda_runtime::tower::{Layer, Service};

use crate::{Authorizer, FollowUp};

tokio::task_local! {
    static INVOCATION: RefCell<Invocation>;
}

/// The current invocation.
struct Invocation {
    event: Bytes,
    /// Boxed, because Tokio moves a task-local value whenever it polls the task.
    follow_up: Option<Box<FollowUp>>,
}

/// Takes the event of the current invocation.
pub(crate) fn event() -> Bytes {
    INVOCATION.with(|invocation| mem::take(&mut invocation.borrow_mut().event))
}

/// Leaves `follow_up` for the time after the current invocation's response.
pub(crate) fn follow_up_with(follow_up: FollowUp) {
    INVOCATION.with(|invocation| invocation.borrow_mut().follow_up = Some(Box::new(follow_up)));
}

/// Lets each handler take its event, and follows up on its decision after the response
/// is posted and before the runtime requests the next event.
#[derive(Clone)]
pub(crate) struct InvocationLayer(Arc<Authorizer>);

impl InvocationLayer {
    pub(crate) fn new(authorizer: Arc<Authorizer>) -> Self {
        Self(authorizer)
    }
}

impl<S> Layer<S> for InvocationLayer {
    type Service = InvocationService<S>;

    fn layer(&self, inner: S) -> InvocationService<S> {
        InvocationService { inner, authorizer: Arc::clone(&self.0) }
    }
}

#[derive(Clone)]
pub(crate) struct InvocationService<S> {
    inner: S,
    authorizer: Arc<Authorizer>,
}

impl<S> Service<LambdaInvocation> for InvocationService<S>
where
    S: Service<LambdaInvocation, Future: Send + 'static>,
    S::Response: Send,
    S::Error: Send,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut invocation: LambdaInvocation) -> Self::Future {
        let event = mem::replace(&mut invocation.body, Bytes::from_static(b"null"));
        // Boxed separately, because the future below would reserve space for this one twice.
        let respond = Box::pin(self.inner.call(invocation));
        let authorizer = Arc::clone(&self.authorizer);
        let current = RefCell::new(Invocation { event, follow_up: None });
        Box::pin(INVOCATION.scope(current, async move {
            let posted = respond.await;
            let follow_up = INVOCATION.with(|invocation| invocation.borrow_mut().follow_up.take());
            if let Some(follow_up) = follow_up {
                authorizer.follow_up(*follow_up).await;
            }
            posted
        }))
    }
}
