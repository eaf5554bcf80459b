//! Protected APIs. An API is one item. Its tools and its document are the chunks of a build,
//! which are written before the API names the build, and never change.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::AttributeValue;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::future::{join_all, try_join_all};
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest as _, Sha256};
use tokio::sync::OnceCell;

use super::codec::{self, Attribute, MalformedItem, Map, Reader, b, n, s, seconds};
use super::commit::{Attempt, Expression};
use super::events::NewEvent;
use super::roles::{Precondition, first_version};
use super::schema::{self, BuildPart, attribute};
use super::{MAX_QUERIES, Store, StoreError};
use crate::domain::{
    Actor, ApiId, ApiName, ApiTitle, BaseUrl, BuildId, ChangeRequest, Confirmation, EventType, FieldChange,
    RoutePrefix,
};
use crate::policy::{MAX_PERMISSIONS, Permission};
use crate::tools::{self, Skipped, Tool};

/// The maximum number of protected APIs. Admins who register APIs at the same moment can exceed
/// it: the limit only bounds the size of the list.
pub const MAX_APIS: usize = 50;

/// The maximum size of a chunk, in bytes. An item can have 400 KB.
const CHUNK_BYTES: usize = 300_000;

/// The age at which an unused build is deleted. The request that wrote a
/// younger build can still be running.
const UNUSED_AFTER: SignedDuration = SignedDuration::from_hours(1);

/// What an admin chooses about a protected API, except its document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiChoices {
    pub title: ApiTitle,
    pub base_url: BaseUrl,
    pub api_id: ApiId,
    pub route_prefix: RoutePrefix,
    /// The operations that can be tools. `None` if all operations can.
    pub include: Option<Vec<Permission>>,
    /// The operations that are not tools.
    pub exclude: Vec<Permission>,
    pub confirmation: Confirmation,
}

/// A summary of a document and its tools.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiContent {
    pub tool_count: usize,
    /// The number of operations that cannot be tools.
    pub skipped_count: usize,
    /// The SHA-256 of the document, in base64url.
    pub document_sha256: String,
    /// The SHA-256 of the stored form of the tools, in base64url.
    pub tools_sha256: String,
    pub document_title: Option<String>,
    pub document_version: Option<String>,
}

/// A protected API. Its tools and document are in the chunks of its build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredApi {
    pub name: ApiName,
    pub choices: ApiChoices,
    pub content: ApiContent,
    /// The build. Another build has other tools, and the same build always has the same ones.
    pub build: BuildId,
    /// The number of chunks of each part of the build.
    chunks: BTreeMap<BuildPart, usize>,
    /// The version, which increases with each change. The first version is random, so that it
    /// differs from the versions of an earlier API with the same name.
    pub version: u64,
    pub created_at: Timestamp,
    pub created_by: Actor,
    pub updated_at: Timestamp,
    pub updated_by: Actor,
}

/// A protected API to register or change.
#[derive(Debug)]
pub struct NewApi {
    pub name: ApiName,
    pub choices: ApiChoices,
    /// The text of the document.
    pub document: String,
    pub document_title: Option<String>,
    pub document_version: Option<String>,
    pub tools: Vec<Tool>,
    /// The first operations that cannot be tools.
    pub skipped: Vec<Skipped>,
    pub skipped_count: usize,
    /// The version of the API that has the document, if the document is the stored one.
    pub based_on: Option<u64>,
}

/// The result of putting an API.
#[derive(Debug)]
pub struct PutApi {
    pub api: StoredApi,
    /// Whether the API was registered, and not only changed.
    pub created: bool,
}

/// A protected API with its tools.
#[derive(Debug)]
pub struct ApiWithTools {
    pub api: StoredApi,
    pub tools: Vec<Tool>,
    /// The first operations that cannot be tools.
    pub skipped: Vec<Skipped>,
}

/// A build that is not stored yet.
struct Build {
    id: BuildId,
    content: ApiContent,
    /// The parts in the order in which they are written.
    parts: [(BuildPart, Vec<u8>); 3],
}

