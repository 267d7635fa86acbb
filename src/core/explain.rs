//! Why a read of a file is served as it is: the state of one file, for people.

use crate::error::Result;
use crate::origin::Origin;
use crate::store::Kept;
use crate::token::VersionToken;

/// The state of one file.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// The version that the origin has now.
    pub token: VersionToken,
    /// What the cache has of the file.
    pub kept: Kept,
    /// Nanoseconds until the file is old enough to be trusted, if it is not: a change
    /// within the same tick of the clock would go unnoticed, so nothing of it is stored.
    pub young_for_ns: Option<u64>,
    /// Why nothing is stored now, of any file.
    pub not_storing: Option<String>,
}

impl Origin {
    /// Asks the origin for a file and looks what the cache has of it; changes nothing.
    /// The errors are those of [`Origin::open`].
    pub fn explain(&self, path: &[u8]) -> Result<Explanation> {
        let cache = &self.0.cache;
        cache.logged(|| {
            cache.check_open()?;
            let opened = self.0.ask(path, self.0.spot(path))?;
            let (kept, not_storing) = match &cache.store {
                Ok(store) => {
                    let kept = store.kept(&opened.identity, &opened.token)?;
                    (
                        kept,
                        store.health.view().reason.map(|reason| reason.to_string()),
                    )
                }
                Err(error) => (Kept::Nothing, Some(error.to_string())),
            };
            Ok(Explanation {
                young_for_ns: opened.token.racy_for_ns(),
                token: opened.token,
                kept,
                not_storing,
            })
        })
    }
}
