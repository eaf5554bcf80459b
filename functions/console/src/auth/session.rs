//! Who is signed in: an encrypted cookie that holds the access token alone.

use std::borrow::Cow;
use std::time::Duration;

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse as _, Redirect, Response};
use axum_extra::extract::cookie::{Cookie, PrivateCookieJar, SameSite};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use shared::domain::KEY_PREFIX;
use zeroize::Zeroizing;

use super::csrf;
use super::token::AccessToken;
use crate::api::{ApiError, Caller};
use crate::console_url::ConsoleUrl;
use crate::error::{Again, PageError};
use crate::site::Site;

/// How long a notice waits for the page that shows it, in seconds.
const NOTICE_SECONDS: i64 = 60;
/// The most bytes of a path to come back to: it stands in a cookie.
const MAX_PATH_BYTES: usize = 1024;
/// The most bytes of a form.
const MAX_FORM_BYTES: usize = 64 * 1024;

/// The console's cookies.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum CookieName {
    /// The access token.
    Session,
    /// A sign-in under way.
    SignIn,
    /// What the next page says was done.
    Notice,
    /// What became of the leaked keys that were looked up.
    Found,
}

/// Every cookie with its name.
const COOKIES: [(CookieName, &str); 4] = [
    (CookieName::Session, "session"),
    (CookieName::SignIn, "sign-in"),
    (CookieName::Notice, "notice"),
    (CookieName::Found, "found"),
];
const SECURE_PREFIX: &str = "__Host-keyward-";
const PREFIX: &str = "keyward-";

impl CookieName {
    /// The cookie's name for the console at `url`.
    ///
    /// With TLS it has the prefix `__Host-`, which requires TLS and binds the
    /// cookie to this host. Without TLS (in local mode) Safari refuses such a
    /// cookie. There, the name contains the port, because a browser sends a cookie to
    /// every port of its host (RFC 6265, section 8.5): otherwise, two consoles would
    /// end each other's session.
    fn at(self, url: &ConsoleUrl) -> String {
        let name = COOKIES.into_iter().find(|(cookie, _)| *cookie == self).map_or("", |(_, name)| name);
        if url.is_secure() {
            format!("{SECURE_PREFIX}{name}")
        } else {
            format!("{PREFIX}{name}-{}", url.port().unwrap_or(80))
        }
    }
}

/// Whether a cookie with this name belongs to a console, at any port.
#[must_use]
pub fn is_own_cookie(name: &str) -> bool {
    let is_known = |name: &str| COOKIES.into_iter().any(|(_, own)| own == name);
    let at_port = name.strip_prefix(PREFIX).and_then(|name| name.rsplit_once('-'));
    name.strip_prefix(SECURE_PREFIX).is_some_and(is_known)
        || at_port.is_some_and(|(name, port)| port.parse::<u16>().is_ok() && is_known(name))
}

/// The cookies of a request, and those of its answer.
pub(crate) struct Cookies {
    jar: PrivateCookieJar,
    console: Site,
}

impl Cookies {
    pub(crate) async fn read(console: &Site, headers: &HeaderMap) -> Result<Self, PageError> {
        let keys = console.secret.get().await.map_err(|error| PageError::unavailable(error.to_string()))?;
        let jar = PrivateCookieJar::from_headers(headers, keys.cookies.clone());
        Ok(Self { jar, console: console.clone() })
    }

    pub(crate) fn get(&self, name: CookieName) -> Option<Zeroizing<String>> {
        let cookie = self.jar.get(&name.at(&self.console.url))?;
        Some(Zeroizing::new(cookie.value().to_owned()))
    }

    /// A cookie for so many seconds. `Lax`: the way back from the issuer comes
    /// from another site.
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

