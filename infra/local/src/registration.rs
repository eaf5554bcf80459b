//! The registration of the user's own API for agents, with `--openapi`.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use shared::api::{Problem, RegisteredApi};
use shared::domain::{ApiName, ApiTitle, RoutePrefix};
use shared::openapi::{Document, DocumentError, MAX_BYTES};
use shared::tools::{Selection, compile};

use crate::StartError;
use crate::system::LocalJson;

/// An `OpenAPI` document, and the name under which its API is registered.
pub(crate) struct Registration {
    file: PathBuf,
    pub(crate) name: ApiName,
    title: String,
    document: String,
}

impl Registration {
    /// Reads a document from a file. The name of the file is the name of the API.
    pub(crate) fn read(file: &Path) -> Result<Self, StartError> {
        let unusable = |problem: String| StartError::OpenApi { file: file.to_owned(), problem };
        let mut document = String::new();
        // One byte more shows that the file is too large.
        let limit = u64::try_from(MAX_BYTES).unwrap_or(u64::MAX).saturating_add(1);
        let opened = File::open(file).and_then(|file| file.take(limit).read_to_string(&mut document));
        opened.map_err(|error| unusable(format!("cannot be read: {error}")))?;
        let parsed = Document::read(&document).map_err(|errors| unusable(first(&errors)))?;
        let nothing = RoutePrefix::parse("").map_err(|error| unusable(error.to_string()))?;
        let selection = Selection { include: None, exclude: &[], route_prefix: &nothing };
        compile(&parsed, &selection).map_err(|errors| unusable(first(&errors)))?;
        let stem = file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let name = name_of(&stem).ok_or_else(|| {
            unusable(
                "must be renamed: its name becomes the name of the API, which must contain a letter"
                    .to_owned(),
            )
        })?;
        let title = parsed.info("title").filter(|title| ApiTitle::parse(title).is_ok());
        let title = title.unwrap_or_else(|| name.as_str().to_owned());
        Ok(Self { file: file.to_owned(), name, title, document })
    }

    /// Registers the API at local mode's own API, which is in front of the user's API. Keeps what
    /// an admin changed since an earlier start, except the document and the base URL.
    pub(crate) async fn send(&self, facts: &LocalJson) -> Result<(), StartError> {
        let failed = |problem: String| StartError::OpenApi { file: self.file.clone(), problem };
        let outage = |error: reqwest::Error| failed(format!("cannot be registered: {error}"));
        let client = reqwest::Client::builder().no_proxy().build().map_err(outage)?;
        let url = format!("{}/iam/v1/apis/{}", facts.api, self.name.as_str());
        let existing = client.get(&url).bearer_auth(&facts.admin_token).send().await.map_err(outage)?;
        let mut body = match existing.error_for_status() {
            Ok(existing) => settings(&existing.json::<RegisteredApi>().await.map_err(outage)?),
            Err(_) => Map::from_iter([("title".to_owned(), self.title.clone().into())]),
        };
        body.insert("baseUrl".to_owned(), facts.api.clone().into());
        body.insert("openapi".to_owned(), self.document.clone().into());
        let put = client.put(&url).bearer_auth(&facts.admin_token).json(&body).send().await;
        let response = put.map_err(outage)?;
        if response.status().is_success() {
            return Ok(());
        }
        let problem: Problem = response.json().await.map_err(outage)?;
        let error = problem.errors.first();
        let error =
            error.map(|error| format!("{} {}", error.pointer.replacen("/openapi", "", 1), error.detail));
        Err(failed(error.map_or(problem.detail, |error| error.trim_start().to_owned())))
    }
}

/// The settings of a registered API that a new document keeps.
fn settings(api: &RegisteredApi) -> Map<String, Value> {
    let settings = &api.settings;
    let mut kept = Map::new();
    for (name, value) in [
        ("title", json!(settings.title)),
        ("routePrefix", json!(settings.route_prefix)),
        ("include", json!(settings.include)),
        ("exclude", json!(settings.exclude)),
        ("confirmation", json!(settings.confirmation)),
    ] {
        if !value.is_null() {
            kept.insert(name.to_owned(), value);
        }
    }
    kept
}

/// The first error, with its position in the document.
fn first(errors: &[DocumentError]) -> String {
    let others = errors.len().saturating_sub(1);
    let more = if others == 0 { String::new() } else { format!(" (and {others} more)") };
    let first = errors.first().map(|DocumentError { pointer, detail }| match &**pointer {
        "" => detail.clone(),
        pointer => format!("has an error: {pointer} {detail}"),
    });
    format!("{}{more}", first.unwrap_or_default())
}

/// The API's name that is closest to `stem`, if there is one.
fn name_of(stem: &str) -> Option<ApiName> {
    let lower = stem.to_lowercase();
    let words = lower.split(|c: char| !c.is_ascii_lowercase() && !c.is_ascii_digit());
    let joined = words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join("-");
    let name = joined.trim_start_matches(|c: char| !c.is_ascii_lowercase());
    let name: String = name.chars().take(ApiName::MAX_CHARS).collect();
    ApiName::parse(name.trim_end_matches('-')).ok()
}