impl Build {
    fn new(id: BuildId, new: &NewApi) -> Result<Self, StoreError> {
        let tools = tools::pack(&new.tools);
        let skipped: Vec<_> = new.skipped.iter().map(|skipped| (&skipped.pointer, &skipped.reason)).collect();
        let skipped = serde_json::to_vec(&skipped).map_err(|error| StoreError::Corrupt {
            item: new.name.to_string(),
            problem: error.to_string(),
        })?;
        let content = ApiContent {
            tool_count: new.tools.len(),
            skipped_count: new.skipped_count,
            document_sha256: sha256(new.document.as_bytes()),
            tools_sha256: sha256(&tools),
            document_title: new.document_title.clone(),
            document_version: new.document_version.clone(),
        };
        let document = tools::pack_text(&new.document);
        let parts =
            [(BuildPart::Document, document), (BuildPart::Skipped, skipped), (BuildPart::Tools, tools)];
        Ok(Self { id, content, parts })
    }

    /// The number of chunks of each part.
    fn chunks(&self) -> BTreeMap<BuildPart, usize> {
        self.parts.iter().map(|(part, bytes)| (*part, bytes.chunks(CHUNK_BYTES).len())).collect()
    }
}

impl Store {
    /// Registers or changes a protected API. If nothing changes, writes nothing and records no
    /// event.
    ///
    /// The chunks of the new build are written first. If the change fails, the API keeps its
    /// earlier build, and the sweep deletes the new one.
    ///
    /// # Errors
    /// [`StoreError::Stale`] if `precondition` is not met, [`StoreError::ApiLimit`], or
    /// [`StoreError::Contention`], for example if the API no longer has the version
    /// [`based_on`](NewApi::based_on).
    pub async fn put_api(
        &self,
        new: &NewApi,
        precondition: Precondition,
        request: &ChangeRequest,
    ) -> Result<PutApi, StoreError> {
        let build = Build::new(BuildId::generate(&*self.entropy)?, new)?;
        let written = OnceCell::new();
        let (put, replaced) = self
            .retry(|| async {
                let before = self.find_api(&new.name).await?;
                let before_version = before.as_ref().map(|before| before.version);
                precondition.check(before.is_some(), before_version)?;
                if new.based_on.is_some() && new.based_on != before_version {
                    return Err(StoreError::Contention);
                }
                if before.is_none() && self.api_names().await?.len() >= MAX_APIS {
                    return Err(StoreError::ApiLimit);
                }
                let api = self.changed_api(new, &build, before.as_ref(), request)?;
                let changes = changes(before.as_ref(), Some(&api));
                if let Some(before) = before.as_ref().filter(|_| changes.is_empty()) {
                    let put = PutApi { api: before.clone(), created: false };
                    return Ok(Attempt::Done((put, None)));
                }
                written.get_or_try_init(|| self.write_build(&new.name, &build)).await?;
                let created = before.is_none();
                let event_type = if created { EventType::ApiRegistered } else { EventType::ApiChanged };
                let event = NewEvent::api(event_type, &new.name, changes);
                let actions = vec![
                    self.put(schema::api_key(&new.name), item(&api), unchanged(before_version))?,
                    self.record(event, request, api.updated_at)?,
                ];
                let put = PutApi { api, created };
                let replaced = before.map(|before| before.build);
                Ok(self.commit_unchanged(actions).await?.with((put, replaced)))
            })
            .await?;
        self.clean_up(&new.name, replaced).await;
        Ok(put)
    }

