//! Exports: lists as CSV or JSON files.
//!
//! A Lambda response has at most 6 MB, so an export is built in memory and stops before
//! that size. An export that is not complete says so in its last line or member, and in
//! the header [`TRUNCATED`].

use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use jiff::Timestamp;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use crate::error::{PageError, PageResult};

/// The header of an export that is not complete. Its value is the reason.
const TRUNCATED: HeaderName = HeaderName::from_static("keyward-export-truncated");

/// The largest file, in bytes of the JSON string in which the function returns the file to
/// Lambda. Leaves room for the other parts of the response. The limit is 6 MB:
/// <https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>
const MAX_BYTES: usize = 5_500_000;

/// The format of an export.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ExportFormat {
    Csv,
    Json,
}

/// A column: its name, and its cell in a row.
pub(crate) type Column<Row> = (&'static str, fn(&Row) -> Value);

/// A file with one row per item.
pub(crate) struct Export<Row: 'static> {
    format: ExportFormat,
    columns: &'static [Column<Row>],
    /// The rows, each as it appears in the file.
    text: String,
    rows: usize,
    /// The size of `text` as a JSON string.
    bytes: usize,
    /// Why the export is not complete.
    truncated: Option<String>,
}

/// A row as a JSON object, in the order of the columns.
struct Item<'a, Row: 'static> {
    columns: &'static [Column<Row>],
    row: &'a Row,
}

impl<Row> Serialize for Item<'_, Row> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.columns.iter().map(|(name, cell)| (name, cell(self.row))))
    }
}

impl<Row> Export<Row> {
    /// An empty export.
    pub(crate) fn new(format: ExportFormat, columns: &'static [Column<Row>]) -> Self {
        Self { format, columns, text: String::new(), rows: 0, bytes: 0, truncated: None }
    }

    /// The number of rows.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Whether the export stopped early.
    pub(crate) fn is_truncated(&self) -> bool {
        self.truncated.is_some()
    }

    /// Adds a row. If the file would be too large, ends the export instead.
    ///
    /// In CSV, an object is a list such as `team=data; stage=test`, and an array is a list
    /// such as `10.0.0.0/8; 192.0.2.0/24`.
    pub(crate) fn push(&mut self, row: &Row) -> PageResult<()> {
        if self.is_truncated() {
            return Ok(());
        }
        let line = match self.format {
            ExportFormat::Csv => record(self.columns.iter().map(|(_, cell)| text(&cell(row))))?,
            ExportFormat::Json => {
                let item = Item { columns: self.columns, row };
                let separator = if self.rows == 0 { "\n" } else { ",\n" };
                format!("{separator}{}", json(&item)?)
            }
        };
        let bytes = json(&line)?.len();
        if self.bytes.saturating_add(bytes) > MAX_BYTES {
            self.truncate("the file would be too large");
            return Ok(());
        }
        self.bytes += bytes;
        self.rows += 1;
        self.text.push_str(&line);
        Ok(())
    }

    /// Ends the export early. `reason` is an ASCII clause, such as `the time limit was
    /// reached`.
    pub(crate) fn truncate(&mut self, reason: &str) {
        let rows = self.rows;
        let reason = || format!("The export stopped after {rows} rows, because {reason}.");
        self.truncated.get_or_insert_with(reason);
    }

    /// The response that downloads the file. `name` is the file's name without extension.
    pub(crate) fn into_response(self, name: &str, now: Timestamp) -> PageResult {
        let (extension, media_type) = match self.format {
            ExportFormat::Csv => ("csv", "text/csv; charset=utf-8"),
            ExportFormat::Json => ("json", "application/json"),
        };
        let file = format!("{name}-{}.{extension}", now.strftime("%Y-%m-%d"));
        let disposition = format!("attachment; filename=\"{file}\"");
        let disposition = HeaderValue::from_str(&disposition).map_err(PageError::unavailable)?;
        let truncated = self.truncated.as_deref().map(HeaderValue::from_str);
        let truncated = truncated.transpose().map_err(PageError::unavailable)?;
        let headers = [
            (header::CONTENT_TYPE, HeaderValue::from_static(media_type)),
            (header::CONTENT_DISPOSITION, disposition),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        ];
        let mut response: Response = (headers, self.file(now)?).into_response();
        if let Some(reason) = truncated {
            response.headers_mut().insert(TRUNCATED, reason);
        }
        Ok(response)
    }

    fn file(&self, now: Timestamp) -> PageResult<String> {
        let text = &self.text;
        Ok(match self.format {
            ExportFormat::Csv => {
                let heading = record(self.columns.iter().map(|(name, _)| (*name).to_owned()))?;
                // Every line has the same number of cells.
                let empty = self.columns.iter().skip(1).map(|_| String::new());
                let last = self.truncated.as_ref().map(|reason| format!("INCOMPLETE: {reason}"));
                let last = last.map(|reason| record([reason].into_iter().chain(empty))).transpose()?;
                format!("{heading}{text}{}", last.unwrap_or_default())
            }
            ExportFormat::Json => {
                let at = instant(now);
                let is_complete = !self.is_truncated();
                let reason = json(&self.truncated)?;
                format!(
                    "{{\"exportedAt\":{at},\"items\":[{text}\n],\"isComplete\":{is_complete},\"truncated\":{reason}}}\n"
                )
            }
        })
    }
}

/// A cell with an instant, in RFC 3339, or an empty cell.
pub(crate) fn instant(at: impl Into<Option<Timestamp>>) -> Value {
    at.into().map_or(Value::Null, |at| at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into())
}

fn json(value: &impl Serialize) -> PageResult<String> {
    serde_json::to_string(value).map_err(PageError::unavailable)
}

/// A line of a CSV file (RFC 4180).
fn record(cells: impl IntoIterator<Item = String>) -> PageResult<String> {
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    writer
        .write_record(cells.into_iter().map(|cell| without_formula(&cell)))
        .map_err(PageError::unavailable)?;
    let line = writer.into_inner().map_err(PageError::unavailable)?;
    String::from_utf8(line).map_err(PageError::unavailable)
}

/// The text of a cell.
fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join("; "),
        Value::Object(members) => {
            let members = members.iter().map(|(name, value)| format!("{name}={}", text(value)));
            members.collect::<Vec<_>>().join("; ")
        }
    }
}

/// Puts an apostrophe before each text that a spreadsheet would run as a formula, so that the
/// spreadsheet shows the text instead:
/// <https://owasp.org/www-community/attacks/CSV_Injection>
///
/// In some countries, spreadsheets also split a line at semicolons. So the text after a
/// semicolon is treated like the start of a cell.
fn without_formula(cell: &str) -> String {
    const STARTS: [char; 11] = ['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠'];
    let is_formula = |part: &str| part.starts_with(STARTS) || part.trim_start().starts_with(STARTS);
    let parts =
        cell.split(';').map(|part| if is_formula(part) { format!("'{part}") } else { part.to_owned() });
    parts.collect::<Vec<_>>().join(";")
}
