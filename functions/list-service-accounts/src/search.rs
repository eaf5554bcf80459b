//! `GET /iam/v1/search`: searches service accounts and keys.

use jiff::Timestamp;
use serde::Deserialize;
use shared::api::{
    FoundAccount, FoundIdentity, FoundKey, FoundKeyAccount, IdentityState, IdentitySummary, KeyState,
    KeySummary, MatchedField, SearchResults,
};
use shared::domain::{AccountId, FoldedName, IdentityId, KeyId, may_contain_credential};
use shared::http::{Failure, Reply, Request, query_parameter};
use shared::store::{
    DirectoryAccount, DirectoryCursor, DirectoryIdentity, DirectoryKey, DirectoryList, FoundRetiredKey,
    StoreError,
};
use utoipa::IntoParams;

use crate::ListServiceAccounts;

/// The length of a text that can be searched, in characters.
const TEXT_CHARS: std::ops::RangeInclusive<usize> = 2..=128;
/// The minimum length of a part of an id that is searched, in characters. Shorter texts are
/// in too many ids by chance.
const MIN_ID_CHARS: usize = 4;
/// The number of a key's last characters that people see.
const HINT_CHARS: usize = 4;
/// The maximum number of accounts, of keys, and of federated identities in a response.
const MAX_FOUND: usize = 50;
/// The maximum number of queries of the directory for a response. Each reads at most 1 MB.
const MAX_QUERIES: usize = 5;

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct SearchQuery {
    /// The text: 2 to 128 characters. It must not contain a key or token: to find the
    /// service account of a whole key, use `lookupKey`, which keeps the key out of URLs.
    #[param(min_length = 2, max_length = 128, required = true, example = "nightly")]
    q: Option<String>,
    /// The `nextCursor` of the previous response to the same search.
    cursor: Option<String>,
}

/// What a text is searched for.
enum Target {
    /// The account with this id.
    Account(AccountId),
    /// The key with this id.
    Key(KeyId),
    /// The federated identity with this id.
    Identity(IdentityId),
    /// Everything that contains the text.
    Text(Text),
}

/// A text to search.
struct Text {
    /// Compared with names, owners and tags.
    folded: String,
    /// Compared with ids.
    id: Option<String>,
    /// The last four characters of a key.
    hint: Option<String>,
}

/// Search service accounts, keys and federated identities
///
/// Finds service accounts whose name, owner or tags contain a text, and live keys and
/// federated identities whose name contains the text, ignoring case. To search for a tag with its value, write
/// `name=value`. With four or more characters, the text can also be a part of an id.
/// The last four characters of a key find the key, even if it is retired.
///
/// A whole id finds only what has this id: a service account (`sa_…`), even a deleted
/// one, or a key (`key_…`) or federated identity (`fid_…`), even one that has ended. Deleted
/// service accounts, retired keys and ended identities are found for 400 days, and only if
/// this version of Keyward or a later one deleted or retired them. The names of retired keys
/// and ended identities are never searched.
///
/// The results have a fixed order. One response searches at most 5 MB of data, about
/// 10,000 service accounts, and finds at most 50 accounts, 50 keys and 50 identities.
/// `nextCursor` continues the search where it stopped. Changes may take a moment to be found.
#[utoipa::path(
    get,
    path = "/iam/v1/search",
    operation_id = "search",
    tag = "Service accounts",
    params(SearchQuery),
    responses(
        (status = 200, description = "What the search found.", body = SearchResults),
        (status = 400, description = "malformed_request"),
    )
)]
pub async fn search(function: &ListServiceAccounts, request: &Request) -> Result<Reply, Failure> {
    let query: SearchQuery = request.query()?;
    let target = query_parameter("q", Some(query.q.as_deref().unwrap_or_default()), target)?;
    let decode = |text: &str| DirectoryCursor::decode(DirectoryList::Search, text);
    let cursor = query_parameter("cursor", query.cursor.as_deref(), decode)?;
    let mut search = Search { function, results: SearchResults::default() };
    match target {
        Some(Target::Account(id)) => search.find_account(id).await?,
        Some(Target::Key(id)) => search.find_key(id, cursor).await?,
        Some(Target::Identity(id)) => search.find_identity(id, cursor).await?,
        Some(Target::Text(text)) => Box::pin(search.find_text(&text, cursor)).await?,
        None => {}
    }
    Ok(Reply::ok(&search.results))
}

/// Checks a text. No message quotes it.
fn target(text: &str) -> Result<Target, String> {
    let text = text.trim();
    if may_contain_credential(text) {
        return Err("must not contain a key or token. To find the service account of a key, send the key \
                    to POST /iam/v1/keys/lookup"
            .to_owned());
    }
    if !TEXT_CHARS.contains(&text.chars().count()) {
        return Err(format!("must have {} to {} characters", TEXT_CHARS.start(), TEXT_CHARS.end()));
    }
    if let Ok(id) = text.parse() {
        return Ok(Target::Account(id));
    }
    if let Ok(id) = text.parse() {
        return Ok(Target::Key(id));
    }
    if let Ok(id) = text.parse() {
        return Ok(Target::Identity(id));
    }
    let is_hint = text.len() == HINT_CHARS && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let folded = FoldedName::new(text).as_str().to_owned();
    Ok(Target::Text(Text {
        id: Some(folded.clone()).filter(|id| id.chars().count() >= MIN_ID_CHARS),
        hint: is_hint.then(|| text.to_owned()),
        folded,
    }))
}

