//! Roles: the custom ones in the table, and what any role's name stands for.

use std::sync::Arc;

use aws_sdk_dynamodb::types::AttributeValue;
use jiff::Timestamp;

use super::codec::{self, Map, Problem, Reader, n, s, seconds};
use super::commit::{Expression, Outcome};
use super::events::Happened;
use super::list::{Cursor, Page, PageRequest};
use super::schema::{self, attribute};
use super::{Store, StoreError};
use crate::domain::{
    Actor, BuiltInRole, ChangeRequest, CustomRoleName, Description, Entropy, EventType, FieldChange, RoleName,
};
use crate::policy::{BuiltInRoles, MAX_PERMISSIONS, Permission, Permissions, Role};

/// All that is known of a custom role.
const READ: [&str; 8] = [
    attribute::DESCRIPTION,
    attribute::PERMISSIONS,
    attribute::VERSION,
    attribute::CREATED_AT,
    attribute::CREATED_BY,
    attribute::UPDATED_AT,
    attribute::UPDATED_BY,
    schema::PK,
];

/// A custom role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CustomRole {
    /// Its name, and what it permits.
    pub role: Role,
    /// What it is for.
    pub description: Description,
    /// Grows with every change. It begins at a random number, so that no version
    /// of a role is ever taken for one of an earlier role of the same name.
    pub version: u64,
    /// When it was created.
    pub created_at: Timestamp,
    /// Who created it.
    pub created_by: Actor,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// Who last changed it.
    pub updated_by: Actor,
}

/// What a custom role is to be.
#[derive(Clone, Debug)]
pub struct NewRole {
    /// Its name.
    pub name: CustomRoleName,
    /// What it is for.
    pub description: Description,
    /// What it permits.
    pub permissions: Permissions,
}

/// What must hold of a thing for it to be put (RFC 9110, section 13.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precondition {
    /// Nothing.
    None,
    /// It is there.
    Exists,
    /// It is not there.
    Absent,
    /// It is of this version.
    Version(u64),
}

impl Precondition {
    /// Whether it holds of what stands under a name.
    fn check(self, before: &Standing) -> Result<(), StoreError> {
        let is_free = matches!(before, Standing::Free);
        let holds = match self {
            Self::None => true,
            Self::Exists => !is_free,
            Self::Absent => is_free,
            Self::Version(wanted) => before.role().is_some_and(|role| role.version == wanted),
        };
        if holds { Ok(()) } else { Err(StoreError::Stale) }
    }
}

/// What stands under the name of a custom role.
enum Standing {
    /// Nothing.
    Free,
    /// A role.
    Role(CustomRole),
    /// An item that is not well-formed, which somebody made by hand. It permits
    /// nothing and cannot be shown. It can be replaced and deleted, so that
    /// nobody needs the table itself to mend it.
    IllFormed {
        /// Its version, whatever that is.
        version: Option<AttributeValue>,
    },
}

impl Standing {
    /// The role, if it is one.
    fn role(&self) -> Option<&CustomRole> {
        match self {
            Self::Role(role) => Some(role),
            Self::Free | Self::IllFormed { .. } => None,
        }
    }

    /// The condition that an item is there, and still the one that was read.
    fn unchanged(&self) -> Expression {
        let mut unchanged = Expression::default();
        let version = match self {
            Self::Role(role) => Some(n(role.version)),
            Self::IllFormed { version } => version.clone(),
            Self::Free => None,
        };
        if let Some(version) = version {
            unchanged.require_equal(attribute::VERSION, version);
        } else {
            let (pk, version) = (unchanged.name(schema::PK), unchanged.name(attribute::VERSION));
            unchanged.require(format!("attribute_exists({pk}) AND attribute_not_exists({version})"));
        }
        unchanged
    }
}

/// The outcome of putting a role.
#[derive(Debug)]
pub struct PutRole {
    /// The role, as it is now.
    pub role: CustomRole,
    /// Whether there was none of this name.
    pub created: bool,
}

/// A role of a list.
#[derive(Clone, Debug)]
pub enum ListedRole {
    /// A built-in one, and what it permits in this deployment.
    BuiltIn(BuiltInRole, Arc<Role>),
    /// A custom one.
    Custom(CustomRole),
}

impl ListedRole {
    fn name(&self) -> &RoleName {
        match self {
            Self::BuiltIn(_, role) => &role.name,
            Self::Custom(custom) => &custom.role.name,
        }
    }
}

