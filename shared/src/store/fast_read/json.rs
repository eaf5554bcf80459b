//! An item in a response of DynamoDB's JSON protocol, borrowed from the response.
//! (<https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_GetItem.html>)

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{Error, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::store::codec::{Attribute, Attributes};

/// The maximum number of attributes of an item, or of members of a map. A fast read
/// requests at most nine.
const MAX_MEMBERS: usize = 64;

/// An item, or a map in an item.
#[derive(Debug, Default)]
pub(in crate::store) struct Map<'a>(Vec<(Cow<'a, str>, Value<'a>)>);

/// An attribute's value. The types that the store never writes are not read.
#[derive(Debug)]
pub(in crate::store) enum Value<'a> {
    Text(Cow<'a, str>),
    Number(Cow<'a, str>),
    Bytes(Vec<u8>),
    Boolean(bool),
    List(Vec<Value<'a>>),
    Map(Map<'a>),
}

impl<'a> Attributes for Map<'a> {
    type Value = Value<'a>;

    fn find(&self, name: &str) -> Option<&Value<'a>> {
        self.0.iter().find(|(other, _)| other == name).map(|(_, value)| value)
    }
}

impl<'a> Attribute for Value<'a> {
    type Map = Map<'a>;

    fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    fn number(&self) -> Option<&str> {
        if let Self::Number(number) = self { Some(number) } else { None }
    }

    fn bytes(&self) -> Option<&[u8]> {
        if let Self::Bytes(bytes) = self { Some(bytes) } else { None }
    }

    fn boolean(&self) -> Option<bool> {
        if let Self::Boolean(boolean) = self { Some(*boolean) } else { None }
    }

    fn list(&self) -> Option<&[Self]> {
        if let Self::List(values) = self { Some(values) } else { None }
    }

    fn map(&self) -> Option<&Map<'a>> {
        if let Self::Map(map) = self { Some(map) } else { None }
    }
}

/// Text that is borrowed unless it contains an escape. (A `Cow` is always copied.)
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// The response of `GetItem`. Without an item, the item does not exist.
pub(super) struct GetItemOutput<'a> {
    pub(super) item: Option<Map<'a>>,
}

// A derived implementation would also accept an array.
impl<'de: 'a, 'a> Deserialize<'de> for GetItemOutput<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(OutputVisitor)
    }
}

struct OutputVisitor;

impl<'de> Visitor<'de> for OutputVisitor {
    type Value = GetItemOutput<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the response of GetItem")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<GetItemOutput<'de>, A::Error> {
        let mut item = None;
        while let Some(Text(name)) = members.next_key()? {
            if name != "Item" {
                members.next_value::<IgnoredAny>()?;
            } else if item.replace(members.next_value()?).is_some() {
                return Err(Error::custom("two items"));
            }
        }
        Ok(GetItemOutput { item })
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Map<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MapVisitor)
    }
}

struct MapVisitor;

impl<'de> Visitor<'de> for MapVisitor {
    type Value = Map<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a map of attributes")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Map<'de>, A::Error> {
        let mut map = Vec::with_capacity(8);
        while let Some((Text(name), value)) = members.next_entry::<Text<'de>, Value<'de>>()? {
            // The check takes time that grows with the square of the number.
            if map.len() == MAX_MEMBERS || map.iter().any(|(other, _)| *other == name) {
                return Err(Error::custom("a repeated attribute, or too many"));
            }
            map.push((name, value));
        }
        Ok(Map(map))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Value<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("one typed value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value<'de>, A::Error> {
        let missing = || Error::custom("a value without a type");
        let Text(kind) = members.next_key()?.ok_or_else(missing)?;
        let value = match &*kind {
            "S" => Value::Text(members.next_value::<Text<'de>>()?.0),
            "N" => Value::Number(members.next_value::<Text<'de>>()?.0),
            "B" => {
                let Text(text) = members.next_value()?;
                Value::Bytes(STANDARD.decode(&*text).map_err(Error::custom)?)
            }
            "BOOL" => Value::Boolean(members.next_value()?),
            "L" => Value::List(members.next_value()?),
            "M" => Value::Map(members.next_value()?),
            _ => return Err(Error::custom("an unsupported type")),
        };
        match members.next_key::<Text<'de>>()? {
            None => Ok(value),
            Some(_) => Err(Error::custom("a value of two types")),
        }
    }
}
