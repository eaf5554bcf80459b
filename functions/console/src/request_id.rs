//! The id of the request under way, and the log of what the API did not do for it.

tokio::task_local! {
    /// The id of the request that is answered.
    pub(crate) static REQUEST_ID: String;
}

/// Logs that the API did not do what this request needed, and why: the id to tell
/// the person, which is the API's if it gave one.
pub(crate) fn report(api_request_id: Option<String>, cause: &str) -> String {
    let request_id = REQUEST_ID.try_with(Clone::clone).unwrap_or_default();
    tracing::error!(request_id, api_request_id, cause, "the API does not answer");
    api_request_id.unwrap_or(request_id)
}
