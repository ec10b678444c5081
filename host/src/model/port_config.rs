//! What is set at a port: its peer, which every port has, and what its cube's service lets one set.

use serde_json::{Value, json};

use crate::problem::Problems;
use crate::schema::{Model, Source};
use crate::topology::Port;

/// The member of a port that says what is on the other side.
const PEER: &str = "peer";

/// The member of a shown cube or port that has the settings that cannot be seen otherwise.
pub(crate) const CONFIG: &str = "config";

/// What is set at a port.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PortConfig {
    /// Empty for none.
    pub peer: String,
    /// What the service lets one set.
    pub settings: Value,
}

impl PortConfig {
    pub(crate) fn of(port: &Port) -> Self {
        let peer = port.peer.as_ref().map(ToString::to_string).unwrap_or_default();
        Self { peer, settings: port.settings.clone() }
    }

    /// As one document, of the port's data model.
    pub(crate) fn whole(self) -> Value {
        let mut whole = json!({ PEER: self.peer });
        if let (Some(whole), Value::Object(settings)) = (whole.as_object_mut(), self.settings) {
            whole.extend(settings);
        }
        whole
    }
}

impl From<Value> for PortConfig {
    fn from(mut whole: Value) -> Self {
        let peer = whole.as_object_mut().and_then(|whole| whole.shift_remove(PEER));
        Self { peer: peer.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned(), settings: whole }
    }
}

/// What is set at a new port.
///
/// # Errors
/// Everything that is wrong with `body`.
pub(super) fn create(model: &Model, source: Source, body: Value) -> Result<PortConfig, Problems> {
    model.create_from(source, settable(model, source, body)).map(PortConfig::from)
}

/// What is set at a port that exists, and that `body` describes as a whole.
///
/// # Errors
/// Everything that is wrong with `body`.
pub(super) fn describe(model: &Model, port: &Port, source: Source, body: Value) -> Result<PortConfig, Problems> {
    let before = PortConfig::of(port).whole();
    model.describe(&before, source, settable(model, source, body)).map(PortConfig::from)
}

/// A body with the settings that could not be seen when it was shown.
fn settable(model: &Model, source: Source, mut body: Value) -> Value {
    // A member of that name may be the service's own.
    if source == Source::Written || !model.config()["properties"][CONFIG].is_null() {
        return body;
    }
    let unseen = body.as_object_mut().and_then(|body| body.shift_remove(CONFIG)).filter(Value::is_object);
    if body.is_object() { model.settings(body, unseen.unwrap_or_else(|| json!({}))) } else { body }
}
