//! Consistent reads of one item: fast, or else through the SDK.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::Config;

use super::codec::{Attributes, MalformedItem, Map, Reader, s};
use super::fast_read::{Failure, Unanswered};
use super::{Store, StoreError, schema};
use crate::json_text::append_string;
use crate::network::{CALL_LIMIT, FIRST_PAUSE, MAX_ATTEMPTS, retries, timeouts};

/// A strongly consistent read of one item of the base table. It sees every earlier
/// successful write, such as a revocation. A read of an index or an eventually
/// consistent read might not.
pub(super) struct GetItem<'a> {
    pub(super) table: &'a str,
    pub(super) pk: &'a str,
    pub(super) sk: &'a str,
    /// The attributes to read, as a projection expression.
    pub(super) projection: &'a str,
    /// The names that the projection's placeholders stand for.
    pub(super) names: &'a [(&'a str, &'a str)],
}

/// A value that is read from an item.
pub(super) trait FromItem<A>: Sized {
    fn from_item<M: Attributes>(item: Reader<'_, M>, arguments: A) -> Result<Self, MalformedItem>;
}

impl GetItem<'_> {
    /// The request's body in DynamoDB's JSON protocol.
    /// (<https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_GetItem.html>)
    pub(super) fn body(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(768);
        append(&mut body, &[r#"{"TableName":"#], self.table);
        append(&mut body, &[r#","Key":{""#, schema::PK, r#"":{"S":"#], self.pk);
        append(&mut body, &[r#"},""#, schema::SK, r#"":{"S":"#], self.sk);
        append(&mut body, &[r#"}},"ConsistentRead":true,"ProjectionExpression":"#], self.projection);
        let mut before = r#","ExpressionAttributeNames":{"#;
        for (name, attribute) in self.names {
            append(&mut body, &[before], name);
            append(&mut body, &[":"], attribute);
            before = ",";
        }
        body.extend_from_slice(b"}}");
        body
    }
}

/// Appends `parts`, which are JSON, and `text` as a JSON string.
fn append(json: &mut Vec<u8>, parts: &[&str], text: &str) {
    for part in parts {
        json.extend_from_slice(part.as_bytes());
    }
    append_string(json, text);
}

impl Store {
    /// Makes the read `request` and returns the value of the item, if the item
    /// exists. `name` names the item in errors.
    pub(super) async fn get_item<T: FromItem<A>, A: Copy>(
        &self,
        request: &GetItem<'_>,
        arguments: A,
        name: impl ToString,
    ) -> Result<Option<T>, StoreError> {
        let Some(fast) = &self.fast_read else {
            let item = Box::pin(self.send(request, MAX_ATTEMPTS, CALL_LIMIT)).await?;
            return value(item.as_ref(), arguments, name);
        };
        let started = Instant::now();
        let Unanswered { cause, attempts } = match fast.get(request, arguments).await {
            Ok(value) => return Ok(value),
            Err(Unanswered { cause: Failure::Malformed(malformed), .. }) => {
                return Err(malformed.in_item(name));
            }
            Err(unanswered) => unanswered,
        };
        fast.warn(&cause);
        if let Failure::Status { .. } = cause {
            // DynamoDB answered, so the SDK's attempt is a retry.
            tokio::time::sleep(self.random_part(FIRST_PAUSE)?).await;
        }
        let left = CALL_LIMIT.saturating_sub(started.elapsed());
        // Boxed, because the SDK's futures are large: a fast read would have to copy
        // the space for one.
        let item = Box::pin(self.send(request, MAX_ATTEMPTS.saturating_sub(attempts), left)).await?;
        value(item.as_ref(), arguments, name)
    }

    /// Makes a read through the SDK.
    async fn send(
        &self,
        request: &GetItem<'_>,
        attempts: u32,
        limit: Duration,
    ) -> Result<Option<Map>, StoreError> {
        let names =
            request.names.iter().map(|(name, attribute)| ((*name).to_owned(), (*attribute).to_owned()));
        let output = self
            .client
            .get_item()
            .table_name(request.table)
            .key(schema::PK, s(request.pk))
            .key(schema::SK, s(request.sk))
            .consistent_read(true)
            .projection_expression(request.projection)
            .set_expression_attribute_names(Some(names.collect::<HashMap<_, _>>()))
            .customize()
            .config_override(
                Config::builder().retry_config(retries(attempts)).timeout_config(timeouts(limit)),
            )
            .send()
            .await
            .map_err(StoreError::from_sdk)?;
        Ok(output.item)
    }
}

fn value<T: FromItem<A>, A>(
    item: Option<&Map>,
    arguments: A,
    name: impl ToString,
) -> Result<Option<T>, StoreError> {
    item.map(|item| T::from_item(Reader(item), arguments))
        .transpose()
        .map_err(|malformed| malformed.in_item(name))
}