/// What every role of a deployment permits: the built-in ones, and those of the
/// table. Nothing is kept: a role that was replaced counts from the next call.
#[derive(Clone)]
pub struct Roles {
    store: Store,
    built_in: BuiltInRoles,
}

impl Roles {
    /// The built-in roles `built_in`, and the custom ones in `store`.
    #[must_use]
    pub fn new(store: Store, built_in: BuiltInRoles) -> Self {
        Self { store, built_in }
    }

    /// The role of this name, if there is one. A custom one is one consistent
    /// read.
    ///
    /// # Errors
    /// When the table cannot be reached, or the role is not well-formed.
    pub async fn find(&self, name: &RoleName) -> Result<Option<Arc<Role>>, StoreError> {
        match name.built_in() {
            Some(role) => Ok(Some(Arc::clone(self.built_in.get(role)))),
            None => Ok(self.store.find_role(name).await?.map(Arc::new)),
        }
    }

    /// What the role of this name permits. A missing one permits nothing.
    ///
    /// # Errors
    /// As [`Roles::find`].
    pub async fn get(&self, name: &RoleName) -> Result<Arc<Role>, StoreError> {
        let role = self.find(name).await?;
        Ok(role.unwrap_or_else(|| Arc::new(Role::empty(name.clone()))))
    }

    /// What a built-in role permits.
    #[must_use]
    pub fn built_in(&self, role: BuiltInRole) -> &Role {
        self.built_in.get(role)
    }

    /// All roles in the order of their names (capital letters first). The list is
    /// for people: it reads the index, which may be a moment behind.
    ///
    /// # Errors
    /// When the table cannot be reached, or a role is not well-formed.
    pub async fn list(&self, page: &PageRequest) -> Result<Page<ListedRole>, StoreError> {
        let after = match &page.cursor {
            Some(Cursor::Role(name)) => Some(name),
            Some(Cursor::Account { .. } | Cursor::Event(_) | Cursor::AllEvents(_)) | None => None,
        };
        let built_in = BuiltInRole::ALL
            .map(|role| ListedRole::BuiltIn(role, Arc::clone(self.built_in.get(role))))
            .into_iter()
            .filter(|role| after.is_none_or(|after| role.name().as_str() > after.as_str()));
        let custom = self.store.query_roles(after, page.limit.saturating_add(1)).await?;
        let mut roles: Vec<ListedRole> = custom.into_iter().map(ListedRole::Custom).chain(built_in).collect();
        roles.sort_by(|a, b| a.name().as_str().cmp(b.name().as_str()));
        Ok(Page::cut(roles, page.limit, |role| Cursor::Role(role.name().clone())))
    }
}

impl Store {
    /// What the custom role of this name permits, read consistently.
    ///
    /// # Errors
    /// When the table cannot be reached, or the role is not well-formed.
    pub async fn find_role(&self, name: &RoleName) -> Result<Option<Role>, StoreError> {
        let item = self.read_role(name, &[attribute::PERMISSIONS, schema::PK]).await?;
        item.map(|item| role(name, &item).map_err(|problem| problem.in_item(name))).transpose()
    }

    /// The custom role of this name, read consistently.
    ///
    /// # Errors
    /// [`StoreError::RoleNotFound`], the table cannot be reached, or the role is
    /// not well-formed.
    pub async fn get_role(&self, name: &RoleName) -> Result<CustomRole, StoreError> {
        self.find_custom_role(name).await?.ok_or_else(|| StoreError::RoleNotFound(name.clone()))
    }

    async fn find_custom_role(&self, name: &RoleName) -> Result<Option<CustomRole>, StoreError> {
        let item = self.read_role(name, &READ).await?;
        item.map(|item| custom_role(name, &item).map_err(|problem| problem.in_item(name))).transpose()
    }

    /// What stands under the name of a custom role, read consistently.
    async fn standing(&self, name: &RoleName) -> Result<Standing, StoreError> {
        let Some(item) = self.read_role(name, &READ).await? else {
            return Ok(Standing::Free);
        };
        Ok(custom_role(name, &item).map_or_else(
            |problem| {
                tracing::warn!(cause = %problem.in_item(name), "a role is to be changed that is not well-formed");
                Standing::IllFormed { version: item.get(attribute::VERSION).cloned() }
            },
            Standing::Role,
        ))
    }

    async fn read_role(&self, name: &RoleName, attributes: &[&str]) -> Result<Option<Map>, StoreError> {
        self.read(schema::role_key(name), attributes).await
    }

