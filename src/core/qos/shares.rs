//! Whose turn is next among several origins: start-time fair queueing. Each has a time of
//! its own, which goes on with the bytes that it was given, by its weight; the one that is
//! behind is next.

/// The origins that wait, by a number that each has to itself.
#[derive(Default)]
pub(crate) struct Shares(Vec<(usize, u64)>);

impl Shares {
    /// The place of the one to be served, of those that wait in order, each with its
    /// place and its origin. None: none does.
    pub(crate) fn next(&mut self, waiting: impl Iterator<Item = (usize, usize)>) -> Option<usize> {
        let mut best: Option<(u64, usize)> = None;
        for (place, origin) in waiting {
            let time = self.time_of(origin);
            // Of one origin, the first is next.
            if best.is_none_or(|(least, _)| time < least) {
                best = Some((time, place));
            }
        }
        best.map(|(_, place)| place)
    }

    /// It was given so many bytes; its weight is not 0.
    pub(crate) fn served(&mut self, origin: usize, bytes: u64, weight: u64) {
        let time = self.time_of(origin);
        // In units of a KiB at weight 1, so that large weights still count.
        let cost = (bytes.div_ceil(1 << 10) << 10) / weight.max(1);
        if let Some(entry) = self.0.iter_mut().find(|(other, _)| *other == origin) {
            entry.1 = time.saturating_add(cost.max(1));
        }
    }

    /// Nobody waits: what was served before does not count any more.
    pub(crate) fn forget(&mut self) {
        self.0.clear();
    }

    /// One that comes new begins where the one is that is farthest behind.
    fn time_of(&mut self, origin: usize) -> u64 {
        if let Some((_, time)) = self.0.iter().find(|(other, _)| *other == origin) {
            return *time;
        }
        let time = self.0.iter().map(|(_, time)| *time).min().unwrap_or(0);
        self.0.push((origin, time));
        time
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNK: u64 = 1 << 20;

    /// Serves `count` chunks to origins that always wait, and says how many each got.
    fn serve(shares: &mut Shares, weights: &[u64], count: usize) -> Vec<usize> {
        let mut given = vec![0; weights.len()];
        for _ in 0..count {
            let waiting = (0..weights.len()).map(|origin| (origin, origin));
            let next = shares.next(waiting).expect("they wait");
            given[next] += 1;
            shares.served(next, CHUNK, weights[next]);
        }
        given
    }

    #[test]
    fn each_gets_by_its_weight() {
        assert_eq!(serve(&mut Shares::default(), &[1, 1], 100), [50, 50]);
        assert_eq!(serve(&mut Shares::default(), &[300, 100], 100), [75, 25]);
        let three = serve(&mut Shares::default(), &[100, 200, 700], 1000);
        assert_eq!(three, [100, 200, 700]);
    }

    #[test]
    fn one_alone_gets_all_and_owes_nothing_to_those_that_come() {
        let mut shares = Shares::default();
        assert_eq!(serve(&mut shares, &[1], 1000), [1000]);
        let both = serve(&mut shares, &[1, 1], 100);
        assert!((49..=51).contains(&both[0]), "{both:?}");
    }

    #[test]
    fn of_one_origin_the_first_is_next() {
        let mut shares = Shares::default();
        let waiting = || [7, 7, 9, 9].into_iter().enumerate();
        shares.served(7, CHUNK, 1);
        assert_eq!(shares.next(waiting()), Some(0), "9 begins level");
        shares.served(7, CHUNK, 1);
        assert_eq!(shares.next(waiting()), Some(2));
        assert_eq!(shares.next(std::iter::empty()), None);
    }
}