    /// The API that results from putting `new` in place of `before`.
    fn changed_api(
        &self,
        new: &NewApi,
        build: &Build,
        before: Option<&StoredApi>,
        request: &ChangeRequest,
    ) -> Result<StoredApi, StoreError> {
        let now = self.clock.now();
        Ok(StoredApi {
            name: new.name.clone(),
            choices: new.choices.clone(),
            content: build.content.clone(),
            build: build.id,
            chunks: build.chunks(),
            version: match before {
                Some(before) => before.version.saturating_add(1),
                None => first_version(&*self.entropy)?,
            },
            created_at: before.map_or(now, |before| before.created_at),
            created_by: before.map_or(&request.actor, |before| &before.created_by).clone(),
            updated_at: now,
            updated_by: request.actor.clone(),
        })
    }

    /// Writes the chunks of a build one at a time, so that a large document does not use up the
    /// capacity of its partition. The first chunk is in the index, so that the sweep finds every
    /// build.
    async fn write_build(&self, api: &ApiName, build: &Build) -> Result<(), StoreError> {
        let mut is_first = true;
        for (part, bytes) in &build.parts {
            for (number, chunk) in bytes.chunks(CHUNK_BYTES).enumerate() {
                let mut item = codec::map([(attribute::DATA, b(chunk))]);
                if is_first {
                    item.extend(codec::map([
                        (attribute::CREATED_AT, seconds(self.clock.now())),
                        (schema::INDEX_PK, s(schema::INDEX_BUILDS)),
                        (schema::INDEX_SK, s(format_args!("{api}#{}", build.id))),
                    ]));
                }
                is_first = false;
                item.extend(schema::chunk_key(api, build.id, *part, number));
                let put = self.client.put_item().table_name(&*self.table).set_item(Some(item));
                put.send().await.map_err(StoreError::from_sdk)?;
            }
        }
        Ok(())
    }

    /// Finds a protected API with a consistent read.
    pub async fn find_api(&self, name: &ApiName) -> Result<Option<StoredApi>, StoreError> {
        let item = self.read(schema::api_key(name), &READ).await?;
        item.map(|item| stored_api(name, &item)).transpose().map_err(|error| error.in_item(name))
    }

    /// Reads a protected API with its tools, consistently.
    ///
    /// # Errors
    /// [`StoreError::ApiNotFound`].
    pub async fn get_api(&self, name: &ApiName) -> Result<ApiWithTools, StoreError> {
        let (api, [tools, skipped]) = self.read_parts(name, [BuildPart::Tools, BuildPart::Skipped]).await?;
        let skipped: Vec<(String, String)> = serde_json::from_slice(&skipped)
            .map_err(|error| malformed_part(name, BuildPart::Skipped, error))?;
        let skipped = skipped.into_iter().map(|(pointer, reason)| Skipped { pointer, reason });
        Ok(ApiWithTools { tools: unpack(name, &tools)?, skipped: skipped.collect(), api })
    }

    /// Reads a protected API with the text of its document, consistently.
    ///
    /// # Errors
    /// [`StoreError::ApiNotFound`].
    pub async fn get_api_document(&self, name: &ApiName) -> Result<(StoredApi, String), StoreError> {
        let (api, [text]) = self.read_parts(name, [BuildPart::Document]).await?;
        let text = tools::unpack_text(&text);
        Ok((api, text.map_err(|error| malformed_part(name, BuildPart::Document, error))?))
    }

    /// Reads the tools of `api`.
    ///
    /// # Errors
    /// [`StoreError::BuildMissing`] if the API has changed since it was read. Read the API again.
    pub async fn get_tools(&self, api: &StoredApi) -> Result<Vec<Tool>, StoreError> {
        unpack(&api.name, &self.part(api, BuildPart::Tools).await?)
    }

    /// Reads an API and parts of its build. If the API changes in between, reads all once more.
    async fn read_parts<const N: usize>(
        &self,
        name: &ApiName,
        parts: [BuildPart; N],
    ) -> Result<(StoredApi, [Vec<u8>; N]), StoreError> {
        let mut is_first = true;
        loop {
            let api = self.find_api(name).await?.ok_or_else(|| StoreError::ApiNotFound(name.clone()))?;
            let mut read = [const { Vec::new() }; N];
            let mut missing = None;
            for (read, part) in read.iter_mut().zip(parts) {
                match self.part(&api, part).await {
                    Ok(bytes) => *read = bytes,
                    Err(error @ StoreError::BuildMissing(_)) => missing = Some(error),
                    Err(error) => return Err(error),
                }
            }
            match missing {
                None => return Ok((api, read)),
                Some(error) if !is_first => return Err(error),
                Some(_) => is_first = false,
            }
        }
    }