    /// Ends the session, if there is one.
    pub(crate) fn sign_out(self, path: &str) -> Response {
        let cookies = [CookieName::Session, CookieName::Notice, CookieName::Found];
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

/// What the next page of one path says was done. Of several windows another one
/// may be the next to show a page.
#[derive(Deserialize, Serialize)]
struct Notice<'a> {
    path: Cow<'a, str>,
    text: Cow<'a, str>,
}

/// Who is signed in.
#[derive(Clone)]
pub(crate) struct User {
    pub(crate) name: String,
    /// The token of their forms.
    pub(crate) csrf: String,
}

/// A request of somebody who is signed in.
pub(crate) struct Visit {
    pub(crate) console: Site,
    cookies: Cookies,
    token: AccessToken,
    pub(crate) user: User,
    pub(crate) notice: Option<String>,
}

impl Visit {
    async fn read(parts: &Parts, console: &Site) -> Result<Self, PageError> {
        let cookies = Cookies::read(console, &parts.headers).await?;
        let sign_in = || PageError::SignIn { back_to: way_back(parts, console) };
        let token = cookies.get(CookieName::Session).map(AccessToken::new).ok_or_else(sign_in)?;
        let claims = token.claims().ok_or_else(sign_in)?;
        if claims.seconds_left(console.clock.now()) == 0 {
            return Err(sign_in());
        }
        let keys = console.secret.get().await.map_err(|error| PageError::unavailable(error.to_string()))?;
        let user = User { name: claims.name(), csrf: csrf::token(&keys.forms, token.reveal()) };
        let notice = cookies.get(CookieName::Notice);
        let notice = notice.and_then(|notice| serde_json::from_str::<Notice<'static>>(&notice).ok());
        let notice = notice.filter(|notice| notice.path == parts.uri.path());
        let notice = notice.map(|notice| notice.text.into_owned());
        Ok(Self { console: console.clone(), cookies, token, user, notice })
    }

    /// The IAM API, as this person may use it.
    pub(crate) fn api(&self) -> Caller<'_> {
        self.console.api.by(&self.token)
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.console.clock.now()
    }

    /// Answers with a page, which has shown the notice.
    pub(crate) fn show(self, page: impl axum::response::IntoResponse) -> Response {
        let cookies = match self.notice {
            Some(_) => self.cookies.remove(CookieName::Notice),
            None => self.cookies,
        };
        cookies.on(page)
    }

    /// What was kept under `name` for this page.
    pub(crate) fn kept(&self, name: CookieName) -> Option<Zeroizing<String>> {
        self.cookies.get(name)
    }

    /// Goes on to another page, for which `value` is kept so many seconds.
    pub(crate) fn go_with(self, path: &str, name: CookieName, value: &str, seconds: i64) -> Response {
        self.cookies.set(name, value, seconds).on(Redirect::to(path))
    }

    /// Goes on to another page, which then says `notice`.
    pub(crate) fn go(self, path: &str, notice: &str) -> Response {
        let notice = Notice { path: path.into(), text: notice.into() };
        match serde_json::to_string(&notice) {
            Ok(notice) => self.go_with(path, CookieName::Notice, &notice, NOTICE_SECONDS),
            Err(error) => PageError::unavailable(error.to_string()).into_response(),
        }
    }

    /// What `error` means for a form that asks for nothing a second time: where
    /// nobody knows whether it was done, the same can be sent to `action` again.
    pub(crate) fn or_again(
        &self,
        error: ApiError,
        action: String,
        fields: Vec<(&'static str, String)>,
    ) -> PageError {
        let ApiError::Unavailable { request_id, cause } = error else { return error.into() };
        let csrf = [(CSRF, self.user.csrf.clone())];
        let fields = csrf.into_iter().chain(fields).map(|(name, value)| (name.to_owned(), value));
        let again = Again { action, fields: fields.collect() };
        PageError::Unsure { again, request_id, cause }
    }

    /// Ends the session.
    pub(crate) fn sign_out(self, path: &str) -> Response {
        self.cookies.sign_out(path)
    }
}

impl FromRequestParts<Site> for Visit {
    type Rejection = PageError;

