//! Which way bytes are copied: decided here, done elsewhere.
//!
//! The order of `auto` is that of the measured cost; see docs/copying.md.

/// A way from the origin's file to the object's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// The origin has a hole there: nothing is copied.
    Hole,
    /// The object shares the origin's blocks (ioctl_ficlonerange(2)).
    Reflink,
    /// The kernel copies (copy_file_range(2)).
    CopyFileRange,
    /// Reads and writes on the engine, through a buffer of the pool.
    Ring,
    /// Splices on the engine, through a pipe.
    Splice,
}

impl Way {
    fn bit(self) -> u8 {
        1 << self as u8
    }

    /// Whether it is one call that blocks, for a worker thread.
    pub(super) fn blocks(self) -> bool {
        matches!(self, Way::Hole | Way::Reflink | Way::CopyFileRange)
    }
}

/// A set of ways.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ways(u8);

impl Ways {
    pub(crate) fn has(self, way: Way) -> bool {
        self.0 & way.bit() != 0
    }

    pub(crate) fn with(self, way: Way) -> Self {
        Self(self.0 | way.bit())
    }
}

/// The option `copy_method`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Auto,
    Only(Way),
}

impl Method {
    /// By the number of the option's word.
    pub(crate) fn from_number(number: u64) -> Self {
        match number {
            1 => Method::Only(Way::Reflink),
            2 => Method::Only(Way::CopyFileRange),
            3 => Method::Only(Way::Ring),
            4 => Method::Only(Way::Splice),
            _ => Method::Auto,
        }
    }
}

/// What the choice depends on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Circumstances {
    /// What the file system has refused.
    pub(super) refused: Ways,
    /// The origin can be read past the page cache, and is not in it.
    pub(super) direct_source: bool,
    /// The object is written past the page cache, with which what goes through
    /// it must not be mixed.
    pub(super) direct_target: bool,
}

/// The way for data. Reads and writes are refused nowhere.
pub(super) fn choose(method: Method, given: Circumstances) -> Way {
    let order: &[Way] = match method {
        // Sharing blocks costs nothing. Direct reads save the pages of the source
        // and one of two copies; where they cannot be had, the kernel's own copy
        // saves a copy, and on a network file system the network.
        Method::Auto if given.direct_source => &[Way::Reflink, Way::Ring],
        Method::Auto => &[Way::Reflink, Way::CopyFileRange],
        Method::Only(Way::Reflink) => &[Way::Reflink],
        Method::Only(Way::CopyFileRange) => &[Way::CopyFileRange],
        Method::Only(Way::Splice) => &[Way::Splice],
        Method::Only(Way::Ring | Way::Hole) => &[],
    };
    let mixes = |way| given.direct_target && matches!(way, Way::CopyFileRange | Way::Splice);
    let usable = |way: &&Way| !given.refused.has(**way) && !mixes(**way);
    order.iter().find(usable).copied().unwrap_or(Way::Ring)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Circumstances = Circumstances {
        refused: Ways(0),
        direct_source: false,
        direct_target: false,
    };

    /// The ways that are tried one after the other as each is refused.
    fn tried(method: Method, mut given: Circumstances) -> Vec<Way> {
        let mut tried = Vec::new();
        loop {
            let way = choose(method, given);
            tried.push(way);
            if way == Way::Ring {
                return tried;
            }
            given.refused = given.refused.with(way);
        }
    }

    #[test]
    fn a_refused_way_is_followed_by_a_plainer_one() {
        use Way::{CopyFileRange, Reflink, Ring, Splice};
        let auto = tried(Method::Auto, PLAIN);
        assert_eq!(auto, [Reflink, CopyFileRange, Ring]);
        for way in [Reflink, CopyFileRange, Splice] {
            assert_eq!(tried(Method::Only(way), PLAIN), [way, Ring]);
        }
        assert_eq!(tried(Method::Only(Ring), PLAIN), [Ring]);
    }

    #[test]
    fn direct_reads_come_before_the_kernels_own_copy() {
        let given = Circumstances {
            direct_source: true,
            ..PLAIN
        };
        assert_eq!(tried(Method::Auto, given), [Way::Reflink, Way::Ring]);
    }

    #[test]
    fn what_is_written_directly_is_written_in_no_other_way() {
        let given = Circumstances {
            direct_target: true,
            ..PLAIN
        };
        assert_eq!(tried(Method::Auto, given), [Way::Reflink, Way::Ring]);
        for way in [Way::CopyFileRange, Way::Splice] {
            assert_eq!(tried(Method::Only(way), given), [Way::Ring]);
        }
    }

    #[test]
    fn the_options_words_have_their_ways() {
        let ways = ["auto", "reflink", "copy_file_range", "ring", "splice"].map(|word| {
            let mut config = crate::Config::default();
            config.set("copy_method", word).unwrap();
            Method::from_number(config.copy_method)
        });
        let only = [Way::Reflink, Way::CopyFileRange, Way::Ring, Way::Splice].map(Method::Only);
        assert_eq!(ways[0], Method::Auto);
        assert_eq!(ways[1..], only);
    }
}
