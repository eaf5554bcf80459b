//! Signing in and out.

use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse as _, Redirect};
use serde::Deserialize;

use super::signed_out;
use crate::app_state::AppState;
use crate::auth::oidc::{Attempt, SignInError, is_same};
use crate::auth::session::{CookieName, Cookies, EmptyForm, Posted, is_own_path};
use crate::error::{PageError, PageResult};

/// The time limit of a sign-in, in seconds.
const ATTEMPT_SECONDS: i64 = 600;
/// The longest name and value of a cookie that browsers accept (RFC 6265bis, section
/// 5.7). They silently drop a longer cookie.
const MAX_COOKIE_BYTES: usize = 4096;

#[derive(Deserialize)]
pub(super) struct SignIn {
    /// The path to open after the sign-in.
    back: Option<String>,
    /// Whether the identity provider asks who signs in, even if a user is already signed in.
    #[serde(default)]
    another_user: bool,
}

/// Redirects the browser to the issuer.
pub(super) async fn sign_in(
    State(console): State<AppState>,
    Query(SignIn { back, another_user }): Query<SignIn>,
    headers: HeaderMap,
) -> PageResult {
    let return_to = back.filter(|path| is_own_path(path)).unwrap_or_else(|| "/".to_owned());
    let (attempt, url) = console.provider.begin(return_to, another_user).await?;
    let attempt = serde_json::to_string(&attempt).map_err(PageError::unavailable)?;
    let cookies = Cookies::read(&console, &headers).await?;
    Ok(cookies.set(CookieName::SignIn, &attempt, ATTEMPT_SECONDS).on(Redirect::to(&url)))
}

#[derive(Deserialize)]
pub(super) struct CallbackQuery {
    #[serde(default)]
    state: String,
    code: Option<String>,
    error: Option<String>,
}

/// Handles the issuer's response.
pub(super) async fn callback(
    State(console): State<AppState>,
    Query(query): Query<CallbackQuery>,
    headers: HeaderMap,
) -> PageResult {
    let refused = |why, cause: &str| PageError::NotSignedIn(why, cause.to_owned());
    let cookies = Cookies::read(&console, &headers).await?;
    let attempt = cookies.get(CookieName::SignIn);
    let attempt = attempt.and_then(|attempt| serde_json::from_str::<Attempt>(&attempt).ok());
    let Some(attempt) = attempt.filter(|attempt| is_same(&attempt.state, &query.state)) else {
        // The user signed in in another window, or reloaded this address.
        if cookies.get(CookieName::Session).is_some() {
            return Ok(Redirect::to("/").into_response());
        }
        let why = "The sign-in took too long, or was started in another window or browser.";
        return Err(refused(why, "the state does not match"));
    };
    let (Some(code), None) = (query.code, query.error) else {
        return Err(refused("The identity provider did not sign you in.", "the issuer returned an error"));
    };
    let token = console.provider.finish(&attempt, code, &cookies.keys.client_secret).await?;
    let claims = token.claims().ok_or_else(|| {
        refused("The identity provider's response could not be read.", "the access token is not a JWT")
    })?;
    // Only an admin gets a session.
    console.api.with_token(&token).whoami().await?;
    let seconds = claims.seconds_left(console.clock.now());
    let cookies = cookies.remove(CookieName::SignIn).set(CookieName::Session, token.reveal(), seconds);
    let response = cookies.on(Redirect::to(&attempt.return_to));
    let is_too_long = |cookie: &HeaderValue| {
        cookie.as_bytes().split(|byte| *byte == b';').any(|part| part.len() > MAX_COOKIE_BYTES)
    };
    if response.headers().get_all(header::SET_COOKIE).iter().any(is_too_long) {
        let why = "Your access token is too large for a session cookie. You may be in too many groups.";
        return Err(refused(why, "the session cookie is longer than browsers accept"));
    }
    Ok(response)
}

impl From<SignInError> for PageError {
    fn from(error: SignInError) -> Self {
        match error {
            SignInError::Refused(cause) => Self::NotSignedIn(
                "The identity provider's response does not belong to this sign-in.",
                cause.to_owned(),
            ),
            SignInError::Issuer(cause) => {
                Self::NotSignedIn("The identity provider is not responding correctly.", cause)
            }
            SignInError::Entropy(error) => Self::unavailable(error),
        }
    }
}

/// Ends the session. If the session has expired, the CSRF token is not checked, because
/// another site cannot end anything.
pub(super) async fn sign_out(
    State(console): State<AppState>,
    headers: HeaderMap,
    posted: PageResult<Posted<EmptyForm>>,
) -> PageResult {
    match posted {
        Ok(Posted(session, EmptyForm {})) => Ok(session.cookies.sign_out(signed_out::PATH)),
        Err(PageError::SessionExpired { .. }) => {
            Ok(Cookies::read(&console, &headers).await?.sign_out(signed_out::PATH))
        }
        Err(error) => Err(error),
    }
}