    /// The first `most` custom roles behind `after`, or all that there are.
    async fn query_roles(&self, after: Option<&RoleName>, most: i32) -> Result<Vec<CustomRole>, StoreError> {
        let wanted = usize::try_from(most).unwrap_or(0);
        let (mut roles, mut start) = (Vec::new(), None);
        // A query stops at 1 MB, which is forty roles of the longest kind.
        loop {
            let mut query = self
                .client
                .query()
                .table_name(&*self.table)
                .index_name(schema::INDEX)
                .key_condition_expression(if after.is_some() {
                    "#pk = :pk AND #sk > :sk"
                } else {
                    "#pk = :pk"
                })
                .expression_attribute_names("#pk", schema::INDEX_PK)
                .expression_attribute_values(":pk", s(schema::INDEX_ROLES))
                .limit(most)
                .set_exclusive_start_key(start);
            if let Some(after) = after {
                query = query
                    .expression_attribute_names("#sk", schema::INDEX_SK)
                    .expression_attribute_values(":sk", s(after));
            }
            let answer = query.send().await.map_err(StoreError::from_sdk)?;
            for item in answer.items() {
                let name =
                    Reader(item).parse(schema::PK, role_name).map_err(|problem| problem.in_item("a role"))?;
                roles.push(custom_role(&name, item).map_err(|problem| problem.in_item(&name))?);
            }
            start = answer.last_evaluated_key;
            if start.is_none() || roles.len() >= wanted {
                return Ok(roles);
            }
        }
    }

    /// Registers a custom role, or replaces the one of this name. Where nothing
    /// would change, nothing is written and there is no event. An item that is
    /// not well-formed is replaced as a whole.
    ///
    /// # Errors
    /// [`StoreError::Stale`] if `precondition` does not hold,
    /// [`StoreError::Contention`], or the table cannot be reached.
    pub async fn put_role(
        &self,
        new: &NewRole,
        precondition: Precondition,
        request: &ChangeRequest,
    ) -> Result<PutRole, StoreError> {
        let name = new.name.name();
        let mut backoff = self.backoff();
        loop {
            let before = self.standing(name).await?;
            precondition.check(&before)?;
            let after = self.put(new, before.role(), request)?;
            let changes = changes(before.role(), Some(&after));
            let (event_type, write) = match &before {
                Standing::Role(role) if changes.is_empty() => {
                    return Ok(PutRole { role: role.clone(), created: false });
                }
                Standing::Role(_) | Standing::IllFormed { .. } => {
                    let write = self.replace(schema::role_key(name), item(&after), before.unchanged())?;
                    (EventType::RoleUpdated, write)
                }
                Standing::Free => {
                    (EventType::RoleCreated, self.put_new(schema::role_key(name), item(&after))?)
                }
            };
            let event =
                self.record(Happened::to_role(event_type, name, changes), request, after.updated_at)?;
            match self.commit(vec![write, event]).await? {
                Outcome::Committed => {
                    return Ok(PutRole { role: after, created: event_type == EventType::RoleCreated });
                }
                Outcome::Refused(_) | Outcome::Conflict => backoff.pause().await?,
            }
        }
    }

