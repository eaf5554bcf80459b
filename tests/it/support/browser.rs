//! The console as a browser sees it, without one: pages, forms and cookies.

use std::collections::BTreeMap;

use local::issuer::VISITOR_EMAIL;
use reqwest::header::{COOKIE, HeaderMap, LOCATION, ORIGIN, SET_COOKIE};
use tests::Harness;

/// Text that would run as a script on a page that does not escape it.
pub(crate) const HOSTILE: &str = "<script>alert(1)</script>\"'&";

/// A browser with its cookies.
#[derive(Clone)]
pub(crate) struct Browser<'a> {
    harness: &'a Harness,
    /// The console's origin, as the console knows it.
    pub(crate) origin: String,
    pub(crate) cookies: BTreeMap<String, String>,
    /// Every `Set-Cookie` so far.
    pub(crate) set_cookies: Vec<String>,
}

/// A page, or another answer.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl<'a> Browser<'a> {
    /// One that nobody has signed in with.
    pub(crate) fn new(harness: &'a Harness) -> Self {
        let origin = harness.system.facts().console.clone();
        Self { harness, origin, cookies: BTreeMap::new(), set_cookies: Vec::new() }
    }

    /// One that the admin has signed in with.
    pub(crate) async fn signed_in(harness: &'a Harness) -> Self {
        let mut browser = Self::new(harness);
        let back = browser.sign_in("/sign-in").await;
        assert_eq!((back.status, back.location()), (303, "/"), "{back:?}");
        browser
    }

    /// Signs the admin in, from `path` on: the answer of the callback.
    pub(crate) async fn sign_in(&mut self, path: &str) -> Page {
        let email = self.harness.system.facts().admin_email.clone();
        self.sign_in_as(&email, path).await
    }

    /// Signs somebody in who is no admin user.
    pub(crate) async fn sign_in_as_visitor(&mut self) -> Page {
        self.sign_in_as(VISITOR_EMAIL, "/sign-in").await
    }

    async fn sign_in_as(&mut self, email: &str, path: &str) -> Page {
        let callback = self.authorize(email, path).await;
        self.get(&callback).await
    }

    /// The way to the callback, which is not taken yet.
    pub(crate) async fn authorize(&mut self, email: &str, path: &str) -> String {
        let begun = self.get(path).await.expect(303);
        let issuer = self.harness.client.get(begun.location()).send().await.unwrap();
        let page = read(issuer).await.expect(200);
        let password = self.harness.system.facts().admin_password.clone();
        let mut fields = page.fields("/authorize");
        fields.insert("email".to_owned(), email.to_owned());
        fields.insert("password".to_owned(), password);
        let url = format!("{}/authorize", self.harness.system.facts().issuer);
        let back = read(self.harness.client.post(url).form(&fields).send().await.unwrap()).await.expect(303);
        back.location().strip_prefix(&self.origin).expect("back to the console").to_owned()
    }

    pub(crate) async fn get(&mut self, path: &str) -> Page {
        self.send("GET", path, None, &[]).await
    }

    /// Sends the form of `page` whose action is `action`, as a browser does.
    pub(crate) async fn submit(&mut self, page: &Page, action: &str, typed: &[(&str, &str)]) -> Page {
        let mut fields = page.fields(action);
        for (name, value) in typed {
            fields.insert((*name).to_owned(), (*value).to_owned());
        }
        let origin = self.origin.clone();
        self.send("POST", action, Some(&fields), &[(ORIGIN.as_str(), &origin)]).await
    }

    /// Sends a form from wherever.
    pub(crate) async fn send(
        &mut self,
        method: &str,
        path: &str,
        form: Option<&BTreeMap<String, String>>,
        headers: &[(&str, &str)],
    ) -> Page {
        let url = format!("{}{path}", self.harness.system.facts().console);
        let mut request = self.harness.client.request(method.parse().unwrap(), url);
        let cookies: Vec<_> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        if !cookies.is_empty() {
            request = request.header(COOKIE, cookies.join("; "));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(form) = form {
            request = request.form(form);
        }
        let page = read(request.send().await.unwrap()).await;
        for cookie in page.headers.get_all(SET_COOKIE) {
            let cookie = cookie.to_str().unwrap();
            let (name, value) = cookie.split(';').next().unwrap().split_once('=').unwrap();
            if value.is_empty() {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
            self.set_cookies.push(cookie.to_owned());
        }
        page
    }
}

async fn read(response: reqwest::Response) -> Page {
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Page { status, headers, text: response.text().await.unwrap() }
}

impl Page {
    /// Fails unless the status is this one.
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Where it sends the browser.
    pub(crate) fn location(&self) -> &str {
        self.header(LOCATION.as_str())
    }

    /// The page's text. See [`words`].
    pub(crate) fn words(&self) -> String {
        words(&self.text)
    }

    /// Fails unless the page has these texts in this order.
    pub(crate) fn expect_texts(&self, texts: &[&str]) {
        let words = self.words();
        let mut rest = words.as_str();
        for text in texts {
            let (_, after) = rest
                .split_once(text)
                .unwrap_or_else(|| panic!("`{text}` is missing, or not in this place: {words}"));
            rest = after;
        }
    }

    pub(crate) fn expect_none(&self, text: &str) {
        let words = self.words();
        assert!(!words.contains(text), "the page must not contain `{text}`: {words}");
    }

    /// What the fields of the form with this action hold.
    pub(crate) fn fields(&self, action: &str) -> BTreeMap<String, String> {
        let start = self.text.find(&format!("action=\"{action}\""));
        let form = &self.text[start.unwrap_or_else(|| panic!("no form {action} in {}", self.text))..];
        let form = &form[..form.find("</form>").unwrap()];
        let inputs = form.split("<input").skip(1).map(|input| &input[..input.find('>').unwrap()]);
        inputs
            .filter(|input| !input.contains("type=\"radio\"") || input.ends_with(" checked"))
            .filter_map(|input| Some((attribute(input, "name")?, attribute(input, "value")?)))
            .collect()
    }
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let (_, rest) = tag.split_once(&format!(" {name}=\""))?;
    Some(unescape(&rest[..rest.find('"')?]))
}

fn unescape(html: &str) -> String {
    let entities = [
        ("&#60;", "<"),
        ("&#62;", ">"),
        ("&#34;", "\""),
        ("&#39;", "'"),
        ("&quot;", "\""),
        ("&#38;", "&"),
        ("&amp;", "&"),
    ];
    entities.iter().fold(html.to_owned(), |text, (from, to)| text.replace(from, to))
}

/// The text of HTML without tags, with one space between words.
pub(crate) fn words(html: &str) -> String {
    let parts = html.split('<').map(|part| part.split_once('>').map_or(part, |(_, text)| text));
    let text = unescape(&parts.collect::<Vec<_>>().join(" "));
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The whole key that a page shows.
pub(crate) fn secret(page: &Page) -> Option<String> {
    let start = page.text.find("kwsa_local_")?;
    Some(page.text[start..].chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect())
}
