//! A verdict whose every text is plain: what the formats for people and other programs are made from.

use serde_json::Value;

use crate::verdict::{StopReason, Verdict};

use super::plain::plain;

/// The same verdict with every text made harmless. It goes by way of JSON, so that no field can be
/// forgotten.
pub fn tame(verdict: &Verdict) -> Verdict {
    let tamed = serde_json::to_value(verdict).map(tame_value).and_then(serde_json::from_value);
    tamed.unwrap_or_else(|error| {
        let nothing = Verdict::over(Vec::new(), Some(StopReason::Fault), verdict.started, 0.0);
        nothing.broken(plain(&format!("the verdict cannot be shown: {error}")))
    })
}

fn tame_value(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(plain(&text)),
        Value::Array(all) => Value::Array(all.into_iter().map(tame_value).collect()),
        Value::Object(all) => Value::Object(
            all.into_iter().map(|(key, value)| (plain(&key), tame_value(value))).collect(),
        ),
        other => other,
    }
}
