//! A minimal SDK function, which opens its connection with a `GetItem` and requests events. The
//! baseline for the start of the authorizer.

#![allow(clippy::unwrap_used, reason = "a measurement fails by panicking")]

use aws_sdk_dynamodb::types::AttributeValue;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::Value;
use shared::config::{Variables, default_http_client, variable};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let variables = Variables::from_process();
    let get = |name| variables.get(name).unwrap().to_owned();
    let credentials = aws_credential_types::Credentials::new(
        get("AWS_ACCESS_KEY_ID"),
        get("AWS_SECRET_ACCESS_KEY"),
        None,
        None,
        "env",
    );
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version_latest()
        .region(aws_sdk_dynamodb::config::Region::new(get("AWS_REGION")))
        .credentials_provider(credentials)
        .endpoint_url(get("AWS_ENDPOINT_URL_DYNAMODB"))
        .http_client(default_http_client());
    let client = aws_sdk_dynamodb::Client::from_conf(config.build());
    let key = |text: &str| AttributeValue::S(text.to_owned());
    client.get_item().table_name(get(variable::TABLE)).key("pk", key("-")).key("sk", key("-")).send().await?;
    lambda_runtime::run(service_fn(|event: LambdaEvent<Value>| async move { Ok::<_, Error>(event.payload) }))
        .await
}
