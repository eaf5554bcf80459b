//! Sessions, and the forms that are sent in them. A session is an encrypted cookie
//! that contains only the access token.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse as _, Redirect, Response};
use axum_extra::extract::cookie::{Cookie, PrivateCookieJar, SameSite};
use jiff::{SignedDuration, Timestamp};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use shared::domain::Description;
use shared::openapi;
use shared::policy::{MAX_PERMISSIONS, Permission};
use zeroize::Zeroizing;

use super::csrf;
use super::secret::Keys;
use super::token::AccessToken;
use crate::api::{AdminApi, ApiError};
use crate::app_state::AppState;
use crate::console_url::ConsoleUrl;
use crate::error::{PageError, PageResult, RetryForm};
use crate::secret_text::may_contain_secret;

/// How long a notice is kept for its page, in seconds.
const NOTICE_SECONDS: i64 = 60;
/// The longest path to return to, in bytes. A cookie contains the path.
const MAX_PATH_BYTES: usize = 1024;
/// The largest form, in bytes: a role with as many and as long permissions as possible, on
/// lines that end in CRLF. Percent-encoding takes three bytes for each byte. A character
/// of the description has up to four bytes in UTF-8.
const MAX_FORM_BYTES: usize =
    3 * (MAX_PERMISSIONS * (Permission::MAX_CHARS + 2) + 4 * Description::MAX_CHARS) + OTHER_FIELDS_BYTES;
/// The largest form with an OpenAPI document, in bytes: twice the form of a role, and a
/// document that percent-encoding makes up to three times as large. In Lambda's event,
/// Base64 makes this 4.3 MB, of at most 6 MB.
const MAX_DOCUMENT_FORM_BYTES: usize = 2 * MAX_FORM_BYTES + 3 * openapi::MAX_BYTES;
/// The names of all fields of that form and the values of its other fields, in bytes.
const OTHER_FIELDS_BYTES: usize = 1024;

/// The console's cookies.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum CookieName {
    /// The access token.
    Session,
    /// A sign-in in progress.
    SignIn,
    /// The notice for the next page.
    Notice,
    /// The results of key lookups.
    Lookups,
    /// Present if the user turned off keyboard shortcuts.
    NoShortcuts,
}

const SECURE_PREFIX: &str = "__Host-keyward-";
const PREFIX: &str = "keyward-";

impl CookieName {
    const ALL: [Self; 5] = [Self::Session, Self::SignIn, Self::Notice, Self::Lookups, Self::NoShortcuts];

    fn name(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::SignIn => "sign-in",
            Self::Notice => "notice",
            Self::Lookups => "found",
            Self::NoShortcuts => "no-shortcuts",
        }
    }

    /// The cookie's name for the console at `url`.
    ///
    /// With TLS, the name has the prefix `__Host-`, which requires TLS and binds the
    /// cookie to this host. Without TLS (in local mode), Safari refuses that prefix.
    /// There, the name contains the port, because a browser sends a cookie to every port
    /// of its host (RFC 6265, section 8.5). Otherwise, two consoles would end each
    /// other's session.
    fn at(self, url: &ConsoleUrl) -> String {
        let name = self.name();
        if url.is_secure() {
            format!("{SECURE_PREFIX}{name}")
        } else {
            format!("{PREFIX}{name}-{}", url.port().unwrap_or(80))
        }
    }
}

/// Whether a cookie of this name belongs to a console, on any port.
#[must_use]
pub fn is_own_cookie(name: &str) -> bool {
    let is_known = |name: &str| CookieName::ALL.into_iter().any(|own| own.name() == name);
    let at_port = name.strip_prefix(PREFIX).and_then(|name| name.rsplit_once('-'));
    name.strip_prefix(SECURE_PREFIX).is_some_and(is_known)
        || at_port.is_some_and(|(name, port)| port.parse::<u16>().is_ok() && is_known(name))
}

/// The cookies of a request and its response.
pub(crate) struct Cookies {
    jar: PrivateCookieJar,
    pub(crate) keys: Arc<Keys>,
    console: AppState,
}

impl Cookies {
    pub(crate) async fn read(console: &AppState, headers: &HeaderMap) -> PageResult<Self> {
        let keys = console.secret.get().await.map_err(PageError::unavailable)?;
        let jar = PrivateCookieJar::from_headers(headers, keys.cookies.clone());
        Ok(Self { jar, keys, console: console.clone() })
    }

    pub(crate) fn get(&self, name: CookieName) -> Option<Zeroizing<String>> {
        let cookie = self.jar.get(&name.at(&self.console.url))?;
        Some(Zeroizing::new(cookie.value().to_owned()))
    }

