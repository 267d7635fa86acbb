//! `include/libcachefs.map`: the symbols that each release promises.

use std::collections::BTreeMap;

use crate::paths;

/// Where the version script is, seen from the top of the repository.
pub const PATH: &str = "include/libcachefs.map";

/// Every symbol of the version script with the node it belongs to.
///
/// # Panics
///
/// If the script is not as [`parse`] expects it.
pub fn symbols() -> BTreeMap<String, String> {
    parse(&paths::read(PATH)).unwrap_or_else(|error| panic!("{PATH}: {error}"))
}

/// Reads a version script of the one form that is used here: nodes of plain
/// names, of which the first also hides everything else.
pub fn parse(script: &str) -> Result<BTreeMap<String, String>, String> {
    let mut symbols = BTreeMap::new();
    let mut node: Option<&str> = None;
    let mut hides_the_rest = false;
    for line in script.lines().map(str::trim) {
        match (node, line.strip_suffix(';')) {
            (_, _) if line.is_empty() || line.starts_with('#') || line == "global:" => {}
            (None, None) => {
                let name = line
                    .strip_suffix('{')
                    .ok_or(format!("no node begins with `{line}`"))?;
                node = Some(name.trim());
            }
            (Some(_), Some("local: *")) => hides_the_rest = true,
            (Some(_), Some(end)) if end.starts_with('}') => node = None,
            (Some(node), Some(symbol)) => {
                if symbols.insert(symbol.to_owned(), node.to_owned()).is_some() {
                    return Err(format!("{symbol} is there twice"));
                }
            }
            _ => return Err(format!("`{line}` is not understood")),
        }
    }
    match hides_the_rest {
        true => Ok(symbols),
        false => Err("nothing says `local: *;`".to_owned()),
    }
}