/// A search and what it has found.
struct Search<'a> {
    function: &'a ListServiceAccounts,
    results: SearchResults,
}

impl Search<'_> {
    /// Finds an account, or the record of a deleted account.
    async fn find_account(&mut self, id: AccountId) -> Result<(), StoreError> {
        let store = &self.function.store;
        let matched = vec![MatchedField::Id];
        if let Some(account) = store.find_account(id).await? {
            self.results.searched_accounts = 1;
            self.results.accounts.push(FoundAccount {
                id,
                name: account.name.to_string(),
                owner: account.owner.to_string(),
                role: Some(account.role),
                enabled: account.enabled,
                deleted_at: None,
                matched,
            });
        } else if let Some(deleted) = store.find_deleted_account(id).await? {
            self.results.accounts.push(FoundAccount {
                id,
                name: deleted.name,
                owner: String::new(),
                role: None,
                enabled: false,
                deleted_at: Some(deleted.deleted_at),
                matched,
            });
        }
        Ok(())
    }

    /// Finds a retired or live key.
    async fn find_key(&mut self, id: KeyId, cursor: Option<DirectoryCursor>) -> Result<(), StoreError> {
        if cursor.is_none()
            && let Some(retired) = self.function.store.retired_key_by_id(id).await?
        {
            return self.add_retired(vec![retired], MatchedField::Id).await;
        }
        self.scan(cursor, |account| Matches {
            keys: account
                .keys
                .iter()
                .filter(|key| key.id == id)
                .map(|key| (key, vec![MatchedField::Id]))
                .collect(),
            ..Matches::default()
        })
        .await
    }

    /// Finds a federated identity, or the record of an ended one.
    async fn find_identity(
        &mut self,
        id: IdentityId,
        cursor: Option<DirectoryCursor>,
    ) -> Result<(), StoreError> {
        let store = &self.function.store;
        if cursor.is_none()
            && let Some(ended) = store.ended_identity_by_id(id).await?
        {
            let name = store.account_names(vec![ended.account]).await?.into_iter().flatten().next();
            self.results.federated_identities.push(FoundIdentity {
                identity: IdentitySummary { id, name: ended.name },
                state: if ended.has_expired { IdentityState::Expired } else { IdentityState::Deleted },
                account: FoundKeyAccount { id: ended.account, name: name.unwrap_or_default() },
                matched: vec![MatchedField::Id],
            });
            return Ok(());
        }
        self.scan(cursor, |account| Matches {
            identities: account
                .identities
                .iter()
                .filter(|identity| identity.id == id)
                .map(|identity| (identity, vec![MatchedField::Id]))
                .collect(),
            ..Matches::default()
        })
        .await
    }

    /// Finds everything that contains a text.
    async fn find_text(&mut self, text: &Text, cursor: Option<DirectoryCursor>) -> Result<(), StoreError> {
        if let Some(hint) = text.hint.as_ref().filter(|_| cursor.is_none()) {
            let limit = i32::try_from(MAX_FOUND).unwrap_or(i32::MAX);
            let retired = self.function.store.retired_keys_by_hint(hint, limit).await?;
            self.add_retired(retired, MatchedField::Hint).await?;
        }
        self.scan(cursor, |account| {
            let keys = account.keys.iter().map(|key| (key, text.fields_of_key(key)));
            let identities = account.identities.iter().map(|own| (own, text.fields_of_identity(own)));
            Matches {
                account: text.fields_of_account(account),
                keys: keys.filter(|(_, matched)| !matched.is_empty()).collect(),
                identities: identities.filter(|(_, matched)| !matched.is_empty()).collect(),
            }
        })
        .await
    }

    /// Adds retired keys with the names of their accounts.
    async fn add_retired(
        &mut self,
        retired: Vec<FoundRetiredKey>,
        matched: MatchedField,
    ) -> Result<(), StoreError> {
        let accounts = retired.iter().map(|key| key.account).collect();
        let names = self.function.store.account_names(accounts).await?;
        for (key, name) in retired.into_iter().zip(names) {
            self.results.keys.push(FoundKey {
                key: KeySummary { id: key.id, name: key.name, hint: key.hint },
                state: KeyState::Retired,
                account: FoundKeyAccount { id: key.account, name: name.unwrap_or_default() },
                matched: vec![matched],
            });
        }
        Ok(())
    }

    /// Searches the directory from `cursor` on. `find` returns what matches in an account.
    async fn scan(
        &mut self,
        mut cursor: Option<DirectoryCursor>,
        find: impl Fn(&DirectoryAccount) -> Matches<'_>,
    ) -> Result<(), StoreError> {
        let now = self.function.clock.now();
        for _ in 0..MAX_QUERIES {
            let page = self.function.store.directory(cursor.as_ref()).await?;
            for (account, position) in &page.items {
                let Matches { account: matched, keys, identities } = find(account);
                let results = &mut self.results;
                let is_full = results.accounts.len() + usize::from(!matched.is_empty()) > MAX_FOUND
                    || results.keys.len() + keys.len() > MAX_FOUND
                    || results.federated_identities.len() + identities.len() > MAX_FOUND;
                if is_full && results.searched_accounts > 0 {
                    results.next_cursor = cursor.map(|cursor| cursor.to_string());
                    return Ok(());
                }
                results.searched_accounts += 1;
                if !matched.is_empty() {
                    results.accounts.push(found_account(account, matched));
                }
                results
                    .keys
                    .extend(keys.into_iter().map(|(key, matched)| found_key(account, key, matched, now)));
                let identities = identities.into_iter();
                results
                    .federated_identities
                    .extend(identities.map(|(own, matched)| found_identity(account, own, matched, now)));
                cursor = Some(position.clone());
            }
            cursor = page.next;
            if cursor.is_none() {
                return Ok(());
            }
        }
        self.results.next_cursor = cursor.map(|cursor| cursor.to_string());
        Ok(())
    }
}