    /// Sets a cookie for `seconds`. The cookie is `SameSite=Lax`, because the redirect
    /// from the issuer comes from another site.
    pub(crate) fn set(self, name: CookieName, value: &str, seconds: i64) -> Self {
        let mut cookie = self.cookie(name, value.to_owned());
        let age = Duration::from_secs(seconds.unsigned_abs());
        cookie.set_max_age(age.try_into().ok());
        Self { jar: self.jar.add(cookie), ..self }
    }

    pub(crate) fn remove(self, name: CookieName) -> Self {
        let cookie = self.cookie(name, String::new());
        Self { jar: self.jar.remove(cookie), ..self }
    }

    /// `response` with these cookies.
    pub(crate) fn on(self, response: impl axum::response::IntoResponse) -> Response {
        (self.jar, response).into_response()
    }

    /// Ends the session, if one exists, and redirects.
    pub(crate) fn sign_out(self, path: &str) -> Response {
        let cookies = [CookieName::Session, CookieName::Notice, CookieName::Lookups];
        cookies.into_iter().fold(self, Self::remove).on(Redirect::to(path))
    }

    fn cookie(&self, name: CookieName, value: String) -> Cookie<'static> {
        Cookie::build((name.at(&self.console.url), value))
            .path("/")
            .http_only(true)
            .secure(self.console.url.is_secure())
            .same_site(SameSite::Lax)
            .build()
    }
}

/// The notice that the next page at `path` shows. The path keeps a page in another
/// window from showing the notice.
#[derive(Deserialize, Serialize)]
struct Notice {
    path: String,
    text: String,
}

/// The admin who is signed in.
#[derive(Clone)]
pub(crate) struct User {
    pub(crate) name: String,
    /// The CSRF token of the session's forms.
    pub(crate) csrf: String,
    /// The end of the session.
    pub(crate) signed_in_until: Timestamp,
}

/// A request from an admin who is signed in.
pub(crate) struct Session {
    pub(crate) console: AppState,
    pub(crate) cookies: Cookies,
    token: AccessToken,
    /// The path of the request.
    pub(crate) path: String,
    pub(crate) user: User,
    pub(crate) notice: Option<String>,
    /// A copy of the form that was sent, if it can be sent again.
    retry: Option<RetryForm>,
}

impl Session {
    async fn read(parts: &Parts, console: &AppState) -> PageResult<Self> {
        let cookies = Cookies::read(console, &parts.headers).await?;
        let sign_in = || PageError::SignIn { return_to: return_path(parts, console) };
        let token = cookies.get(CookieName::Session).map(AccessToken::new).ok_or_else(sign_in)?;
        let claims = token.claims().ok_or_else(sign_in)?;
        let now = console.clock.now();
        let seconds_left = claims.seconds_left(now);
        if seconds_left == 0 {
            return Err(sign_in());
        }
        let user = User {
            name: claims.name(),
            csrf: csrf::token(&cookies.keys.forms, token.reveal()),
            signed_in_until: now.saturating_add(SignedDuration::from_secs(seconds_left)).unwrap_or(now),
        };
        let notice = cookies.get(CookieName::Notice);
        let notice = notice.and_then(|notice| serde_json::from_str::<Notice>(&notice).ok());
        let notice = notice.filter(|notice| notice.path == parts.uri.path()).map(|notice| notice.text);
        let path = parts.uri.path().to_owned();
        Ok(Self { console: console.clone(), cookies, token, path, user, notice, retry: None })
    }

    /// The IAM API, called with the admin's token.
    pub(crate) fn api(&self) -> AdminApi<'_> {
        self.console.api.with_token(&self.token)
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.console.clock.now()
    }

    /// Redirects to `path`, and sets a cookie for `seconds`.
    pub(crate) fn redirect_with(self, path: &str, name: CookieName, value: &str, seconds: i64) -> Response {
        self.cookies.set(name, value, seconds).on(Redirect::to(path))
    }

    /// Redirects to `path`, which can have a query and a fragment. The page there shows
    /// `notice`.
    pub(crate) fn redirect(self, path: &str, notice: &str) -> PageResult {
        let shown_on = path.split(['?', '#']).next().unwrap_or_default();
        let notice = Notice { path: shown_on.to_owned(), text: notice.to_owned() };
        let notice = serde_json::to_string(&notice).map_err(PageError::unavailable)?;
        Ok(self.redirect_with(path, CookieName::Notice, &notice, NOTICE_SECONDS))
    }

    /// The page for `error` after a form that is not shown again. If the outcome is unknown,
    /// the page offers to send the same form again.
    pub(crate) fn or_retry(&self, error: ApiError) -> PageError {
        match (error, self.retry.clone()) {
            (ApiError::Unavailable { request_id, cause }, Some(retry)) => {
                PageError::OutcomeUnknown { retry, request_id, cause }
            }
            (error, _) => error.into(),
        }
    }
}

impl FromRequestParts<AppState> for Session {
    type Rejection = PageError;

