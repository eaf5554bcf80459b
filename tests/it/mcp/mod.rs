//! The MCP server.

mod calls;
mod confirmation;
mod credentials;
mod hostile_upstreams;
mod leaks;

mod listing;
mod log;
mod protocol;
mod request_binding;
mod same_decision;
