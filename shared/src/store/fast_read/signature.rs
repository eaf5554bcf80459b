//! Signature Version 4 for requests whose shape does not change.
//! (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>)
//!
//! `aws-sigv4` derives the signing key for each request and sorts and escapes what
//! never changes here. This module keeps what is the same in all requests of a day.

use std::io::Write;

use aws_credential_types::Credentials;
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use jiff::tz::Offset;
use sha2::{Digest, Sha256};
use static_assertions::assert_not_impl_any;
use zeroize::Zeroizing;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// The header with the instant of a request.
pub(super) const DATE: &str = "x-amz-date";

/// Writes signed `POST /` requests to one service in one region, with one set of headers
/// and credentials, on one day.
pub(super) struct Signer {
    access_key_id: String,
    session_token: Option<Zeroizing<String>>,
    /// `<date>/<region>/<service>/aws4_request`.
    scope: String,
    key: Zeroizing<[u8; 32]>,
    /// The canonical request up to the body's hash: before the instant, and after it.
    canonical: [Zeroizing<String>; 2],
    /// The HTTP request up to the signature: before the instant, and after it.
    head: [Zeroizing<String>; 2],
}

assert_not_impl_any!(Signer: Clone, std::fmt::Debug, serde::Serialize);

/// The instant of a request, as `20150830T123600Z`.
#[derive(Clone, Copy)]
pub(super) struct AmzDate([u8; 16]);

impl AmzDate {
    pub(super) fn new(at: Timestamp) -> Self {
        let at = Offset::UTC.to_datetime(at);
        let mut text = *b"00000000T000000Z";
        let mut write = |start: usize, length: usize, number: i16| {
            let mut rest = number.unsigned_abs();
            for digit in text.iter_mut().skip(start).take(length).rev() {
                *digit = b'0'.saturating_add(u8::try_from(rest % 10).unwrap_or(0));
                rest /= 10;
            }
        };
        write(0, 4, at.year());
        write(4, 2, at.month().into());
        write(6, 2, at.day().into());
        write(9, 2, at.hour().into());
        write(11, 2, at.minute().into());
        write(13, 2, at.second().into());
        Self(text)
    }

    pub(super) fn as_str(&self) -> &str {
        // ASCII digits, `T` and `Z`.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The day, as `20150830`.
    fn day(&self) -> &str {
        self.as_str().get(..8).unwrap_or_default()
    }
}

impl Signer {
    /// The names of `headers` are in lower case and sorted, and their values have no
    /// spaces to fold. Each request has its own value of [`DATE`].
    pub(super) fn new(
        credentials: &Credentials,
        date: AmzDate,
        region: &str,
        service: &str,
        headers: &[(&str, &str)],
    ) -> Self {
        let secret = Zeroizing::new(format!("AWS4{}", credentials.secret_access_key()));
        let steps = [date.day(), region, service, "aws4_request"];
        let key = steps.iter().fold(Zeroizing::new(secret.as_bytes().to_vec()), |key, step| {
            Zeroizing::new(hmac(&key, &[step.as_bytes()]).to_vec())
        });
        let mut fixed = Zeroizing::new([0; 32]);
        fixed.copy_from_slice(&key);
        let (scope, access_key_id) = (steps.join("/"), credentials.access_key_id());
        let (before, after) = headers.split_at(headers.partition_point(|(name, _)| *name < DATE));
        let after = after.get(1..).unwrap_or_default();
        let lines = |headers: &[(&str, &str)], colon, end| {
            let lines = headers.iter().flat_map(|(name, value)| [*name, colon, *value, end]);
            Zeroizing::new(lines.collect::<Vec<_>>().concat())
        };
        let names = headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
        let join = |parts: &[&str]| Zeroizing::new(parts.concat());
        Self {
            canonical: [
                join(&["POST\n/\n\n", &lines(before, ":", "\n"), DATE, ":"]),
                join(&["\n", &lines(after, ":", "\n"), "\n", &names, "\n"]),
            ],
            head: [
                join(&["POST / HTTP/1.1\r\n", &lines(before, ": ", "\r\n"), DATE, ": "]),
                join(&[
                    "\r\n",
                    &lines(after, ": ", "\r\n"),
                    &format!("authorization: {ALGORITHM} Credential={access_key_id}/{scope}, "),
                    &format!("SignedHeaders={names}, Signature="),
                ]),
            ],
            access_key_id: access_key_id.to_owned(),
            session_token: credentials.session_token().map(|token| Zeroizing::new(token.to_owned())),
            scope,
            key: fixed,
        }
    }

    /// Whether this is for these credentials and the day of `date`.
    pub(super) fn is_for(&self, credentials: &Credentials, date: AmzDate) -> bool {
        self.scope.starts_with(date.day())
            && self.access_key_id == credentials.access_key_id()
            && self.session_token.as_ref().map(|token| token.as_str()) == credentials.session_token()
    }