    async fn from_request_parts(parts: &mut Parts, console: &AppState) -> PageResult<Self> {
        Self::read(parts, console).await
    }
}

/// A form that a signed-in admin sent from a page of the session.
pub(crate) struct Posted<T>(pub(crate) Session, pub(crate) T);

/// A form with only a CSRF token.
#[derive(Deserialize)]
pub(crate) struct EmptyForm {}

/// The field with the CSRF token.
const CSRF: &str = "csrf";

#[derive(Deserialize)]
struct CsrfField {
    #[serde(default)]
    csrf: String,
}

impl<T: DeserializeOwned> FromRequest<AppState> for Posted<T> {
    type Rejection = PageError;

    async fn from_request(request: Request, console: &AppState) -> PageResult<Self> {
        read_form(request, console, MAX_FORM_BYTES, retry_form)
            .await
            .map(|(session, form)| Self(session, form))
    }
}

/// A form like [`Posted`] that contains a secret. No page offers to send it again.
pub(crate) struct PostedSecret<T>(pub(crate) Session, pub(crate) T);

impl<T: DeserializeOwned> FromRequest<AppState> for PostedSecret<T> {
    type Rejection = PageError;

    async fn from_request(request: Request, console: &AppState) -> PageResult<Self> {
        read_form(request, console, MAX_FORM_BYTES, |_, _, _| None)
            .await
            .map(|(session, form)| Self(session, form))
    }
}

/// A form like [`Posted`] that can contain an OpenAPI document. No page offers to send it
/// again, because the copy would be as large.
pub(crate) struct PostedDocument<T>(pub(crate) Session, pub(crate) T);

impl<T: DeserializeOwned> FromRequest<AppState> for PostedDocument<T> {
    type Rejection = PageError;

    async fn from_request(request: Request, console: &AppState) -> PageResult<Self> {
        let form = read_form(request, console, MAX_DOCUMENT_FORM_BYTES, |_, _, _| None).await;
        form.map(|(session, form)| Self(session, form))
    }
}

/// Reads a form. `retry` copies the form, so that it can be sent again.
async fn read_form<T: DeserializeOwned>(
    request: Request,
    console: &AppState,
    max_bytes: usize,
    retry: fn(&Parts, &[u8], String) -> Option<RetryForm>,
) -> PageResult<(Session, T)> {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, max_bytes).await;
    let mut session = match Session::read(&parts, console).await {
        Err(PageError::SignIn { return_to }) => {
            let retry = body.ok().and_then(|body| retry(&parts, &body, String::new()));
            return Err(PageError::SessionExpired { return_to, retry });
        }
        session => session?,
    };
    // The form can contain a key.
    let body = Zeroizing::new(Vec::from(body.map_err(|_| PageError::Malformed)?));
    let token: CsrfField = serde_html_form::from_bytes(&body).map_err(|_| PageError::Malformed)?;
    session.retry = retry(&parts, &body, session.user.csrf.clone());
    if !csrf::is_valid(&session.cookies.keys.forms, session.token.reveal(), &token.csrf) {
        return Err(PageError::StalePage { return_to: return_path(&parts, console), retry: session.retry });
    }
    let form = serde_html_form::from_bytes(&body).map_err(|_| PageError::Malformed)?;
    Ok((session, form))
}

/// A copy of the form to send again, with the CSRF token `csrf`. The token is empty without a
/// session. `None` for a form that can contain a secret.
///
/// The form comes from a page of the console ([`crate::middleware`] checks this).
fn retry_form(parts: &Parts, body: &[u8], csrf: String) -> Option<RetryForm> {
    let action = parts.uri.path();
    let fields: Vec<(String, String)> = serde_html_form::from_bytes(body).ok()?;
    if fields.iter().any(|(_, value)| may_contain_secret(value)) {
        return None;
    }
    let typed = fields.into_iter().filter(|(name, _)| name != CSRF);
    let fields = std::iter::once((CSRF.to_owned(), csrf)).chain(typed).collect();
    Some(RetryForm { action: action.to_owned(), fields })
}

/// The page to return to after signing in: this page or, for a form, the page with the
/// form.
fn return_path(parts: &Parts, console: &AppState) -> String {
    if parts.method.is_safe() {
        return parts.uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string);
    }
    let referer = parts.headers.get(header::REFERER).and_then(|value| value.to_str().ok());
    let path = referer.and_then(|referer| referer.strip_prefix(console.url.origin()));
    path.filter(|path| is_own_path(path)).unwrap_or("/").to_owned()
}

/// Whether `path` is a path of this console. A browser reads `//host` and `/\host` as
/// addresses of another host.
pub(crate) fn is_own_path(path: &str) -> bool {
    path.len() <= MAX_PATH_BYTES
        && path.starts_with('/')
        && !path.starts_with("//")
        && !path.contains('\\')
        && path.bytes().all(|byte| byte.is_ascii_graphic())
}
