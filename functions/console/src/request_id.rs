//! The ID of the current request.

tokio::task_local! {
    /// The ID of the current request.
    pub(crate) static REQUEST_ID: String;
}

/// Logs that a call to the API failed. Returns the request ID to show: the API's or, if the
/// API did not send one, the console's.
pub(crate) fn report(api_request_id: Option<String>, cause: &str) -> String {
    let request_id = REQUEST_ID.try_with(Clone::clone).unwrap_or_default();
    tracing::error!(request_id, api_request_id, cause, "the API is not responding");
    api_request_id.unwrap_or(request_id)
}
