//! Inline public keys of a trusted issuer: a JWK set (RFC 7517), reduced to its public members.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::{InvalidText, SigningAlgorithm, contains_credential};

/// The maximum number of keys of an issuer.
pub const MAX_ISSUER_KEYS: usize = 100;

/// The maximum length of an inline set, in bytes of JSON. Each use of a token reads the issuer's
/// item, and DynamoDB counts reads in units of 4 KB.
const MAX_SET_BYTES: usize = 3072;

/// The minimum size of an RSA modulus, in bits (RFC 7518, section 3.3).
const MIN_RSA_BITS: usize = 2048;

/// The maximum size of an RSA modulus, in bits: a larger one only costs time.
const MAX_RSA_BITS: usize = 8192;

/// The maximum length of a key's id, in characters.
const MAX_KID_CHARS: usize = 256;

/// The members of private and symmetric keys (RFC 7518, sections 6.2.2, 6.3.2 and 6.4.1).
const PRIVATE_MEMBERS: [&str; 9] = ["d", "p", "q", "dp", "dq", "qi", "oth", "r", "k"];

/// Why a JWK set is refused. No message quotes a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKeySet {
    #[error("must be a JWK set: an object with the member `keys`, which has 1 to {MAX_ISSUER_KEYS} keys")]
    NotASet,
    #[error(
        "must be at most {MAX_SET_BYTES} bytes with only the public members: leave out keys that are not in use"
    )]
    TooLarge,
    #[error("must be an object")]
    NotAKey,
    #[error(
        "must not be a private or symmetric key. This key is now exposed: replace it at the issuer, and register only \
         public keys"
    )]
    Private,
    #[error("must be `RSA`, `EC` or `OKP`")]
    Type,
    #[error("must be `P-256` or `P-384`")]
    EcCurve,
    #[error("must be `Ed25519`")]
    OkpCurve,
    #[error("must be base64url without padding")]
    Base64,
    #[error("must have {MIN_RSA_BITS} to {MAX_RSA_BITS} bits")]
    RsaSize,
    #[error("must be an odd number greater than 1, with at most 32 bits")]
    RsaExponent,
    #[error("must have {0} bytes")]
    Length(usize),
    #[error("must be 1 to {MAX_KID_CHARS} visible ASCII characters")]
    Kid,
    #[error("is required, because the set has several keys")]
    MissingKid,
    #[error("must be different for each key of the set")]
    RepeatedKid,
    #[error("must be `sig` if it is present")]
    Use,
    #[error("must be {0} for this key, if it is present")]
    Algorithm(&'static str),
    #[error("has no key for `{}`", .0.name())]
    NoKeyFor(SigningAlgorithm),
    #[error("{0}")]
    Text(InvalidText),
}

/// Where in the set a problem is, as a JSON pointer, and the problem.
type Refusal = (String, InvalidKeySet);

/// Reads a JWK set, and returns its canonical JSON: only public members, sorted. `algorithms`
/// are those of the issuer. If `algorithms` is `None`, returns the algorithms for which the set
/// has a key.
///
/// # Errors
/// The first problem.
pub fn read_key_set(
    set: &Value,
    algorithms: Option<&[SigningAlgorithm]>,
) -> Result<(String, Vec<SigningAlgorithm>), Refusal> {
    let keys = set.get("keys").and_then(Value::as_array);
    let keys = keys.filter(|keys| (1..=MAX_ISSUER_KEYS).contains(&keys.len()));
    let keys = keys.ok_or((String::new(), InvalidKeySet::NotASet))?;
    let (mut read, mut found, mut kids) = (Vec::new(), Vec::new(), std::collections::BTreeSet::new());
    for (position, key) in keys.iter().enumerate() {
        let at = |(member, problem): (&str, InvalidKeySet)| {
            let member = if member.is_empty() { String::new() } else { format!("/{member}") };
            (format!("/keys/{position}{member}"), problem)
        };
        let key = key.as_object().ok_or_else(|| at(("", InvalidKeySet::NotAKey)))?;
        let (mut public, algorithm) = public_key(key).map_err(at)?;
        let kid = kid(key).map_err(|problem| at(("kid", problem)))?;
        if kid.is_none() && keys.len() > 1 {
            return Err(at(("kid", InvalidKeySet::MissingKid)));
        }
        if let Some(kid) = kid {
            if !kids.insert(kid) {
                return Err(at(("kid", InvalidKeySet::RepeatedKid)));
            }
            public.insert("kid".to_owned(), kid.into());
        }
        read.push(Value::Object(public));
        found.push(algorithm);
    }
    for wanted in algorithms.unwrap_or_default() {
        if !found.contains(wanted) {
            return Err((String::new(), InvalidKeySet::NoKeyFor(*wanted)));
        }
    }
    let found = SigningAlgorithm::ALL.into_iter().filter(|algorithm| found.contains(algorithm));
    let algorithms = algorithms.map_or_else(|| found.collect(), <[SigningAlgorithm]>::to_vec);
    let set = Value::Object(Map::from_iter([("keys".to_owned(), Value::Array(read))])).to_string();
    if set.len() > MAX_SET_BYTES {
        Err((String::new(), InvalidKeySet::TooLarge))
    } else {
        Ok((set, algorithms))
    }
}

