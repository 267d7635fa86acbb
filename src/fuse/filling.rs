//! When a file is copied into the cache as a whole: once it is being read through.

/// Bytes in a row after which the rest is copied as well. What looks for a file's type
/// reads less, also with the kernel reading ahead of it.
const RUN_BYTES: u64 = 2 << 20;
/// Of a file that is read here and there, this share.
const SHARE: u64 = 4;
/// Where a read begins that belongs to the run, before or behind its end: the kernel
/// reads ahead with several requests at once, which do not keep their order.
const SLACK_BYTES: u64 = 1 << 20;

/// The course of the reads of one file.
#[derive(Default)]
pub struct Course {
    /// Where the run has come to, and how far it is.
    end: u64,
    run: u64,
    /// Bytes read at all.
    total: u64,
}

impl Course {
    /// Notes a read of a file of so many bytes; whether the rest is worth a copy.
    pub fn saw(&mut self, offset: u64, length: u64, size: u64) -> bool {
        let end = offset.saturating_add(length);
        self.total = self.total.saturating_add(length);
        if offset.abs_diff(self.end) <= SLACK_BYTES {
            self.run = self.run.saturating_add(length);
            self.end = self.end.max(end);
        } else {
            self.run = length;
            self.end = end;
        }
        self.run >= RUN_BYTES.min(size) || self.is_mostly_read(size)
    }

    /// Bytes that were read, each time that they were.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Whether so much was read that a copy is worth its end.
    pub fn is_mostly_read(&self, size: u64) -> bool {
        self.total >= size.div_ceil(SHARE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u64 = 1 << 30;

    #[test]
    fn the_head_of_a_file_alone_is_not_worth_a_copy() {
        let mut course = Course::default();
        assert!(!course.saw(0, 128 << 10, SIZE));
        assert!(!course.saw(0, 1 << 20, SIZE));
    }

    #[test]
    fn a_file_that_is_read_through_is_copied() {
        let mut course = Course::default();
        let reads = (0..).map(|index| index * (128 << 10));
        let asked = reads.take(17).filter(|at| course.saw(*at, 128 << 10, SIZE));
        assert_eq!(asked.count(), 2);
    }

    #[test]
    fn reads_here_and_there_count_by_their_share() {
        let mut course = Course::default();
        let size = 64 << 20;
        let far = |index: u64| ((index * 0x9e37_79b9) % 60) << 20;
        let mut wanted = 0;
        while !course.saw(far(wanted), 4096, size) {
            wanted += 1;
        }
        assert!(wanted >= size / SHARE / 4096 / 4, "{wanted}");
    }

    #[test]
    fn a_small_file_is_copied_when_it_is_read() {
        assert!(Course::default().saw(0, 100, 100));
    }
}
