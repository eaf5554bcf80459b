//! The operations of Secrets Manager that the functions and rotations need: secrets
//! with versions and staging labels.
//!
//! The names of versions, the rules for overwriting a value, and the moves of labels
//! follow AWS's documentation:
//! <https://docs.aws.amazon.com/secretsmanager/latest/apireference/Welcome.html>

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use crate::services::{Answer, failure};

/// The pepper secret's name.
pub(crate) const SECRET_ID: &str = "keyward-pepper";
/// The token key secret's name.
pub(crate) const TOKEN_KEY_SECRET_ID: &str = "keyward-token-key";
/// The name of the console's secret.
pub(crate) const CONSOLE_SECRET_ID: &str = "keyward-console";

const CURRENT: &str = "AWSCURRENT";
const PENDING: &str = "AWSPENDING";
const PREVIOUS: &str = "AWSPREVIOUS";

/// A secret. Clones share it.
#[derive(Clone)]
pub struct Secrets(Arc<Mutex<Secret>>);

#[derive(Default)]
struct Secret {
    versions: BTreeMap<String, Version>,
    is_rotated: bool,
    created: u32,
}

#[derive(Clone, Default)]
struct Version {
    /// `None` until a rotation sets the value of its new version.
    value: Option<String>,
    labels: BTreeSet<String>,
}

