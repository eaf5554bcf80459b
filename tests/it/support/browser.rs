//! A minimal browser for the console: pages, forms and cookies, without JavaScript.

use std::collections::BTreeMap;

use local::issuer::VISITOR_EMAIL;
use reqwest::header::{COOKIE, HeaderMap, LOCATION, ORIGIN, SET_COOKIE};
use tests::Harness;

/// Text that runs as a script on a page that does not escape it.
pub(crate) const HOSTILE: &str = "<script>alert(1)</script>\"'&";

/// The maximum size of a page with ordinary data plus the stylesheet, in bytes.
pub(crate) const MAX_ORDINARY_BYTES: usize = 60_000;

/// A browser with its cookies.
#[derive(Clone)]
pub(crate) struct Browser<'a> {
    harness: &'a Harness,
    /// The console's origin, as in the console's configuration.
    pub(crate) origin: String,
    pub(crate) cookies: BTreeMap<String, String>,
    /// All `Set-Cookie` headers so far.
    pub(crate) set_cookies: Vec<String>,
}

/// A page or another response.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl<'a> Browser<'a> {
    /// A browser without a session.
    pub(crate) fn new(harness: &'a Harness) -> Self {
        let origin = harness.system.facts().console.clone();
        Self { harness, origin, cookies: BTreeMap::new(), set_cookies: Vec::new() }
    }

    /// A browser in which the admin is signed in.
    pub(crate) async fn signed_in(harness: &'a Harness) -> Self {
        let mut browser = Self::new(harness);
        let response = browser.sign_in("/sign-in").await;
        assert_eq!((response.status, response.location()), (303, "/"), "{response:?}");
        browser
    }

    /// Signs the admin in, starting at `path`. Returns the response of the callback.
    pub(crate) async fn sign_in(&mut self, path: &str) -> Page {
        let email = self.harness.system.facts().admin_email.clone();
        self.sign_in_as(&email, path).await
    }

    /// Signs in a user who is not an admin.
    pub(crate) async fn sign_in_as_visitor(&mut self) -> Page {
        self.sign_in_as(VISITOR_EMAIL, "/sign-in").await
    }

    async fn sign_in_as(&mut self, email: &str, path: &str) -> Page {
        let callback = self.authorize(email, path).await;
        self.get(&callback).await
    }

    /// Authenticates at the issuer. Returns the path of the callback, without opening it.
    pub(crate) async fn authorize(&mut self, email: &str, path: &str) -> String {
        let redirect = self.get(path).await.expect(303);
        let issuer = self.harness.client.get(redirect.location()).send().await.unwrap();
        let page = read(issuer).await.expect(200);
        let password = self.harness.system.facts().admin_password.clone();
        let mut fields = page.fields("/authorize");
        fields.insert("email".to_owned(), email.to_owned());
        fields.insert("password".to_owned(), password);
        let url = format!("{}/authorize", self.harness.system.facts().issuer);
        let redirect =
            read(self.harness.client.post(url).form(&fields).send().await.unwrap()).await.expect(303);
        redirect.location().strip_prefix(&self.origin).expect("a redirect to the console").to_owned()
    }

    pub(crate) async fn get(&mut self, path: &str) -> Page {
        self.send("GET", path, None, &[]).await
    }

    /// Sends the form of `page` whose action is `action`, as a browser does.
    pub(crate) async fn submit(&mut self, page: &Page, action: &str, typed: &[(&str, &str)]) -> Page {
        self.submit_to(page, (action, action), typed).await
    }

    /// Sends the form of `page` whose action is `action` with a button that sends the form to
    /// `target`.
    pub(crate) async fn submit_to(
        &mut self,
        page: &Page,
        (action, target): (&str, &str),
        typed: &[(&str, &str)],
    ) -> Page {
        let mut fields = page.fields(action);
        for (name, value) in typed {
            fields.insert((*name).to_owned(), (*value).to_owned());
        }
        let origin = self.origin.clone();
        self.send("POST", target, Some(&fields), &[(ORIGIN.as_str(), &origin)]).await
    }

    /// Sends the form of `page` whose action is `action`, which can have several fields of the
    /// same name.
    pub(crate) async fn submit_all(&mut self, page: &Page, action: &str) -> Page {
        let origin = self.origin.clone();
        let fields = page.all_fields(action);
        self.send_fields("POST", action, Some(&fields), &[(ORIGIN.as_str(), &origin)]).await
    }

    /// Sends the form of `page` whose action is `action`, with fields of which several can have the
    /// same name.
    pub(crate) async fn submit_with(&mut self, page: &Page, action: &str, typed: &[(&str, &str)]) -> Page {
        let is_typed = |name: &str| typed.iter().any(|(other, _)| *other == name);
        let fields = page.all_fields(action).into_iter().filter(|(name, _)| !is_typed(name));
        let typed = typed.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let fields: Vec<_> = fields.chain(typed).collect();
        let origin = self.origin.clone();
        self.send_fields("POST", action, Some(&fields), &[(ORIGIN.as_str(), &origin)]).await
    }

    /// Checks the size of a page with ordinary data plus the stylesheet.
    pub(crate) async fn expect_small(&mut self, page: &Page) {
        let css = self.get("/assets/console.css").await.expect(200);
        let bytes = page.text.len() + css.text.len();
        assert!(bytes < MAX_ORDINARY_BYTES, "{bytes} bytes");
    }

    /// Sends a request with exactly these headers.
    pub(crate) async fn send(
        &mut self,
        method: &str,
        path: &str,
        form: Option<&BTreeMap<String, String>>,
        headers: &[(&str, &str)],
    ) -> Page {
        let form: Option<Vec<_>> =
            form.map(|form| form.iter().map(|(name, value)| (name.clone(), value.clone())).collect());
        self.send_fields(method, path, form.as_deref(), headers).await
    }

    /// Like [`Self::send`], for a form that can have several fields of the same name.
    async fn send_fields(
        &mut self,
        method: &str,
        path: &str,
        form: Option<&[(String, String)]>,
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
    /// Checks the status.
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The target of a redirect.
    pub(crate) fn location(&self) -> &str {
        self.header(LOCATION.as_str())
    }

    /// The page's text. See [`visible_text`].
    pub(crate) fn visible_text(&self) -> String {
        visible_text(&self.text)
    }

    /// The text of the page's `<main>` element.
    pub(crate) fn main_text(&self) -> String {
        let (_, main) = self.text.split_once("<main").unwrap();
        let (main, _) = main.split_once("</main>").unwrap();
        visible_text(&format!("<main{main}"))
    }

    /// The error message of the field `name`.
    pub(crate) fn field_error(&self, name: &str) -> String {
        let marked = self.text.split_once(&format!("id=\"{name}-wrong\">"));
        let (_, rest) = marked.unwrap_or_else(|| panic!("no error of {name} in {}", self.text));
        visible_text(rest.split("</p>").next().unwrap())
    }

    /// Checks that the page contains [`HOSTILE`] or another script only as text.
    pub(crate) fn expect_no_script(&self) {
        assert!(!self.text.contains("<script>alert"), "{}", self.text);
        assert!(!self.text.contains("value=\"<"), "{}", self.text);
    }

    /// The text of the code with this ID.
    pub(crate) fn code(&self, id: &str) -> String {
        let start = self.text.find(&format!("<pre id=\"{id}\""));
        let rest = &self.text[start.unwrap_or_else(|| panic!("no {id} in {}", self.text))..];
        let (_, code) = rest.split_once("<code>").unwrap();
        unescape(code.split("</code>").next().unwrap())
    }

    /// The address of the next page of a list.
    pub(crate) fn next_page(&self) -> Option<String> {
        let (before, _) = self.text.split_once("\" rel=\"next\">")?;
        Some(unescape(before.rsplit_once("href=\"").unwrap().1))
    }

    /// Checks that the page contains these texts in this order.
    pub(crate) fn expect_texts(&self, texts: &[&str]) {
        let page = self.visible_text();
        let mut rest = page.as_str();
        for text in texts {
            let (_, after) = rest
                .split_once(text)
                .unwrap_or_else(|| panic!("`{text}` is missing or in another place: {page}"));
            rest = after;
        }
    }

    /// Checks that the page does not contain this text.
    pub(crate) fn expect_without(&self, text: &str) {
        let page = self.visible_text();
        assert!(!page.contains(text), "the page contains `{text}`: {page}");
    }

    /// The values of the `<input>` fields of the form with this action.
    pub(crate) fn fields(&self, action: &str) -> BTreeMap<String, String> {
        self.all_fields(action).into_iter().collect()
    }

    /// Like [`Self::fields`], in the order of the form and with all fields of the same name.
    pub(crate) fn all_fields(&self, action: &str) -> Vec<(String, String)> {
        let start = self.text.find(&format!("action=\"{action}\""));
        let form = &self.text[start.unwrap_or_else(|| panic!("no form {action} in {}", self.text))..];
        let form = &form[..form.find("</form>").unwrap()];
        let inputs = form.split("<input").skip(1).map(|input| &input[..input.find('>').unwrap()]);
        inputs
            .filter(|input| {
                let is_choice = input.contains("type=\"radio\"") || input.contains("type=\"checkbox\"");
                !is_choice || input.ends_with(" checked")
            })
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

/// The text of HTML: without tags, unescaped, and with one space between words.
pub(crate) fn visible_text(html: &str) -> String {
    let parts = html.split('<').map(|part| part.split_once('>').map_or(part, |(_, text)| text));
    let text = unescape(&parts.collect::<Vec<_>>().join(" "));
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The key that a page shows, with its secret.
pub(crate) fn secret(page: &Page) -> Option<String> {
    let start = page.text.find("kwsa_local_")?;
    Some(page.text[start..].chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect())
}
