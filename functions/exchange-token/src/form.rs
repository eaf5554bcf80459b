//! The form of a request for a token, parsed once.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode;
use secrecy::{ExposeSecret, SecretString};
use shared::api::TokenErrorCode;
use shared::api::oauth;
use shared::domain::{AccountId, DEFAULT_TOKEN_SECONDS, IdentityId, MAX_TOKEN_SECONDS, RoleName};
use shared::http::{Failure, Request};
use shared::policy::ExchangeReason;
use zeroize::Zeroizing;

use crate::refusal::Refusal;

/// The minimum lifetime that a request can ask for, in seconds.
const MIN_TOKEN_SECONDS: u16 = 60;

/// A credential to exchange.
pub(crate) enum Subject {
    /// A workload's JWT, and the federated identity that the workload uses.
    Jwt {
        jwt: SecretString,
        account: AccountId,
        identity: IdentityId,
    },
    Key(SecretString),
    Token(SecretString),
    /// A key of this account.
    Client {
        account: AccountId,
        key: SecretString,
    },
}

/// A request for a token.
pub(crate) struct TokenForm {
    pub(crate) subject: Subject,
    /// The role that narrows the token.
    pub(crate) role: Option<RoleName>,
    /// The requested lifetime, in seconds.
    pub(crate) lifetime_seconds: u16,
}

/// The parts of a request that decide the form of an error. They are known even if the
/// request is malformed.
#[derive(Clone, Copy, Default)]
pub(crate) struct Style {
    /// One of the supported grant types, for the log.
    pub(crate) grant_type: Option<&'static str>,
    /// Whether the client authenticates with `Authorization: Basic`.
    pub(crate) is_basic: bool,
}

impl Style {
    /// Whether the request uses client credentials.
    pub(crate) fn is_client(self) -> bool {
        self.grant_type == Some(oauth::CLIENT_CREDENTIALS)
    }
}

/// The parameters of a form. Each occurs once and has a value.
struct Parameters(HashMap<String, SecretString>);

impl Parameters {
    /// Parses the body. Repeated parameters are refused, and empty ones count as absent
    /// (RFC 6749, section 3.2).
    fn read(request: &Request) -> Result<Self, Refusal> {
        if request.has_query() {
            return Err(Refusal::invalid_request("Send all parameters in the body, and none in the URL."));
        }
        let form = request.form().map_err(|failure| {
            Refusal::invalid_request(if matches!(failure, Failure::UnsupportedMediaType) {
                "Send a form, with `Content-Type: application/x-www-form-urlencoded`."
            } else if matches!(failure, Failure::BodyTooLarge(_)) {
                "The body is too large."
            } else {
                "The body is not a form."
            })
        })?;
        let mut parameters = HashMap::new();
        for (name, value) in form {
            if parameters.insert(name, SecretString::from(value)).is_some() {
                return Err(Refusal::invalid_request("A parameter is repeated."));
            }
        }
        parameters.retain(|_, value| !value.expose_secret().is_empty());
        Ok(Self(parameters))
    }

    fn take(&mut self, name: &str) -> Option<SecretString> {
        self.0.remove(name)
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(ExposeSecret::expose_secret)
    }
}

impl TokenForm {
    /// Parses a request. Sets `style` as far as it is known.
    ///
    /// # Errors
    /// The request is malformed or asks for something that is not supported.
    pub(crate) fn parse(request: &Request, style: &mut Style) -> Result<Self, Refusal> {
        let mut parameters = Parameters::read(request)?;
        let basic = basic_credentials(request)?;
        style.is_basic = basic.is_some();
        let grant_type =
            parameters.text("grant_type").ok_or(Refusal::invalid_request("`grant_type` is missing."))?;
        style.grant_type = oauth::GRANT_TYPES.into_iter().find(|known| *known == grant_type);
        let grant_type = style.grant_type.ok_or(Refusal::Request {
            error: TokenErrorCode::UnsupportedGrantType,
            reason: ExchangeReason::UnsupportedGrantType,
            description: "`grant_type` is not supported. Use token exchange, JWT bearer or client credentials.",
        })?;
        if parameters.text("actor_token").is_some() || parameters.text("actor_token_type").is_some() {
            return Err(Refusal::invalid_request("`actor_token` is not supported."));
        }
        if parameters.text("requested_token_type").is_some_and(|kind| kind != oauth::ACCESS_TOKEN_TYPE) {
            return Err(Refusal::invalid_request(
                "`requested_token_type` must be `urn:ietf:params:oauth:token-type:access_token`.",
            ));
        }
        if grant_type != oauth::CLIENT_CREDENTIALS
            && (basic.is_some() || parameters.text("client_secret").is_some())
        {
            return Err(Refusal::invalid_request(
                "Send a client secret or `Authorization` only with `grant_type=client_credentials`.",
            ));
        }
        let role = match parameters.text("scope").map(RoleName::parse) {
            None => None,
            Some(Ok(role)) => Some(role),
            Some(Err(_)) => return Err(Refusal::invalid_scope("`scope` must be the name of one role.")),
        };
        let lifetime_seconds = lifetime(parameters.text("expires_in"))?;
        let subject = if grant_type == oauth::TOKEN_EXCHANGE {
            exchanged(&mut parameters)?
        } else if grant_type == oauth::JWT_BEARER {
            let named = parameters.take("audience").or_else(|| parameters.take("client_id"));
            let (account, identity) = identity(named)?;
            let jwt =
                parameters.take("assertion").ok_or(Refusal::invalid_request("`assertion` is missing."))?;
            Subject::Jwt { jwt, account, identity }
        } else {
            client(&mut parameters, basic)?
        };
        Ok(Self { subject, role, lifetime_seconds })
    }
}

