//! The state of a slot: one word, so that it changes in one step.

/// What a slot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// No key has been beyond it.
    Empty,
    /// It is free, but a key may be beyond it.
    Gone,
    /// Somebody is about to write a key into it.
    Busy,
    Live,
}

/// | bits | what |
/// |---|---|
/// | 0..32 | blocks of 4 KiB, reserved ones included |
/// | 32..34 | uses |
/// | 34 | it is in the long queue |
/// | 35 | pinned |
/// | 36 | room was reserved since its blocks were counted |
/// | 37..39 | kind |
/// | 39..47 | origin |
/// | 47..63 | generation |
/// | 63 | zero |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct State(pub(super) u64);

/// Uses that are remembered, at most: rounds in the long queue.
pub(crate) const USES_MAX: u64 = 3;

const USES: u32 = 32;
const LONG: u32 = 34;
const PINNED: u32 = 35;
const FILLING: u32 = 36;
const KIND: u32 = 37;
const ORIGIN: u32 = 39;
const GENERATION: u32 = 47;

impl State {
    fn field(self, shift: u32, bits: u32) -> u64 {
        self.0 >> shift & ((1 << bits) - 1)
    }

    fn with(self, shift: u32, bits: u32, value: u64) -> Self {
        let mask = (1 << bits) - 1;
        Self(self.0 & !(mask << shift) | (value & mask) << shift)
    }

    pub(crate) fn blocks(self) -> u64 {
        self.field(0, 32)
    }

    pub(crate) fn uses(self) -> u64 {
        self.field(USES, 2)
    }

    pub(crate) fn is_long(self) -> bool {
        self.field(LONG, 1) != 0
    }

    pub(crate) fn is_pinned(self) -> bool {
        self.field(PINNED, 1) != 0
    }

    pub(crate) fn is_filling(self) -> bool {
        self.field(FILLING, 1) != 0
    }

    pub(crate) fn kind(self) -> Kind {
        match self.field(KIND, 2) {
            0 => Kind::Empty,
            1 => Kind::Gone,
            2 => Kind::Busy,
            _ => Kind::Live,
        }
    }

    pub(crate) fn is_live(self) -> bool {
        self.kind() == Kind::Live
    }

    /// One of those that the table has, whatever a damaged one says.
    pub(crate) fn origin(self) -> u64 {
        self.field(ORIGIN, 8) % super::layout::ORIGINS_MAX
    }

    pub(crate) fn generation(self) -> u16 {
        self.field(GENERATION, 16) as u16
    }

    /// More than 16 TiB is counted as that.
    pub(crate) fn with_blocks(self, blocks: u64) -> Self {
        self.with(0, 32, blocks.min(u64::from(u32::MAX)))
    }

    pub(crate) fn with_uses(self, uses: u64) -> Self {
        self.with(USES, 2, uses.min(USES_MAX))
    }

    pub(crate) fn with_long(self, is_long: bool) -> Self {
        self.with(LONG, 1, is_long.into())
    }

    pub(crate) fn with_pinned(self, pinned: bool) -> Self {
        self.with(PINNED, 1, pinned.into())
    }

    pub(crate) fn with_filling(self, filling: bool) -> Self {
        self.with(FILLING, 1, filling.into())
    }

    pub(crate) fn with_origin(self, origin: u64) -> Self {
        self.with(ORIGIN, 8, origin)
    }

    /// The same slot as something else, of which nobody knows yet.
    pub(super) fn turned(self, kind: Kind) -> Self {
        let number = match kind {
            Kind::Empty => 0,
            Kind::Gone => 1,
            Kind::Busy => 2,
            Kind::Live => 3,
        };
        let generation = u64::from(self.generation().wrapping_add(1));
        Self(0)
            .with(KIND, 2, number)
            .with(GENERATION, 16, generation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_field_touches_another() {
        let one = State(0).turned(Kind::Live);
        let all = one
            .with_blocks(u64::MAX)
            .with_uses(9)
            .with_long(true)
            .with_pinned(true)
            .with_filling(true)
            .with_origin(127);
        assert_eq!((all.blocks(), all.uses()), (u64::from(u32::MAX), USES_MAX));
        assert!(all.is_long() && all.is_pinned() && all.is_filling() && all.is_live());
        assert_eq!((all.origin(), all.generation()), (127, 1));
        let none = all
            .with_blocks(0)
            .with_uses(0)
            .with_long(false)
            .with_pinned(false)
            .with_filling(false)
            .with_origin(0);
        assert_eq!(none, one);
    }
}
