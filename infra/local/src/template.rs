//! A reader of `infra/template.yaml`, from which local mode and the tests take routes,
//! authorizers, variables and the table.

use std::collections::BTreeMap;

use serde_norway::Value;

use crate::StartError;

/// The text of the deployed template.
pub const TEXT: &str = include_str!("../../template.yaml");

/// A route of the API.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// The method, or `ANY`.
    pub method: String,
    /// The path, with `{name}` for parameters.
    pub path: String,
    /// The function's logical id.
    pub function: String,
    /// The authorizer function's logical id, if the route has one.
    pub authorizer: Option<String>,
}

impl Route {
    /// The route's key, such as `GET /iam/v1/whoami`.
    pub fn key(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

/// A parsed template.
#[derive(Clone, Debug)]
pub struct Template(Value);

/// A function of the template.
#[derive(Clone, Debug)]
pub struct Function {
    /// The function's logical id.
    pub name: String,
    /// The names of the function's variables, each with its value if the value is plain
    /// text in the template.
    pub variables: BTreeMap<String, Option<String>>,
}

impl Template {
    /// Reads the deployed template.
    ///
    /// # Errors
    /// [`StartError::Template`] if the text is not valid YAML.
    pub fn read() -> Result<Self, StartError> {
        Self::parse(TEXT)
    }

    /// Parses `text`.
    ///
    /// # Errors
    /// [`StartError::Template`] if the text is not valid YAML.
    pub fn parse(text: &str) -> Result<Self, StartError> {
        serde_norway::from_str(text).map(Self).map_err(|error| StartError::Template(error.to_string()))
    }

    /// The properties of the resource `name`.
    pub fn properties(&self, name: &str) -> Option<&Value> {
        self.0.get("Resources")?.get(name)?.get("Properties")
    }

    /// The logical id and properties of each resource of this type.
    pub fn resources(&self, kind: &str) -> impl Iterator<Item = (&str, &Value)> {
        let resources = self.0.get("Resources").and_then(Value::as_mapping);
        resources.into_iter().flatten().filter_map(move |(name, resource)| {
            let is_of_kind = resource.get("Type").and_then(Value::as_str) == Some(kind);
            is_of_kind.then(|| Some((name.as_str()?, resource.get("Properties")?))).flatten()
        })
    }

    /// The functions, each with its variables.
    pub fn functions(&self) -> Vec<Function> {
        let variables = |value: Option<&Value>| -> Vec<(String, Option<String>)> {
            let variables = value.and_then(|value| value.get("Environment")?.get("Variables")?.as_mapping());
            // A tagged value, such as a `!Ref`, is not text.
            let text =
                |value: &Value| if let Value::String(text) = value { Some(text.clone()) } else { None };
            let variables = variables.into_iter().flatten();
            variables.filter_map(|(name, value)| Some((text(name)?, text(value)))).collect()
        };
        let global = variables(self.0.get("Globals").and_then(|globals| globals.get("Function")));
        self.resources("AWS::Serverless::Function")
            .map(|(name, properties)| Function {
                name: name.to_owned(),
                variables: global.iter().cloned().chain(variables(Some(properties))).collect(),
            })
            .collect()
    }

    /// The routes of the HTTP API, sorted.
    ///
    /// # Errors
    /// [`StartError::Template`] if an event of a function is not a valid route.
    pub fn routes(&self) -> Result<Vec<Route>, StartError> {
        let mut routes = Vec::new();
        for (function, properties) in self.resources("AWS::Serverless::Function") {
            let events = properties.get("Events").and_then(Value::as_mapping);
            for (name, event) in events.into_iter().flatten() {
                if event.get("Type").and_then(Value::as_str) != Some("HttpApi") {
                    continue;
                }
                let route = self.route(function, event.get("Properties"));
                let name = name.as_str().unwrap_or_default();
                routes.push(route.ok_or_else(|| {
                    StartError::Template(format!("the event {name} of {function} is not a valid route"))
                })?);
            }
        }
        routes.sort();
        Ok(routes)
    }

    fn route(&self, function: &str, event: Option<&Value>) -> Option<Route> {
        let event = event?;
        let api = reference(event.get("ApiId")?)?;
        let auth = self.properties(api)?.get("Auth");
        // The event's own authorizer, else the API's default one.
        let own = event.get("Auth").and_then(|auth| auth.get("Authorizer"));
        let default = auth.and_then(|auth| auth.get("DefaultAuthorizer"));
        let authorizer = own.or(default).and_then(Value::as_str).filter(|name| *name != "NONE");
        let authorizer = authorizer.and_then(|name| {
            let function = auth?.get("Authorizers")?.get(name)?.get("FunctionArn")?;
            Some(reference(function)?.trim_end_matches(".Arn").to_owned())
        });
        Some(Route {
            method: event.get("Method")?.as_str()?.to_uppercase(),
            path: event.get("Path")?.as_str()?.to_owned(),
            function: function.to_owned(),
            authorizer,
        })
    }
}

/// The target of a `!Ref` or `!GetAtt`.
fn reference(value: &Value) -> Option<&str> {
    let Value::Tagged(tagged) = value else {
        return None;
    };
    let is_reference = tagged.tag == "Ref" || tagged.tag == "GetAtt";
    tagged.value.as_str().filter(|_| is_reference)
}
