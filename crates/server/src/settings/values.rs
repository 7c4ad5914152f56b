//! Values by key, each with where it came from. In: texts. Out: what they mean; a value is checked when it
//! is set, so reading one cannot fail.

use std::collections::BTreeMap;

use super::keys::{self, Key};
use super::properties::short;

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    pub text: String,
    /// In words: a flag, a variable, a file with its line.
    pub origin: String,
}

/// See the module's documentation.
#[derive(Debug, Clone, Default)]
pub struct Values(BTreeMap<&'static str, Value>);

impl Values {
    /// Sets a value over the one before. An error says what was wanted instead.
    pub fn set(&mut self, key: &Key, text: &str, origin: String) -> Result<(), String> {
        let text = text.trim();
        key.check(text)
            .map_err(|want| format!("{origin}: {}={} is not {want}", key.name, short(text)))?;
        self.0.insert(key.name, Value { text: text.to_owned(), origin });
        Ok(())
    }

    /// What a value comes to; where it came from stays.
    pub fn settle(&mut self, key: &'static str, text: String) {
        let origin = self.given(key).map_or("default", |value| &value.origin).to_owned();
        self.0.insert(key, Value { text, origin });
    }

    /// The value of a key, if one was set.
    pub fn given(&self, key: &str) -> Option<&Value> {
        debug_assert!(keys::find(key).is_some(), "{key} is not in the table");
        self.0.get(key)
    }

    /// The value of a key, or its default; empty: neither.
    pub fn text(&self, key: &str) -> &str {
        let default = || keys::find(key).map_or("", |key| key.default);
        self.given(key).map_or_else(default, |value| &value.text)
    }

    /// A value that is a number.
    pub fn number(&self, key: &str) -> u64 {
        self.text(key).parse().expect("checked when it was set, or the default")
    }

    /// A value that is true or false.
    pub fn flag(&self, key: &str) -> bool {
        self.text(key).eq_ignore_ascii_case("true")
    }

    /// What was wanted of a value that cannot be used for another reason than its own form.
    pub fn wrong(&self, key: &str, want: &str) -> String {
        match self.given(key) {
            Some(Value { text, origin }) => format!("{origin}: {key}={text} is not {want}"),
            None => format!("{key}={} is not {want}", self.text(key)),
        }
    }
}