    async fn from_request_parts(parts: &mut Parts, console: &Site) -> Result<Self, PageError> {
        Self::read(parts, console).await
    }
}

/// A form that somebody who is signed in has sent from a page of theirs.
pub(crate) struct Posted<T>(pub(crate) Visit, pub(crate) T);

/// The field of it that says so.
const CSRF: &str = "csrf";

#[derive(Deserialize)]
struct Token {
    #[serde(default)]
    csrf: String,
}

impl<T: DeserializeOwned> FromRequest<Site> for Posted<T> {
    type Rejection = PageError;

    async fn from_request(request: Request, console: &Site) -> Result<Self, PageError> {
        read_form(request, console, again).await.map(|(visit, form)| Self(visit, form))
    }
}

/// A form like [`Posted`] with a secret in it: no page offers to send it again.
pub(crate) struct PostedSecret<T>(pub(crate) Visit, pub(crate) T);

impl<T: DeserializeOwned> FromRequest<Site> for PostedSecret<T> {
    type Rejection = PageError;

    async fn from_request(request: Request, console: &Site) -> Result<Self, PageError> {
        read_form(request, console, |_, _, _| None).await.map(|(visit, form)| Self(visit, form))
    }
}

/// Reads a form. `again` makes the copy of a refused one that can be sent again.
async fn read_form<T: DeserializeOwned>(
    request: Request,
    console: &Site,
    again: fn(&Parts, &[u8], Option<String>) -> Option<Again>,
) -> Result<(Visit, T), PageError> {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, MAX_FORM_BYTES).await;
    let visit = match Visit::read(&parts, console).await {
        Err(PageError::SignIn { back_to }) => {
            let again = body.ok().and_then(|body| again(&parts, &body, None));
            return Err(PageError::Ended { back_to, again });
        }
        visit => visit?,
    };
    // One form has a key in it.
    let body = Zeroizing::new(Vec::from(body.map_err(|_| PageError::Malformed)?));
    let token: Token = serde_html_form::from_bytes(&body).map_err(|_| PageError::Malformed)?;
    let keys = console.secret.get().await.map_err(|error| PageError::unavailable(error.to_string()))?;
    if !csrf::is_valid(&keys.forms, visit.token.reveal(), &token.csrf) {
        let again = again(&parts, &body, Some(visit.user.csrf));
        return Err(PageError::OldPage { back_to: way_back(&parts, console), again });
    }
    let form = serde_html_form::from_bytes(&body).map_err(|_| PageError::Malformed)?;
    Ok((visit, form))
}

/// The same form, for the person to send it again: with the token of the session
/// that there is now, if there is one. None of a form that may hold a key.
///
/// It is shown to whoever has sent it from a page of the console: nobody else's
/// comes so far ([`crate::middleware`]).
fn again(parts: &Parts, body: &[u8], csrf: Option<String>) -> Option<Again> {
    let action = parts.uri.path();
    let fields: Vec<(String, String)> = serde_html_form::from_bytes(body).ok()?;
    if fields.iter().any(|(_, value)| value.contains(KEY_PREFIX)) {
        return None;
    }
    let typed = fields.into_iter().filter(|(name, _)| name != CSRF);
    let csrf = csrf.map(|csrf| (CSRF.to_owned(), csrf));
    Some(Again { action: action.to_owned(), fields: csrf.into_iter().chain(typed).collect() })
}

/// The page to come back to after signing in: this one, or for a form the page
/// that it is on.
fn way_back(parts: &Parts, console: &Site) -> String {
    if parts.method.is_safe() {
        return parts.uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string);
    }
    let referer = parts.headers.get(header::REFERER).and_then(|value| value.to_str().ok());
    let path = referer.and_then(|referer| referer.strip_prefix(console.url.origin()));
    path.filter(|path| is_own_path(path)).unwrap_or("/").to_owned()
}

/// Whether `path` is one of this console, and can be no other site's: a browser
/// reads `//host` and `/\host` as another host's.
pub(crate) fn is_own_path(path: &str) -> bool {
    path.len() <= MAX_PATH_BYTES
        && path.starts_with('/')
        && !path.starts_with("//")
        && !path.contains('\\')
        && path.bytes().all(|byte| byte.is_ascii_graphic())
}
