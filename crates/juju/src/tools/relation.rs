//! Relations: which there are, who is on the other side, what the databags hold.

use std::collections::BTreeMap;

use super::{HookTools, ToolError};
use crate::names::{AppName, RelationId, UnitName};

/// A databag to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bag<'a> {
    /// Of a unit.
    Unit(&'a UnitName),
    /// Of an application. Of one's own only the leader reads it, but for peer relations.
    App(&'a AppName),
}

/// A databag to write: one of our own two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OwnBag {
    /// Of this unit.
    Unit,
    /// Of this application; only the leader writes it.
    App,
}

impl HookTools {
    /// The relations of an endpoint, in the order of Juju. One that is being broken is still among them.
    pub fn relation_ids(&self, endpoint: &str) -> Result<Vec<RelationId>, ToolError> {
        const TOOL: &str = "relation-ids";
        let ids: Option<Vec<String>> = self.ask(TOOL, &[endpoint, "--format=json"])?;
        let ids = ids.unwrap_or_default();
        ids.iter().map(|id| id.parse().map_err(|source| ToolError::Name { tool: TOOL, source })).collect()
    }

    /// The units of the other side, without one that departs; in a peer relation the other units of this application.
    pub fn relation_units(&self, relation: &RelationId) -> Result<Vec<UnitName>, ToolError> {
        const TOOL: &str = "relation-list";
        let units: Option<Vec<String>> = self.ask(TOOL, &["--format=json", "-r", &relation.to_string()])?;
        let units = units.unwrap_or_default();
        units
            .iter()
            .map(|unit| unit.parse().map_err(|source| ToolError::Name { tool: TOOL, source }))
            .collect()
    }

    /// The application of the other side. None if Juju does not know one.
    pub fn relation_app(&self, relation: &RelationId) -> Result<Option<AppName>, ToolError> {
        const TOOL: &str = "relation-list";
        let app: Option<String> = self.ask(TOOL, &["--format=json", "--app", "-r", &relation.to_string()])?;
        app.filter(|app| !app.is_empty())
            .map(|app| app.parse().map_err(|source| ToolError::Name { tool: TOOL, source }))
            .transpose()
    }

    /// What a databag holds. Our own bags show what this hook has written.
    pub fn relation_get(
        &self,
        relation: &RelationId,
        bag: Bag<'_>,
    ) -> Result<BTreeMap<String, String>, ToolError> {
        const TOOL: &str = "relation-get";
        let relation = relation.to_string();
        let settings: Option<BTreeMap<String, String>> = match bag {
            Bag::Unit(unit) => self.ask(TOOL, &["--format=json", "-r", &relation, "-", &unit.to_string()])?,
            Bag::App(app) => {
                self.ask(TOOL, &["--format=json", "-r", &relation, "--app", "-", app.as_str()])?
            }
        };
        Ok(settings.unwrap_or_default())
    }

    /// Sets keys of a databag of ours; an empty value deletes its key. Without keys nothing is run.
    ///
    /// The values travel through standard input, so their length is Juju's matter only.
    pub fn relation_set(
        &self,
        relation: &RelationId,
        bag: OwnBag,
        settings: &BTreeMap<String, String>,
    ) -> Result<(), ToolError> {
        const TOOL: &str = "relation-set";
        if settings.is_empty() {
            return Ok(());
        }
        let input =
            serde_json::to_vec(settings).map_err(|source| ToolError::Answer { tool: TOOL, source })?;
        let relation = relation.to_string();
        let arguments: &[&str] = match bag {
            OwnBag::Unit => &["-r", &relation, "--file", "-"],
            OwnBag::App => &["-r", &relation, "--app", "--file", "-"],
        };
        self.call(TOOL, arguments, &input).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::expecting;
    use super::*;

    fn id() -> RelationId {
        "ep:7".parse().unwrap()
    }

    #[test]
    fn which_there_are() {
        let tools = expecting("relation-ids ep --format=json", "", "[\"ep:7\",\"ep:9\"]\n");
        assert_eq!(tools.relation_ids("ep").unwrap(), [id(), "ep:9".parse().unwrap()]);
        let tools = expecting("relation-ids ep --format=json", "", "[\"nonsense\"]");
        assert!(matches!(tools.relation_ids("ep"), Err(ToolError::Name { .. })));
    }

    #[test]
    fn who_is_there() {
        let tools = expecting("relation-list --format=json -r ep:7", "", "[\"other/0\"]");
        assert_eq!(tools.relation_units(&id()).unwrap(), ["other/0".parse().unwrap()]);
        let tools = expecting("relation-list --format=json --app -r ep:7", "", "\"other\"");
        assert_eq!(tools.relation_app(&id()).unwrap(), Some("other".parse().unwrap()));
        let tools = expecting("relation-list --format=json --app -r ep:7", "", "\"\"");
        assert_eq!(tools.relation_app(&id()).unwrap(), None);
    }

    #[test]
    fn databags() {
        let app = "other".parse().unwrap();
        let tools = expecting("relation-get --format=json -r ep:7 --app - other", "", "{\"a\":\"b\"}");
        assert_eq!(tools.relation_get(&id(), Bag::App(&app)).unwrap()["a"], "b");
        let unit = "other/0".parse().unwrap();
        let tools = expecting("relation-get --format=json -r ep:7 - other/0", "", "null");
        assert!(tools.relation_get(&id(), Bag::Unit(&unit)).unwrap().is_empty());
        let tools = expecting("relation-set -r ep:7 --app --file -", "{\"a\":\"\\\"ü\\n\"}", "");
        tools.relation_set(&id(), OwnBag::App, &BTreeMap::from([("a".into(), "\"ü\n".into())])).unwrap();
    }
}