/// The type and the message of an error.
type Refusal = (&'static str, String);

impl Secrets {
    /// A secret with this value.
    pub(crate) fn new(value: String) -> Self {
        let secrets = Self(Arc::default());
        secrets.set(value);
        secrets
    }

    /// Stores `value` as the current version, as an administrator does by hand.
    pub fn set(&self, value: String) {
        let mut secret = self.lock();
        secret.created += 1;
        let id = format!("00000000-0000-0000-0000-{:012}", secret.created);
        secret.versions.insert(id.clone(), Version { value: Some(value), ..Version::default() });
        secret.label(CURRENT, &id);
    }

    /// Begins a rotation, as `RotateSecret` does: adds the pending version `token`
    /// without a value. The caller runs the steps.
    pub fn begin_rotation(&self, token: &str) {
        let mut secret = self.lock();
        secret.is_rotated = true;
        secret.versions.entry(token.to_owned()).or_default();
        secret.label(PENDING, token);
    }

    /// Overwrites the value of the pending version.
    pub fn set_pending(&self, token: &str, value: String) {
        let version = Version { value: Some(value), ..Version::default() };
        let mut secret = self.lock();
        secret.versions.insert(token.to_owned(), version);
        secret.label(PENDING, token);
    }

    /// Ends rotations, as `CancelRotateSecret` does.
    pub fn cancel_rotation(&self) {
        self.lock().is_rotated = false;
    }

    /// The id, labels and value of each version that has a label.
    pub fn versions(&self) -> Vec<(String, Vec<String>, Option<String>)> {
        let secret = self.lock();
        let labelled = secret.labelled();
        labelled
            .map(|(id, version)| {
                (id.clone(), version.labels.iter().cloned().collect(), version.value.clone())
            })
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, Secret> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Secret {
    /// The versions that have a label. AWS deletes the others.
    fn labelled(&self) -> impl Iterator<Item = (&String, &Version)> {
        self.versions.iter().filter(|(_, version)| !version.labels.is_empty())
    }

    /// The id of the version with this label.
    fn labelled_with(&self, label: &str) -> Option<String> {
        self.labelled().find(|(_, version)| version.labels.contains(label)).map(|(id, _)| id.clone())
    }

    /// Moves a label. The version that was current becomes the previous one.
    fn label(&mut self, label: &str, to: &str) {
        let before = self.labelled_with(label);
        if before.as_deref() == Some(to) {
            return;
        }
        for version in self.versions.values_mut() {
            version.labels.remove(label);
        }
        if let Some(version) = self.versions.get_mut(to) {
            version.labels.insert(label.to_owned());
        }
        if let Some(before) = before.filter(|_| label == CURRENT) {
            self.label(PREVIOUS, &before);
        }
    }

    fn get(&self, request: &Value) -> Result<Value, Refusal> {
        let (id, label) = (text(request, "VersionId"), text(request, "VersionStage"));
        let label = label.or(id.is_none().then_some(CURRENT));
        let found = self.labelled().find(|(own, version)| {
            id.is_none_or(|id| id == *own) && label.is_none_or(|label| version.labels.contains(label))
        });
        let value = found.and_then(|(id, version)| Some((id, version, version.value.as_ref()?)));
        let (id, version, value) = value.ok_or_else(not_found)?;
        Ok(json!({ "VersionId": id, "VersionStages": version.labels, "SecretString": value }))
    }

    fn describe(&self) -> Value {
        let stages: BTreeMap<_, _> = self.labelled().map(|(id, version)| (id, &version.labels)).collect();
        json!({ "RotationEnabled": self.is_rotated, "VersionIdsToStages": stages })
    }

    fn put(&mut self, request: &Value) -> Result<Value, Refusal> {
        let invalid = |message: &str| ("InvalidParameterException", message.to_owned());
        let id =
            text(request, "ClientRequestToken").ok_or_else(|| invalid("ClientRequestToken is missing"))?;
        let value = text(request, "SecretString").ok_or_else(|| invalid("SecretString is missing"))?;
        let version = self.versions.entry(id.to_owned()).or_default();
        if version.value.as_ref().is_some_and(|own| own != value) {
            let message = "You can't modify an existing version, you can only create a new version.";
            return Err(("ResourceExistsException", message.to_owned()));
        }
        version.value = Some(value.to_owned());
        let labels = request.get("VersionStages").and_then(Value::as_array);
        let labels: Vec<&str> = labels.into_iter().flatten().filter_map(Value::as_str).collect();
        for label in if labels.is_empty() { vec![CURRENT] } else { labels } {
            self.label(label, id);
        }
        Ok(json!({ "VersionId": id }))
    }

    fn update_stage(&mut self, request: &Value) -> Result<Value, Refusal> {
        let (Some(label), Some(to)) = (text(request, "VersionStage"), text(request, "MoveToVersionId"))
        else {
            return Err((
                "InvalidParameterException",
                "VersionStage or MoveToVersionId is missing".to_owned(),
            ));
        };
        let to = self.labelled().map(|(id, _)| id.clone()).find(|id| id == to).ok_or_else(not_found)?;
        let holder = self.labelled_with(label);
        if holder.as_deref() != text(request, "RemoveFromVersionId") && holder.as_ref() != Some(&to) {
            let message = format!("The staging label {label} is currently attached to version {holder:?}");
            return Err(("InvalidParameterException", message));
        }
        self.label(label, &to);
        Ok(json!({}))
    }
}

/// The secrets, by name.
#[derive(Clone)]
pub(crate) struct NamedSecrets {
    pub(crate) pepper: Secrets,
    pub(crate) token_key: Secrets,
    pub(crate) console: Secrets,
}

impl NamedSecrets {
    fn get(&self, name: &str) -> Option<&Secrets> {
        match name {
            SECRET_ID => Some(&self.pepper),
            TOKEN_KEY_SECRET_ID => Some(&self.token_key),
            CONSOLE_SECRET_ID => Some(&self.console),
            _ => None,
        }
    }

    /// Answers the request `body` for `operation`.
    pub(crate) fn answer(&self, operation: &str, body: &[u8]) -> Answer {
        let request: Value = serde_json::from_slice(body).unwrap_or_default();
        let secret = text(&request, "SecretId").and_then(|name| self.get(name));
        let result = if let Some(secret) = secret {
            let mut secret = secret.lock();
            match operation {
                "GetSecretValue" => secret.get(&request),
                "DescribeSecret" => Ok(secret.describe()),
                "PutSecretValue" => secret.put(&request),
                "UpdateSecretVersionStage" => secret.update_stage(&request),
                _ => {
                    Err(("InvalidRequestException", "local mode does not support this operation".to_owned()))
                }
            }
        } else {
            Err(not_found())
        };
        match result {
            Ok(body) => (200, body.to_string()),
            Err((kind, message)) => failure(kind, &message),
        }
    }
}

fn text<'a>(request: &'a Value, member: &str) -> Option<&'a str> {
    request.get(member).and_then(Value::as_str)
}

fn not_found() -> Refusal {
    ("ResourceNotFoundException", "Secrets Manager can't find the specified secret value.".to_owned())
}