    /// Reads a part of the build of `api`.
    async fn part(&self, api: &StoredApi, part: BuildPart) -> Result<Vec<u8>, StoreError> {
        let count = api.chunks.get(&part).copied().unwrap_or_default();
        let chunks = (0..count).map(async |number| {
            let key = schema::chunk_key(&api.name, api.build, part, number);
            let item = self.read(key, &[attribute::DATA]).await?;
            let item = item.ok_or_else(|| StoreError::BuildMissing(api.name.clone()))?;
            let data = Reader(&item).get(attribute::DATA, |data| data.bytes().map(<[u8]>::to_vec));
            data.map_err(|error| error.in_item(&api.name))
        });
        Ok(try_join_all(chunks).await?.concat())
    }

    /// Lists all protected APIs by name. The names are from the index, which can lag behind the
    /// table, and the APIs are read consistently. A malformed item is logged and left out, so that
    /// it hides no other API.
    pub async fn list_apis(&self) -> Result<Vec<StoredApi>, StoreError> {
        let names = self.api_names().await?;
        let mut apis = Vec::new();
        for found in join_all(names.iter().map(|name| self.find_api(name))).await {
            match found {
                Ok(api) => apis.extend(api),
                Err(cause @ StoreError::Corrupt { .. }) => {
                    tracing::error!(%cause, "a malformed item is left out");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(apis)
    }

    /// The names of all protected APIs in the index.
    async fn api_names(&self) -> Result<Vec<ApiName>, StoreError> {
        let items = self.query_api_index(schema::INDEX_APIS, "").await?;
        let names = items.iter().map(|item| Reader(item).parse(schema::PK, api_name));
        names.collect::<Result<_, _>>().map_err(|error| error.in_item("a protected API"))
    }

    /// Deletes a protected API.
    ///
    /// # Errors
    /// [`StoreError::ApiNotFound`], [`StoreError::Stale`] if the API does not have `version`, or
    /// [`StoreError::Contention`].
    pub async fn delete_api(
        &self,
        name: &ApiName,
        version: Option<u64>,
        request: &ChangeRequest,
    ) -> Result<(), StoreError> {
        let deleted = self
            .retry(|| async {
                let before = self.find_api(name).await?;
                let before = before.ok_or_else(|| StoreError::ApiNotFound(name.clone()))?;
                if version.is_some_and(|version| version != before.version) {
                    return Err(StoreError::Stale);
                }
                let event = NewEvent::api(EventType::ApiDeleted, name, changes(Some(&before), None));
                let actions = vec![
                    self.delete(schema::api_key(name), unchanged(Some(before.version)))?,
                    self.record(event, request, self.clock.now())?,
                ];
                Ok(self.commit_unchanged(actions).await?.with(before.build))
            })
            .await?;
        self.clean_up(name, Some(deleted)).await;
        Ok(())
    }

    /// Deletes the build that a change replaced, and unused builds of earlier requests that failed.
    /// The change is made, so a failure is only logged. The sweep deletes what is left.
    async fn clean_up(&self, api: &ApiName, replaced: Option<BuildId>) {
        let clean_up = async {
            if let Some(build) = replaced {
                self.delete_build(api, build).await?;
            }
            self.delete_unused_builds(Some(api)).await
        };
        if let Err(cause) = clean_up.await {
            tracing::warn!(%cause, api_name = %api, "unused tools could not be deleted");
        }
    }

    /// Deletes the builds of `api`, or of all APIs, that no API names and that are at least an hour
    /// old. Returns their number. This finds the builds in the index, which can lag behind the
    /// table.
    pub async fn delete_unused_builds(&self, api: Option<&ApiName>) -> Result<usize, StoreError> {
        let prefix = api.map(|api| format!("{api}#")).unwrap_or_default();
        let limit = self.clock.now().saturating_sub(UNUSED_AFTER).unwrap_or(Timestamp::MIN);
        let mut deleted = 0;
        for item in self.query_api_index(schema::INDEX_BUILDS, &prefix).await? {
            let reader = Reader(&item);
            let read = || {
                let build = |sk: &str| sk.split('#').next().unwrap_or_default().parse::<BuildId>();
                Ok((
                    reader.parse(schema::PK, api_name)?,
                    reader.parse(schema::SK, build)?,
                    reader.seconds(attribute::CREATED_AT)?,
                ))
            };
            let (name, build, created_at) =
                read().map_err(|error: MalformedItem| error.in_item("a build"))?;
            if created_at > limit || self.find_api(&name).await?.is_some_and(|api| api.build == build) {
                continue;
            }
            self.delete_build(&name, build).await?;
            deleted += 1;
        }
        Ok(deleted)
    }

    /// Deletes the chunks of a build. The first chunk, by which the sweep finds the build, is the
    /// last that is deleted.
    async fn delete_build(&self, api: &ApiName, build: BuildId) -> Result<(), StoreError> {
        let (partition, prefix) = (schema::api_partition(api), schema::build_prefix(build));
        let items = self.read_partition_from(partition, Some(&prefix), &[schema::SK], MAX_QUERIES).await?;
        let names = items.iter().filter_map(|item| Reader(item).text(schema::SK).ok());
        for sk in names.filter(|sk| sk.starts_with(&prefix)).rev() {
            let key = schema::api_partition_key(api, sk);
            let delete = self.client.delete_item().table_name(&*self.table).set_key(Some(key));
            delete.send().await.map_err(StoreError::from_sdk)?;
        }
        Ok(())
    }

    /// Queries a partition of the index whose sort keys start with `prefix`.
    async fn query_api_index(&self, partition: &str, prefix: &str) -> Result<Vec<Map>, StoreError> {
        let (mut items, mut start) = (Vec::new(), None);
        loop {
            let mut query = self
                .client
                .query()
                .table_name(&*self.table)
                .index_name(schema::INDEX)
                .key_condition_expression("#pk = :pk")
                .expression_attribute_names("#pk", schema::INDEX_PK)
                .expression_attribute_values(":pk", s(partition))
                .set_exclusive_start_key(start);
            if !prefix.is_empty() {
                query = query
                    .key_condition_expression("#pk = :pk AND begins_with(#sk, :prefix)")
                    .expression_attribute_names("#sk", schema::INDEX_SK)
                    .expression_attribute_values(":prefix", s(prefix));
            }
            let page = query.send().await.map_err(StoreError::from_sdk)?;
            items.extend(page.items.unwrap_or_default());
            start = page.last_evaluated_key;
            if start.is_none() {
                return Ok(items);
            }
        }
    }
}

/// The attributes of a protected API.
const READ: [&str; 20] = [
    attribute::API_ID,
    attribute::BASE_URL,
    attribute::BUILD,
    attribute::CHUNKS,
    attribute::CONFIRMATION,
    attribute::CREATED_AT,
    attribute::CREATED_BY,
    attribute::DOCUMENT_SHA256,
    attribute::DOCUMENT_TITLE,
    attribute::DOCUMENT_VERSION,
    attribute::EXCLUDE,
    attribute::INCLUDE,
    attribute::ROUTE_PREFIX,
    attribute::SKIPPED_COUNT,
    attribute::TITLE,
    attribute::TOOL_COUNT,
    attribute::TOOLS_SHA256,
    attribute::UPDATED_AT,
    attribute::UPDATED_BY,
    attribute::VERSION,
];

/// The condition that the API still has the version `before`, or still does not exist.
fn unchanged(before: Option<u64>) -> Expression {
    before.map_or_else(Expression::absent, |version| Expression::equal(attribute::VERSION, n(version)))
}

fn api_name(partition: &str) -> Result<ApiName, crate::domain::InvalidApiName> {
    partition.strip_prefix(schema::partition::API).unwrap_or_default().parse()
}

fn stored_api(name: &ApiName, item: &Map) -> Result<StoredApi, MalformedItem> {
    let reader = Reader(item);
    let count = |name| reader.get(name, |value: &AttributeValue| value.number()?.parse().ok());
    let text = |name| reader.get_optional(name, |value| value.text().map(str::to_owned));
    Ok(StoredApi {
        name: name.clone(),
        choices: ApiChoices {
            title: reader.parse(attribute::TITLE, ApiTitle::from_stored)?,
            base_url: reader.parse(attribute::BASE_URL, BaseUrl::from_stored)?,
            api_id: reader.parse(attribute::API_ID, ApiId::parse)?,
            route_prefix: reader.parse(attribute::ROUTE_PREFIX, RoutePrefix::parse)?,
            include: reader.optional(attribute::INCLUDE, permissions)?,
            exclude: permissions(reader, attribute::EXCLUDE)?,
            confirmation: reader.get(attribute::CONFIRMATION, |value| Confirmation::parse(value.text()?))?,
        },
        content: ApiContent {
            tool_count: count(attribute::TOOL_COUNT)?,
            skipped_count: count(attribute::SKIPPED_COUNT)?,
            document_sha256: reader.text(attribute::DOCUMENT_SHA256)?.to_owned(),
            tools_sha256: reader.text(attribute::TOOLS_SHA256)?.to_owned(),
            document_title: text(attribute::DOCUMENT_TITLE)?,
            document_version: text(attribute::DOCUMENT_VERSION)?,
        },
        build: reader.parse(attribute::BUILD, str::parse)?,
        chunks: reader.get(attribute::CHUNKS, |value| {
            let parts = value.map()?.iter();
            parts
                .map(|(part, count)| Some((BuildPart::parse(part)?, count.number()?.parse().ok()?)))
                .collect()
        })?,
        version: reader.version()?,
        created_at: reader.seconds(attribute::CREATED_AT)?,
        created_by: reader.actor(attribute::CREATED_BY)?,
        updated_at: reader.seconds(attribute::UPDATED_AT)?,
        updated_by: reader.actor(attribute::UPDATED_BY)?,
    })
}

fn permissions(reader: Reader<'_>, name: &str) -> Result<Vec<Permission>, MalformedItem> {
    reader.get(name, |value| {
        let texts = value.list().filter(|texts| texts.len() <= MAX_PERMISSIONS)?;
        let texts = texts.iter().map(Attribute::text).collect::<Option<Vec<_>>>()?;
        Permission::parse_all(&texts).ok()
    })
}

fn item(api: &StoredApi) -> Map {
    let permissions = |list: &[Permission]| AttributeValue::L(list.iter().map(s).collect());
    let chunks = api.chunks.iter().map(|(part, count)| (part.name().to_owned(), n(count))).collect();
    let (choices, content) = (&api.choices, &api.content);
    let mut item = codec::map([
        (attribute::TITLE, s(&choices.title)),
        (attribute::BASE_URL, s(&choices.base_url)),
        (attribute::API_ID, s(&choices.api_id)),
        (attribute::ROUTE_PREFIX, s(&choices.route_prefix)),
        (attribute::EXCLUDE, permissions(&choices.exclude)),
        (attribute::CONFIRMATION, s(choices.confirmation.name())),
        (attribute::TOOL_COUNT, n(content.tool_count)),
        (attribute::SKIPPED_COUNT, n(content.skipped_count)),
        (attribute::DOCUMENT_SHA256, s(&content.document_sha256)),
        (attribute::TOOLS_SHA256, s(&content.tools_sha256)),
        (attribute::BUILD, s(api.build)),
        (attribute::CHUNKS, AttributeValue::M(chunks)),
        (attribute::VERSION, n(api.version)),
        (attribute::CREATED_AT, seconds(api.created_at)),
        (attribute::CREATED_BY, codec::actor(&api.created_by)),
        (attribute::UPDATED_AT, seconds(api.updated_at)),
        (attribute::UPDATED_BY, codec::actor(&api.updated_by)),
        (schema::INDEX_PK, s(schema::INDEX_APIS)),
        (schema::INDEX_SK, s(&api.name)),
    ]);
    item.extend(choices.include.as_deref().map(|list| (attribute::INCLUDE.to_owned(), permissions(list))));
    for (name, text) in [
        (attribute::DOCUMENT_TITLE, &content.document_title),
        (attribute::DOCUMENT_VERSION, &content.document_version),
    ] {
        item.extend(text.as_ref().map(|text| (name.to_owned(), s(text))));
    }
    item
}

/// The changed fields of an API. `None` is an API that is not registered.
fn changes(before: Option<&StoredApi>, after: Option<&StoredApi>) -> Vec<FieldChange> {
    let fields = |api: Option<&StoredApi>| {
        let Some(StoredApi { choices, content, .. }) = api else { return [const { String::new() }; 7] };
        [
            choices.title.to_string(),
            choices.base_url.to_string(),
            choices.api_id.to_string(),
            choices.route_prefix.to_string(),
            choices.confirmation.name().to_owned(),
            format!("SHA-256 {}", content.document_sha256),
            format!("{} (SHA-256 {})", content.tool_count, content.tools_sha256),
        ]
    };
    let names = [
        attribute::TITLE,
        attribute::BASE_URL,
        attribute::API_ID,
        attribute::ROUTE_PREFIX,
        attribute::CONFIRMATION,
        OPENAPI,
        TOOLS,
    ];
    let values = names.into_iter().zip(fields(before).into_iter().zip(fields(after)));
    let mut changes: Vec<_> =
        values.filter_map(|(name, (from, to))| FieldChange::between(name, &from, Some(&to))).collect();
    let include = |api: Option<&StoredApi>| texts(api.and_then(|api| api.choices.include.as_deref()));
    let exclude = |api: Option<&StoredApi>| texts(api.map(|api| api.choices.exclude.as_slice()));
    changes.extend(list_changes(attribute::INCLUDE, &include(before), &include(after)));
    changes.extend(list_changes(attribute::EXCLUDE, &exclude(before), &exclude(after)));
    changes
}

/// The field of a request that has the document.
const OPENAPI: &str = "openapi";
/// The field of a response that has the tools.
pub(super) const TOOLS: &str = "tools";

fn texts(permissions: Option<&[Permission]>) -> Vec<String> {
    permissions.unwrap_or_default().iter().map(ToString::to_string).collect()
}

/// Each text that was removed from a list or added to it.
fn list_changes(field: &str, before: &[String], after: &[String]) -> Vec<FieldChange> {
    let removed = before.iter().filter(|text| !after.contains(text)).map(|text| (text.as_str(), ""));
    let added = after.iter().filter(|text| !before.contains(text)).map(|text| ("", text.as_str()));
    let change = |(from, to): (&str, &str)| FieldChange {
        field: field.to_owned(),
        from: from.to_owned(),
        to: to.to_owned(),
    };
    removed.chain(added).map(change).collect()
}

fn unpack(api: &ApiName, packed: &[u8]) -> Result<Vec<Tool>, StoreError> {
    tools::unpack(packed).map_err(|error| malformed_part(api, BuildPart::Tools, error))
}

fn sha256(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(bytes))
}

/// The error of a part of a build that was altered in the table.
fn malformed_part(api: &ApiName, part: BuildPart, error: impl ToString) -> StoreError {
    StoreError::Corrupt { item: format!("{api} ({})", part.name()), problem: error.to_string() }
}