/// The public members of a key, and its algorithm.
type PublicKey = (Map<String, Value>, SigningAlgorithm);

/// Reads the public members of a key, and its algorithm. An error names the member.
fn public_key(key: &Map<String, Value>) -> Result<PublicKey, (&'static str, InvalidKeySet)> {
    let text = |name: &str| key.get(name).and_then(Value::as_str).unwrap_or_default();
    if text("kty") == "oct" || PRIVATE_MEMBERS.iter().any(|member| key.contains_key(*member)) {
        return Err(("", InvalidKeySet::Private));
    }
    let (algorithm, members): (_, &[&str]) = match text("kty") {
        "RSA" => {
            check_modulus(text("n")).map_err(|problem| ("n", problem))?;
            check_exponent(text("e")).map_err(|problem| ("e", problem))?;
            (SigningAlgorithm::Rs256, &["n", "e"])
        }
        "EC" => {
            let (algorithm, length) = match text("crv") {
                "P-256" => (SigningAlgorithm::Es256, 32),
                "P-384" => (SigningAlgorithm::Es384, 48),
                _ => return Err(("crv", InvalidKeySet::EcCurve)),
            };
            check_length(text("x"), length).map_err(|problem| ("x", problem))?;
            check_length(text("y"), length).map_err(|problem| ("y", problem))?;
            (algorithm, &["crv", "x", "y"])
        }
        "OKP" => {
            if text("crv") != "Ed25519" {
                return Err(("crv", InvalidKeySet::OkpCurve));
            }
            check_length(text("x"), 32).map_err(|problem| ("x", problem))?;
            (SigningAlgorithm::EdDsa, &["crv", "x"])
        }
        _ => return Err(("kty", InvalidKeySet::Type)),
    };
    if key.get("use").is_some_and(|usage| usage.as_str() != Some("sig")) {
        return Err(("use", InvalidKeySet::Use));
    }
    if key.get("alg").is_some_and(|own| own.as_str() != Some(algorithm.name())) {
        return Err(("alg", InvalidKeySet::Algorithm(algorithm.name())));
    }
    let mut public: Map<String, Value> =
        members.iter().map(|member| ((*member).to_owned(), text(member).into())).collect();
    public.insert("kty".to_owned(), text("kty").into());
    public.insert("alg".to_owned(), algorithm.name().into());
    Ok((public, algorithm))
}

fn kid(key: &Map<String, Value>) -> Result<Option<&str>, InvalidKeySet> {
    let Some(kid) = key.get("kid") else { return Ok(None) };
    let kid = kid
        .as_str()
        .filter(|kid| (1..=MAX_KID_CHARS).contains(&kid.len()) && kid.bytes().all(|b| b.is_ascii_graphic()));
    let kid = kid.ok_or(InvalidKeySet::Kid)?;
    if contains_credential(kid) { Err(InvalidKeySet::Text(InvalidText::Credential)) } else { Ok(Some(kid)) }
}

fn decode(text: &str) -> Result<Vec<u8>, InvalidKeySet> {
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| InvalidKeySet::Base64)?;
    if bytes.is_empty() { Err(InvalidKeySet::Base64) } else { Ok(bytes) }
}

fn check_length(text: &str, length: usize) -> Result<(), InvalidKeySet> {
    if decode(text)?.len() == length { Ok(()) } else { Err(InvalidKeySet::Length(length)) }
}

fn check_modulus(text: &str) -> Result<(), InvalidKeySet> {
    let bytes = decode(text)?;
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let bits = bytes.get(zeros).map_or(0, |first| {
        let bytes = bytes.len().saturating_sub(zeros);
        (bytes * 8).saturating_sub(usize::try_from(first.leading_zeros()).unwrap_or(0))
    });
    if (MIN_RSA_BITS..=MAX_RSA_BITS).contains(&bits) { Ok(()) } else { Err(InvalidKeySet::RsaSize) }
}

fn check_exponent(text: &str) -> Result<(), InvalidKeySet> {
    let bytes = decode(text)?;
    let exponent =
        bytes.iter().try_fold(0_u32, |value, byte| value.checked_mul(256)?.checked_add((*byte).into()));
    let is_valid = exponent.is_some_and(|exponent| exponent > 1 && exponent % 2 == 1);
    if is_valid { Ok(()) } else { Err(InvalidKeySet::RsaExponent) }
}