/// What matches in an account: its own fields, keys and federated identities.
#[derive(Default)]
struct Matches<'a> {
    account: Vec<MatchedField>,
    keys: Vec<(&'a DirectoryKey, Vec<MatchedField>)>,
    identities: Vec<(&'a DirectoryIdentity, Vec<MatchedField>)>,
}

fn found_key(
    account: &DirectoryAccount,
    key: &DirectoryKey,
    matched: Vec<MatchedField>,
    now: Timestamp,
) -> FoundKey {
    FoundKey {
        key: KeySummary { id: key.id, name: Some(key.name.clone()), hint: Some(key.hint.clone()) },
        state: KeyState::new(key.ended(now), key.retires_at.is_some()),
        account: FoundKeyAccount { id: account.id, name: account.name.clone() },
        matched,
    }
}

fn found_identity(
    account: &DirectoryAccount,
    identity: &DirectoryIdentity,
    matched: Vec<MatchedField>,
    now: Timestamp,
) -> FoundIdentity {
    let is_expired = identity.ended(now).is_some();
    FoundIdentity {
        identity: IdentitySummary { id: identity.id, name: identity.name.clone() },
        state: if is_expired { IdentityState::Expired } else { IdentityState::Active },
        account: FoundKeyAccount { id: account.id, name: account.name.clone() },
        matched,
    }
}

fn found_account(account: &DirectoryAccount, matched: Vec<MatchedField>) -> FoundAccount {
    FoundAccount {
        id: account.id,
        name: account.name.clone(),
        owner: account.owner.clone(),
        role: Some(account.role.clone()),
        enabled: account.enabled,
        deleted_at: None,
        matched,
    }
}

impl Text {
    fn fields_of_account(&self, account: &DirectoryAccount) -> Vec<MatchedField> {
        let mut tags = account.tags.iter();
        let fields = [
            (MatchedField::Id, self.is_in_id(AccountId::PREFIX, account.id.bare())),
            (MatchedField::Name, self.is_in(&account.name)),
            (MatchedField::Owner, self.is_in(&account.owner)),
            (MatchedField::Tags, tags.any(|(name, value)| self.is_in(&format!("{name}={value}")))),
        ];
        fields.into_iter().filter_map(|(field, is_match)| is_match.then_some(field)).collect()
    }

    fn fields_of_key(&self, key: &DirectoryKey) -> Vec<MatchedField> {
        let is_hint = self.hint.as_ref().is_some_and(|hint| hint.eq_ignore_ascii_case(&key.hint));
        let fields = [
            (MatchedField::Id, self.is_in_id(KeyId::PREFIX, key.id.bare())),
            (MatchedField::Name, self.is_in(&key.name)),
            (MatchedField::Hint, is_hint),
        ];
        fields.into_iter().filter_map(|(field, is_match)| is_match.then_some(field)).collect()
    }

    fn fields_of_identity(&self, identity: &DirectoryIdentity) -> Vec<MatchedField> {
        let fields = [
            (MatchedField::Id, self.is_in_id(IdentityId::PREFIX, identity.id.bare())),
            (MatchedField::Name, self.is_in(&identity.name)),
        ];
        fields.into_iter().filter_map(|(field, is_match)| is_match.then_some(field)).collect()
    }

    fn is_in(&self, text: &str) -> bool {
        FoldedName::new(text).as_str().contains(&self.folded)
    }

    /// Whether an id contains the text, or starts with it if the text has the id's prefix.
    fn is_in_id(&self, prefix: &str, bare: &str) -> bool {
        let Some(text) = &self.id else { return false };
        let bare = bare.to_ascii_lowercase();
        match text.strip_prefix(prefix) {
            Some("") => false,
            Some(start) => bare.starts_with(start),
            None => bare.contains(text.as_str()),
        }
    }
}
