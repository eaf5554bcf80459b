//! Facts about a request that only API Gateway knows, for functions that serve HTTP themselves.

use std::net::IpAddr;

use http::Extensions;
use lambda_http::request::RequestContext;

/// Facts about a request that its client cannot forge.
#[derive(Clone, Debug, Default)]
pub struct Gateway {
    /// The request's id.
    pub request_id: Option<String>,
    /// The host of the API.
    pub domain: Option<String>,
    /// The client's address.
    pub source: Option<IpAddr>,
}

impl Gateway {
    /// The facts in the extensions of a request: those that local mode inserted, or else those
    /// of an HTTP API's event. Without either, all facts are unknown.
    #[must_use]
    pub fn find(extensions: &Extensions) -> Self {
        if let Some(own) = extensions.get::<Self>() {
            return own.clone();
        }
        let Some(RequestContext::ApiGatewayV2(context)) = extensions.get::<RequestContext>() else {
            return Self::default();
        };
        Self {
            request_id: context.request_id.clone(),
            domain: context.domain_name.clone(),
            source: context.http.source_ip.as_deref().and_then(|address| address.parse().ok()),
        }
    }
}