    /// The signed HTTP request at `date` with this body.
    pub(super) fn request(&self, date: AmzDate, body: &[u8]) -> Zeroizing<Vec<u8>> {
        let [before, after] = &self.canonical;
        let canonical = Sha256::new_with_prefix(before.as_bytes())
            .chain_update(date.0)
            .chain_update(after.as_bytes())
            .chain_update(hex(&Sha256::digest(body).into()));
        let hash = hex(&canonical.finalize().into());
        let scope = self.scope.as_bytes();
        let to_sign = [ALGORITHM.as_bytes(), b"\n", &date.0, b"\n", scope, b"\n", &hash];
        let signature = hex(&hmac(&*self.key, &to_sign));
        let [before, after] = &self.head;
        // Large enough that the buffer never moves. A move would leave a copy of the session
        // token in memory.
        let mut request = Zeroizing::new(Vec::with_capacity(256 + before.len() + after.len() + body.len()));
        for part in [before.as_bytes(), &date.0, after.as_bytes(), &signature] {
            request.extend_from_slice(part);
        }
        // Writing to memory does not fail.
        let _ = write!(request, "\r\ncontent-length: {}\r\n\r\n", body.len());
        request.extend_from_slice(body);
        request
    }
}

fn hmac(key: &[u8], message: &[&[u8]]) -> [u8; 32] {
    // Every length is a valid HMAC key.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return [0; 32] };
    for part in message {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

fn hex(bytes: &[u8; 32]) -> [u8; 64] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [0; 64];
    for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
        if let [high, low] = pair {
            let digit = |value: u8| DIGITS.get(usize::from(value)).copied().unwrap_or_default();
            (*high, *low) = (digit(byte >> 4), digit(byte & 15));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA==";

    /// The `POST /` cases of AWS's test suite for Signature Version 4.
    #[test]
    fn signatures_are_those_of_the_published_test_suite() {
        let date = AmzDate::new("2015-08-30T12:36:00Z".parse().unwrap());
        let host = ("host", "example.amazonaws.com");
        let at = ("x-amz-date", "20150830T123600Z");
        let form = [
            ("content-length", "13"),
            ("content-type", "application/x-www-form-urlencoded"),
            host,
            ("x-amz-content-sha256", "9095672bbd1f56dfc5b65f3e153adc8731a4a654192329106275f4c7b24d0b6e"),
            at,
        ];
        for (case, token, headers, body, names, signature) in [
            (
                "post-vanilla",
                None,
                &[host, at][..],
                "",
                "host;x-amz-date",
                "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
            ),
            (
                "post-header-key-sort",
                None,
                &[host, ("my-header1", "value1"), at],
                "",
                "host;my-header1;x-amz-date",
                "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c",
            ),
            (
                "post-sts-header-before",
                Some(TOKEN),
                &[host, at, ("x-amz-security-token", TOKEN)],
                "",
                "host;x-amz-date;x-amz-security-token",
                "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead",
            ),
            (
                "post-x-www-form-urlencoded",
                None,
                &form,
                "Param1=value1",
                "content-length;content-type;host;x-amz-content-sha256;x-amz-date",
                "d3875051da38690788ef43de4db0d8f280229d82040bfac253562e56c3f20e0b",
            ),
        ] {
            let secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
            let credentials = Credentials::new("AKIDEXAMPLE", secret, token.map(str::to_owned), None, "test");
            let signer = Signer::new(&credentials, date, "us-east-1", "service", headers);
            let request = String::from_utf8(signer.request(date, body.as_bytes()).to_vec()).unwrap();
            let mut lines = vec!["POST / HTTP/1.1".to_owned()];
            lines.extend(headers.iter().map(|(name, value)| format!("{name}: {value}")));
            lines.push(format!(
                "authorization: AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders={names}, Signature={signature}"
            ));
            lines.push(format!("content-length: {}\r\n\r\n{body}", body.len()));
            assert_eq!(request, lines.join("\r\n"), "{case}");
        }
    }

    #[test]
    fn signer_is_for_one_day_and_one_set_of_credentials() {
        let credentials = |secret, token: Option<&str>| {
            Credentials::new("id", secret, token.map(str::to_owned), None, "test")
        };
        let date = |text: &str| AmzDate::new(text.parse().unwrap());
        let date_of_signer = date("2026-02-28T23:59:59Z");
        let signer = Signer::new(&credentials("s", Some("t")), date_of_signer, "r", "s", &[(DATE, "")]);
        assert!(signer.is_for(&credentials("s", Some("t")), date("2026-02-28T00:00:00Z")));
        assert!(!signer.is_for(&credentials("s", Some("t")), date("2026-03-01T00:00:00Z")));
        assert!(!signer.is_for(&credentials("s", Some("u")), date("2026-02-28T00:00:00Z")));
        assert!(!signer.is_for(&credentials("s", None), date("2026-02-28T00:00:00Z")));
    }
}
