//! The embedded DynamoDB: dynoxide, in memory or in an `SQLite` file, with the table of
//! the template.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{BuildError, DisplayErrorContext};
use aws_sdk_dynamodb::operation::create_table::CreateTableError;
use aws_sdk_dynamodb::operation::create_table::builders::CreateTableFluentBuilder;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, CreateGlobalSecondaryIndexAction, GlobalSecondaryIndex,
    GlobalSecondaryIndexUpdate, KeySchemaElement, KeyType, Projection, ProjectionType, ScalarAttributeType,
    TableDescription,
};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use dynoxide::{Database, DynoxideError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_norway::Value;

use crate::StartError;
use crate::data::DataFolder;
use crate::services::{Answer, failure};
use crate::template::Template;

/// Opens the database: in `data`, or in memory.
pub(crate) fn open(data: Option<&DataFolder>) -> Result<Database, StartError> {
    match data {
        Some(data) => {
            let path = data.database()?;
            Database::new(&path.to_string_lossy()).map_err(|error| {
                // The first sentence says what is wrong. The others are about encryption,
                // which local mode does not use.
                let cause = error.to_string().split(". ").next().unwrap_or_default().to_owned();
                StartError::BrokenFile { path, cause }
            })
        }
        None => Database::memory().map_err(|error| StartError::Table(error.to_string())),
    }
}

/// Turns bulk loading on or off. While it is on, writes do not wait for the disk.
pub(crate) fn set_bulk_loading(database: &Database, is_on: bool) -> Result<(), StartError> {
    let set = if is_on { database.enable_bulk_loading() } else { database.disable_bulk_loading() };
    set.map_err(|error| StartError::Table(error.to_string()))
}

/// Answers the request `body` for `operation`. Supports the operations that the
/// functions and the tests call.
pub(crate) fn answer(database: &Database, operation: &str, body: &[u8]) -> Answer {
    let result = match operation {
        "CreateTable" => run(body, |request| database.create_table(request)),
        "DescribeTable" => run(body, |request| database.describe_table(request)),
        "UpdateTable" => run(body, |request| database.update_table(request)),
        "ListTables" => run(body, |request| database.list_tables(request)),
        "GetItem" => run(body, |request| database.get_item(request)),
        "PutItem" => run(body, |request| database.put_item(request)),
        "UpdateItem" => run(body, |request| database.update_item(request)),
        "DeleteItem" => run(body, |request| database.delete_item(request)),
        "BatchWriteItem" => run(body, |request| database.batch_write_item(request)),
        "Query" => run(body, |request| database.query(request)),
        "Scan" => run(body, |request| database.scan(request)),
        "TransactWriteItems" => run(body, |request| database.transact_write_items(request)),
        _ => return failure("UnknownOperationException", "local mode does not support this operation"),
    };
    match result {
        Ok(body) => (200, body),
        Err(error) => (error.status_code(), error.to_json()),
    }
}

fn run<Q: DeserializeOwned, A: Serialize>(
    body: &[u8],
    operation: impl FnOnce(Q) -> dynoxide::Result<A>,
) -> dynoxide::Result<String> {
    let request = serde_json::from_slice(body);
    let request = request.map_err(|error| DynoxideError::ValidationException(error.to_string()))?;
    let answer = serde_json::to_string(&operation(request)?);
    answer.map_err(|error| DynoxideError::InternalServerError(error.to_string()))
}

/// Creates the template's table under the name `name`. If the table exists, adds the indexes
/// that an earlier version of the template did not have.
pub(crate) async fn create_table(client: &Client, template: &Template, name: &str) -> Result<(), StartError> {
    // Lists the tables first, so that a start with an existing table logs no failed call.
    let tables = client.list_tables().send().await.map(|listed| listed.table_names.unwrap_or_default());
    let exists = tables.is_ok_and(|tables| tables.iter().any(|table| table == name));
    let properties = template.resources("AWS::DynamoDB::Table").map(|(_, properties)| properties).next();
    let properties = properties.ok_or_else(|| StartError::Template("the table is missing".to_owned()))?;
    if exists {
        return add_indexes(client, properties, name).await;
    }
    let request = describe(client.create_table(), properties)?;
    match request.table_name(name).send().await {
        Ok(_) => Ok(()),
        Err(error)
            if error.as_service_error().is_some_and(CreateTableError::is_resource_in_use_exception) =>
        {
            Ok(())
        }
        Err(error) => Err(StartError::Table(DisplayErrorContext(&error).to_string())),
    }
}

/// Adds the indexes that an existing table lacks.
async fn add_indexes(client: &Client, properties: &Value, name: &str) -> Result<(), StartError> {
    let failed = |error: String| StartError::Table(error);
    let described = client.describe_table().table_name(name).send().await;
    let described = described.map_err(|error| failed(DisplayErrorContext(&error).to_string()))?;
    let existing = described.table().map(TableDescription::global_secondary_indexes).unwrap_or_default();
    for index in list(properties, "GlobalSecondaryIndexes") {
        let index_name = text(index, "IndexName");
        if existing.iter().any(|existing| existing.index_name() == Some(index_name)) {
            continue;
        }
        let create = CreateGlobalSecondaryIndexAction::builder()
            .index_name(index_name)
            .set_key_schema(Some(key_schema(index)?))
            .projection(projection(index));
        let create = create.build().map_err(incomplete)?;
        let update = client
            .update_table()
            .table_name(name)
            .set_attribute_definitions(Some(definitions(properties)?))
            .global_secondary_index_updates(GlobalSecondaryIndexUpdate::builder().create(create).build());
        update.send().await.map_err(|error| failed(DisplayErrorContext(&error).to_string()))?;
    }
    Ok(())
}

/// A client of the database at `endpoint`, to create the table and to inspect it.
#[must_use]
pub fn client(endpoint: &str, http_client: SharedHttpClient) -> Client {
    let credentials = aws_credential_types::Credentials::new("local", "local", None, None, "local");
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version_latest()
        .region(aws_sdk_dynamodb::config::Region::from_static("local"))
        .credentials_provider(credentials)
        .endpoint_url(endpoint)
        .http_client(http_client);
    Client::from_conf(config.build())
}

/// The request that creates a table with these `properties` from the template.
fn describe(
    mut request: CreateTableFluentBuilder,
    properties: &Value,
) -> Result<CreateTableFluentBuilder, StartError> {
    request = request.billing_mode(BillingMode::PayPerRequest);
    request = request.set_attribute_definitions(Some(definitions(properties)?));
    for element in key_schema(properties)? {
        request = request.key_schema(element);
    }
    for index in list(properties, "GlobalSecondaryIndexes") {
        let index = GlobalSecondaryIndex::builder()
            .index_name(text(index, "IndexName"))
            .set_key_schema(Some(key_schema(index)?))
            .projection(projection(index));
        request = request.global_secondary_indexes(index.build().map_err(incomplete)?);
    }
    Ok(request)
}

fn definitions(properties: &Value) -> Result<Vec<AttributeDefinition>, StartError> {
    list(properties, "AttributeDefinitions")
        .iter()
        .map(|attribute| {
            AttributeDefinition::builder()
                .attribute_name(text(attribute, "AttributeName"))
                .attribute_type(ScalarAttributeType::from(text(attribute, "AttributeType")))
                .build()
                .map_err(incomplete)
        })
        .collect()
}

fn projection(index: &Value) -> Projection {
    let projection = index.get("Projection");
    let carried = projection.map(|projection| list(projection, "NonKeyAttributes")).unwrap_or_default();
    let carried = carried.iter().filter_map(|name| Some(name.as_str()?.to_owned())).collect();
    Projection::builder()
        .projection_type(ProjectionType::from(
            projection.map(|projection| text(projection, "ProjectionType")).unwrap_or_default(),
        ))
        .set_non_key_attributes(Some(carried))
        .build()
}

fn key_schema(properties: &Value) -> Result<Vec<KeySchemaElement>, StartError> {
    list(properties, "KeySchema")
        .iter()
        .map(|element| {
            KeySchemaElement::builder()
                .attribute_name(text(element, "AttributeName"))
                .key_type(KeyType::from(text(element, "KeyType")))
                .build()
                .map_err(incomplete)
        })
        .collect()
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value.get(name).and_then(Value::as_sequence).map(Vec::as_slice).unwrap_or_default()
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn incomplete(error: BuildError) -> StartError {
    StartError::Template(error.to_string())
}
