//! Consumer groups: their settings.

use std::collections::HashMap;
use std::sync::Arc;

use kerolox_protocol::remoting::admin::{DataVersion, GroupConfig};

/// All groups. See [`crate::topics::Topics`] for the persistent view.
#[derive(Debug, Default)]
pub struct Groups {
    by_name: HashMap<Arc<str>, Arc<GroupConfig>>,
    view: GroupsView,
    version: DataVersion,
}

/// A copy of all settings.
pub type GroupsView = imbl::OrdMap<Arc<str>, Arc<GroupConfig>>;

impl Groups {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.by_name.len()
    }

    /// Rises with every change.
    pub fn version(&self) -> DataVersion {
        self.version
    }

    /// A copy of all settings.
    pub fn view(&self) -> GroupsView {
        self.view.clone()
    }

    /// A group's settings.
    pub fn get(&self, name: &str) -> Option<&Arc<GroupConfig>> {
        self.by_name.get(name)
    }

    /// Makes a group or changes its settings.
    pub fn put(&mut self, config: GroupConfig, now: i64) {
        let name: Arc<str> = config.group_name.as_str().into();
        let config = Arc::new(config);
        self.view.insert(name.clone(), config.clone());
        self.by_name.insert(name, config);
        self.version.counter += 1;
        self.version.timestamp = now;
    }

    /// Deletes a group.
    pub fn delete(&mut self, name: &str, now: i64) {
        if self.by_name.remove(name).is_some() {
            self.view.remove(name);
            self.version.counter += 1;
            self.version.timestamp = now;
        }
    }
}