fn lifetime(text: Option<&str>) -> Result<u16, Refusal> {
    let Some(text) = text else { return Ok(DEFAULT_TOKEN_SECONDS) };
    let seconds = text.parse().ok().filter(|seconds: &u16| seconds.to_string() == text);
    let seconds = seconds.filter(|seconds| (MIN_TOKEN_SECONDS..=MAX_TOKEN_SECONDS).contains(seconds));
    seconds.ok_or(Refusal::invalid_request("`expires_in` must be a number of seconds from 60 to 3600."))
}

/// The credential of a token exchange (RFC 8693, section 2.1).
fn exchanged(parameters: &mut Parameters) -> Result<Subject, Refusal> {
    let credential = parameters.take("subject_token");
    let credential = credential.ok_or(Refusal::invalid_request("`subject_token` is missing."))?;
    let kind = parameters.text("subject_token_type");
    let kind = kind.ok_or(Refusal::invalid_request("`subject_token_type` is missing."))?;
    let is_jwt = [oauth::JWT_TYPE, oauth::ID_TOKEN_TYPE].contains(&kind);
    let is_key = kind == oauth::KEY_TYPE;
    if !is_jwt && !is_key && kind != oauth::ACCESS_TOKEN_TYPE {
        return Err(Refusal::invalid_request("`subject_token_type` is not supported."));
    }
    let audience = parameters.take("audience");
    if is_jwt {
        let (account, identity) = identity(audience)?;
        return Ok(Subject::Jwt { jwt: credential, account, identity });
    }
    if audience.is_some() {
        return Err(Refusal::invalid_target("`audience` is only for JWTs: a token works for all APIs."));
    }
    Ok(if is_key { Subject::Key(credential) } else { Subject::Token(credential) })
}

/// The account and the federated identity that a workload names.
fn identity(named: Option<SecretString>) -> Result<(AccountId, IdentityId), Refusal> {
    let named =
        named.ok_or(Refusal::invalid_request("`audience` is missing. Send `<account id>/<identity id>`."))?;
    let ids = named.expose_secret().split_once('/');
    ids.and_then(|(account, identity)| Some((account.parse().ok()?, identity.parse().ok()?)))
        .ok_or(Refusal::invalid_target("`audience` must be `<account id>/<identity id>`."))
}

/// The key of a client (RFC 6749, section 2.3.1).
fn client(
    parameters: &mut Parameters,
    basic: Option<(SecretString, SecretString)>,
) -> Result<Subject, Refusal> {
    let in_body = (parameters.take("client_id"), parameters.take("client_secret"));
    let (id, key) = match (basic, in_body) {
        (Some((id, _)), (Some(other), None)) if id.expose_secret() != other.expose_secret() => {
            return Err(Refusal::invalid_request("`client_id` differs from the one in `Authorization`."));
        }
        (Some(basic), (_, None)) => basic,
        (None, (Some(id), Some(key))) => (id, key),
        (Some(_), (_, Some(_))) => {
            return Err(Refusal::invalid_request(
                "Send the key in `Authorization` or in the body, not in both.",
            ));
        }
        (None, (None, _) | (Some(_), None)) => {
            return Err(Refusal::invalid_request("`client_id` or `client_secret` is missing."));
        }
    };
    let account = id.expose_secret().parse().map_err(|_| ExchangeReason::Client)?;
    Ok(Subject::Client { account, key })
}

/// The user name and password in `Authorization: Basic`. Both are form-encoded before they are
/// joined (RFC 6749, section 2.3.1).
fn basic_credentials(request: &Request) -> Result<Option<(SecretString, SecretString)>, Refusal> {
    let malformed = || Refusal::invalid_request("`Authorization` is not well-formed Basic authentication.");
    let Some(header) = request.authorization().map_err(|_| malformed())? else { return Ok(None) };
    let (scheme, encoded) = header.split_once(' ').ok_or_else(malformed)?;
    if !scheme.eq_ignore_ascii_case("Basic") {
        return Err(malformed());
    }
    let decoded = Zeroizing::new(STANDARD.decode(encoded.trim()).map_err(|_| malformed())?);
    let joined = std::str::from_utf8(&decoded).map_err(|_| malformed())?;
    let (id, key) = joined.split_once(':').ok_or_else(malformed)?;
    let decode = |text: &str| {
        let spaced = Zeroizing::new(text.replace('+', " "));
        percent_decode(spaced.as_bytes()).decode_utf8().map(|text| SecretString::from(text.into_owned()))
    };
    Ok(Some((decode(id).map_err(|_| malformed())?, decode(key).map_err(|_| malformed())?)))
}
