//! What the engine can use of io_uring, feature by feature: asked for, never
//! assumed from a version number.

/// One feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Feature {
    /// IORING_SETUP_SUBMIT_ALL
    SubmitAll,
    /// IORING_SETUP_COOP_TASKRUN
    CoopTaskrun,
    /// IORING_SETUP_SINGLE_ISSUER
    SingleIssuer,
    /// IORING_SETUP_DEFER_TASKRUN
    DeferTaskrun,
    /// IORING_SETUP_NO_SQARRAY
    NoSqarray,
    /// IORING_SETUP_SQPOLL
    SqPoll,
    /// IORING_SETUP_IOPOLL
    IoPoll,
    /// IORING_REGISTER_RING_FDS
    RegisteredRing,
    /// IORING_REGISTER_FILES2, sparse
    RegisteredFiles,
    /// IORING_REGISTER_BUFFERS2, sparse
    RegisteredBuffers,
    /// IORING_REGISTER_IOWQ_MAX_WORKERS
    BoundedWorkers,
    /// IORING_OP_MSG_RING
    MsgRing,
    /// IORING_OP_SPLICE
    Splice,
    /// IORING_OP_FALLOCATE
    Allocate,
    /// IORING_OP_LINK_TIMEOUT
    LinkTimeout,
}

/// What people are told of a feature.
pub(crate) struct Row {
    pub(crate) feature: Feature,
    pub(crate) name: &'static str,
    /// The mainline release that brought it.
    pub(crate) since: &'static str,
    pub(crate) purpose: &'static str,
}

const fn row(
    feature: Feature,
    name: &'static str,
    since: &'static str,
    purpose: &'static str,
) -> Row {
    Row {
        feature,
        name,
        since,
        purpose,
    }
}

/// Every feature, in the order of its number.
#[rustfmt::skip]
pub(crate) const ROWS: [Row; 15] = [
    row(Feature::SubmitAll, "SUBMIT_ALL", "5.18", "a bad request does not stop its batch"),
    row(Feature::CoopTaskrun, "COOP_TASKRUN", "5.19", "no interrupts for completions"),
    row(Feature::SingleIssuer, "SINGLE_ISSUER", "6.0", "no locking of the queue"),
    row(Feature::DeferTaskrun, "DEFER_TASKRUN", "6.1", "completions are made when asked for"),
    row(Feature::NoSqarray, "NO_SQARRAY", "6.6", "one indirection less for each request"),
    row(Feature::SqPoll, "SQPOLL", "5.11", "a kernel thread submits (sq_poll)"),
    row(Feature::IoPoll, "IOPOLL", "5.1", "the device is polled (io_poll)"),
    row(Feature::RegisteredRing, "REGISTER_RING_FDS", "5.18", "no look-up of the ring"),
    row(Feature::RegisteredFiles, "REGISTER_FILES2", "5.19", "no look-up of each file"),
    row(Feature::RegisteredBuffers, "REGISTER_BUFFERS2", "5.19", "no pinning for each request"),
    row(Feature::BoundedWorkers, "REGISTER_IOWQ_MAX_WORKERS", "5.15", "few threads for what hangs"),
    row(Feature::MsgRing, "OP_MSG_RING", "5.18", "rings wake each other"),
    row(Feature::Splice, "OP_SPLICE", "5.7", "copies through a pipe"),
    row(Feature::Allocate, "OP_FALLOCATE", "5.6", "preallocation of cached files"),
    row(Feature::LinkTimeout, "OP_LINK_TIMEOUT", "5.5", "time-outs of single requests"),
];

/// The names of all features, in the order of their numbers.
pub const FEATURE_NAMES: [&str; ROWS.len()] = {
    let mut names = [""; ROWS.len()];
    let mut index = 0;
    while index < ROWS.len() {
        names[index] = ROWS[index].name;
        index += 1;
    }
    names
};

const _: () = {
    let mut index = 0;
    while index < ROWS.len() {
        assert!(ROWS[index].feature as usize == index);
        index += 1;
    }
};

/// A set of features: bit `n` is the feature with the number `n`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FeatureSet(u32);

impl FeatureSet {
    /// Every feature there is.
    pub const ALL: FeatureSet = FeatureSet((1 << ROWS.len()) - 1);

    /// The set with one more.
    #[must_use]
    pub fn with(self, feature: Feature) -> Self {
        FeatureSet(self.0 | 1 << feature as u32)
    }

    /// The set without one.
    #[must_use]
    pub fn without(self, feature: Feature) -> Self {
        FeatureSet(self.0 & !(1 << feature as u32))
    }

    /// Whether it is one of them.
    pub fn has(self, feature: Feature) -> bool {
        self.0 & 1 << feature as u32 != 0
    }

    /// The set of these bits; others are ignored.
    pub fn from_bits(bits: u32) -> Self {
        FeatureSet(bits & Self::ALL.0)
    }

    /// The set without those of another one.
    #[must_use]
    pub fn minus(self, other: FeatureSet) -> Self {
        FeatureSet(self.0 & !other.0)
    }

    /// The bits.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Its features.
    pub fn iter(self) -> impl Iterator<Item = Feature> {
        let all = ROWS.iter().map(|row| row.feature);
        all.filter(move |feature| self.has(*feature))
    }
}

impl Feature {
    /// Its name in the kernel's headers, without the prefix.
    pub fn name(self) -> &'static str {
        ROWS[self as usize].name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_what_was_put_into_it() {
        let set = FeatureSet::default()
            .with(Feature::SqPoll)
            .with(Feature::Splice);
        assert!(set.iter().eq([Feature::SqPoll, Feature::Splice]));
        assert!(!set.without(Feature::SqPoll).has(Feature::SqPoll));
        assert_eq!(FeatureSet::ALL.iter().count(), ROWS.len());
    }
}
