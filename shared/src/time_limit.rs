//! Time limits that cost next to nothing while they hold.
//!
//! Starting a timer wakes tokio's driver with a system call if no other timer ends
//! earlier, and every decision starts two. Moving the end of a running timer to a
//! later time does not. So timers are kept running, and are moved when they are used
//! again. An idle timer that expires wakes the process once, and nothing else happens.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use tokio::task::unconstrained;
use tokio::time::{Instant, Sleep, sleep_until};

/// The timers of one time limit. There are as many as the peak number of concurrent uses.
pub struct TimeLimit {
    limit: Duration,
    idle: Mutex<Vec<Pin<Box<Sleep>>>>,
}

impl TimeLimit {
    /// A limit of `limit` for each of any number of futures.
    #[must_use]
    pub fn new(limit: Duration) -> Self {
        Self { limit, idle: Mutex::default() }
    }

    /// Waits for `future`. Returns `None` if the limit is reached first. The caller pins
    /// the future, because this function would copy it, and it can be large.
    pub async fn apply<T>(&self, mut future: Pin<&mut impl Future<Output = T>>) -> Option<T> {
        let end = Instant::now() + self.limit;
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut timer = match idle {
            Some(mut timer) => {
                timer.as_mut().reset(end);
                timer
            }
            None => Box::pin(sleep_until(end)),
        };
        let output = poll_fn(|context| match future.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            // Even if the future has used up the budget of its task.
            Poll::Pending => pin!(unconstrained(timer.as_mut())).poll(context).map(|()| None),
        });
        let output = output.await;
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(timer);
        output
    }
}