    /// What putting `new` in place of `before` makes.
    fn put(
        &self,
        new: &NewRole,
        before: Option<&CustomRole>,
        request: &ChangeRequest,
    ) -> Result<CustomRole, StoreError> {
        let now = self.clock.now();
        Ok(CustomRole {
            role: Role { name: new.name.name().clone(), permissions: new.permissions.clone().into_vec() },
            description: new.description.clone(),
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

    /// Deletes a custom role that no account and no live key has, or an item that
    /// is not well-formed. Reads the accounts after `after` in the index, which may
    /// be a moment behind. If that finds no user but does not reach the last account
    /// in time, nothing is deleted, and the error has the place to continue from.
    ///
    /// An account or key that is given the role in the meantime keeps the role's
    /// name, which permits nothing while the role is missing. The same holds for an
    /// account that a caller skips with a made-up `after`.
    ///
    /// # Errors
    /// [`StoreError::RoleNotFound`], [`StoreError::Stale`] if it is not of
    /// `version`, [`StoreError::RoleInUse`], [`StoreError::RoleCheckIncomplete`],
    /// [`StoreError::Contention`], or the table cannot be reached.
    pub async fn delete_role(
        &self,
        name: &CustomRoleName,
        version: Option<u64>,
        after: Option<&Cursor>,
        request: &ChangeRequest,
    ) -> Result<(), StoreError> {
        let name = name.name();
        let until = self.end_of_check();
        let mut backoff = self.backoff();
        loop {
            let role = self.standing(name).await?;
            if matches!(role, Standing::Free) {
                return Err(StoreError::RoleNotFound(name.clone()));
            }
            version.map_or(Precondition::None, Precondition::Version).check(&role)?;
            let users = self.users_of(name, after, until).await?;
            if users.count > 0 {
                return Err(StoreError::RoleInUse(name.clone(), users));
            }
            if let Some(next) = users.stopped_at {
                return Err(StoreError::RoleCheckIncomplete { checked: users.checked, next });
            }
            let gone = Happened::to_role(EventType::RoleDeleted, name, changes(role.role(), None));
            let event = self.record(gone, request, self.clock.now())?;
            let actions = vec![self.delete(schema::role_key(name), role.unchanged())?, event];
            match self.commit(actions).await? {
                Outcome::Committed => return Ok(()),
                Outcome::Refused(_) | Outcome::Conflict => backoff.pause().await?,
            }
        }
    }
}

/// 48 random bits.
fn first_version(entropy: &dyn Entropy) -> Result<u64, StoreError> {
    let mut random = [0; 8];
    entropy.fill(&mut random)?;
    Ok(u64::from_be_bytes(random) >> 16)
}

/// What of a role changes: its description, and each permission that goes or
/// comes. (Nothing stands for a role that is not there.)
fn changes(before: Option<&CustomRole>, after: Option<&CustomRole>) -> Vec<FieldChange> {
    let description = |role: Option<&CustomRole>| role.map(|role| role.description.to_string());
    let permissions = |role: Option<&CustomRole>| -> Vec<String> {
        role.iter().flat_map(|role| &role.role.permissions).map(ToString::to_string).collect()
    };
    let (old, new) = (permissions(before), permissions(after));
    let gone = old.iter().filter(|text| !new.contains(text)).map(|text| (text.as_str(), ""));
    let come = new.iter().filter(|text| !old.contains(text)).map(|text| ("", text.as_str()));
    let permissions = gone.chain(come).map(|(from, to)| FieldChange {
        field: attribute::PERMISSIONS.to_owned(),
        from: from.to_owned(),
        to: to.to_owned(),
    });
    let description = FieldChange::between(
        attribute::DESCRIPTION,
        &description(before).unwrap_or_default(),
        Some(&description(after).unwrap_or_default()),
    );
    description.into_iter().chain(permissions).collect()
}

fn item(role: &CustomRole) -> Map {
    let permissions = role.role.permissions.iter().map(s).collect();
    Map::from([
        (attribute::DESCRIPTION.to_owned(), s(&role.description)),
        (attribute::PERMISSIONS.to_owned(), AttributeValue::L(permissions)),
        (attribute::VERSION.to_owned(), n(role.version)),
        (attribute::CREATED_AT.to_owned(), seconds(role.created_at)),
        (attribute::CREATED_BY.to_owned(), codec::actor(&role.created_by)),
        (attribute::UPDATED_AT.to_owned(), seconds(role.updated_at)),
        (attribute::UPDATED_BY.to_owned(), codec::actor(&role.updated_by)),
        (schema::INDEX_PK.to_owned(), s(schema::INDEX_ROLES)),
        (schema::INDEX_SK.to_owned(), s(&role.role.name)),
    ])
}

fn custom_role(name: &RoleName, item: &Map) -> Result<CustomRole, Problem> {
    let reader = Reader(item);
    Ok(CustomRole {
        role: role(name, item)?,
        description: reader.parse(attribute::DESCRIPTION, Description::from_stored)?,
        version: reader.version()?,
        created_at: reader.seconds(attribute::CREATED_AT)?,
        created_by: reader.actor(attribute::CREATED_BY)?,
        updated_at: reader.seconds(attribute::UPDATED_AT)?,
        updated_by: reader.actor(attribute::UPDATED_BY)?,
    })
}

fn role(name: &RoleName, item: &Map) -> Result<Role, Problem> {
    let permissions = Reader(item).get(attribute::PERMISSIONS, |value| {
        let texts = value.as_l().ok().filter(|texts| texts.len() <= MAX_PERMISSIONS)?;
        texts.iter().map(|text| Permission::parse(codec::text(text)?).ok()).collect()
    })?;
    Ok(Role { name: name.clone(), permissions })
}

fn role_name(partition: &str) -> Result<RoleName, crate::domain::InvalidRoleName> {
    partition.strip_prefix(schema::partition::ROLE).unwrap_or_default().parse()
}
