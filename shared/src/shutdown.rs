//! The end of an instance of a function.

use lambda_extension::Extension;
use tokio::signal::unix::{SignalKind, signal};

/// The name of the extension, which is unique in the function.
const EXTENSION: &str = "keyward-shutdown";

/// Calls `before_end` when Lambda ends this instance, and then exits. Must be called before
/// the first event is requested.
///
/// Lambda sends SIGTERM only to functions that have an extension, so this registers one that
/// subscribes to no event. If it cannot be registered, the instance runs, but ends without a
/// signal.
/// (<https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html#runtimes-lifecycle-shutdown>)
pub async fn at_shutdown<F>(before_end: impl FnOnce() -> F + Send + 'static)
where
    F: Future<Output = ()> + Send,
{
    let extension = Extension::new().with_extension_name(EXTENSION).with_events(&[]);
    let (extension, mut ends) = match (extension.register().await, signal(SignalKind::terminate())) {
        (Ok(extension), Ok(ends)) => (extension, ends),
        (Err(error), _) => return warn(&error),
        (_, Err(error)) => return warn(&error),
    };
    tokio::spawn(async move {
        // The extension waits for an event that never comes. Its errors do not matter.
        let waiting = tokio::spawn(extension.run());
        if ends.recv().await.is_some() {
            before_end().await;
            std::process::exit(0);
        }
        drop(waiting);
    });
}

fn warn(error: &impl std::fmt::Display) {
    tracing::warn!(cause = %error, "this instance will end without writing its pending activity");
}
