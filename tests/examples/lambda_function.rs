//! Functions on Lambda's runtime to compare the authorizer with. The first argument
//! selects one: `empty` returns its event, and `sdk` also makes one consistent read
//! through the SDK.

#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use aws_sdk_dynamodb::types::AttributeValue;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::value::RawValue;
use shared::config::{Variables, variable};
use shared::network::sdk_http_client;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    match std::env::args().nth(1).as_deref() {
        Some("empty") => lambda_runtime::run(service_fn(echo)).await,
        _ => read_through_the_sdk().await,
    }
}

async fn echo(event: LambdaEvent<Box<RawValue>>) -> Result<Box<RawValue>, Error> {
    Ok(event.payload)
}

async fn read_through_the_sdk() -> Result<(), Error> {
    let variables = Variables::from_process();
    let get = |name| variables.get(name).unwrap().to_owned();
    let credentials = aws_credential_types::Credentials::new(
        get("AWS_ACCESS_KEY_ID"),
        get("AWS_SECRET_ACCESS_KEY"),
        variables.get("AWS_SESSION_TOKEN").map(str::to_owned),
        None,
        "environment",
    );
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version_latest()
        .region(aws_sdk_dynamodb::config::Region::new(get("AWS_REGION")))
        .credentials_provider(credentials)
        .endpoint_url(get("AWS_ENDPOINT_URL_DYNAMODB"))
        .http_client(sdk_http_client());
    let client = &aws_sdk_dynamodb::Client::from_conf(config.build());
    let table = &get(variable::TABLE);
    let read = || async move {
        let key = |text: &str| AttributeValue::S(text.to_owned());
        let read = client.get_item().table_name(table).consistent_read(true);
        read.key("pk", key("-")).key("sk", key("-")).send().await
    };
    read().await?;
    let handler = |event: LambdaEvent<Box<RawValue>>| async move {
        read().await?;
        Ok::<_, Error>(event.payload)
    };
    lambda_runtime::run(service_fn(handler)).await
}
