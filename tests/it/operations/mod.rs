//! One module for each operation of the API.

mod common_statuses;
mod create_service_account;
mod delete_role;
mod delete_service_account;
mod explain;
mod get_activity;
mod get_attention;
mod get_key_activity;
mod get_role;
mod get_service_account;
mod issue_key;
mod list_all_events;
mod list_events;
mod list_role_users;
mod list_roles;
mod list_service_accounts;
mod lookup_key;
mod put_role;
mod revoke_all_keys;
mod revoke_key;
mod rotate_key;
mod search;
mod update_service_account;
mod whoami;
