//! By which ways files were copied, as the summary tells it.

use cachefs_core::Stats;
use indicatif::BinaryBytes;

/// None: nothing was copied by a way of its own.
pub fn tell(stats: &Stats) -> Option<String> {
    let ways = [
        ("reflink", stats.bytes_reflinked),
        ("copy_file_range", stats.bytes_copied_in_kernel),
        ("ring", stats.bytes_copied_by_ring),
        ("splice", stats.bytes_spliced),
    ];
    let used: Vec<_> = ways.iter().filter(|(_, bytes)| *bytes > 0).collect();
    let mut parts = Vec::new();
    match used.as_slice() {
        [] => {}
        [(way, _)] => parts.push(format!("copied by {way}")),
        several => {
            let each = |(way, bytes): &&(&str, u64)| format!("{way} ({})", BinaryBytes(*bytes));
            let list: Vec<String> = several.iter().map(each).collect();
            parts.push(format!("copied by {}", list.join(", ")));
        }
    }
    if stats.bytes_read_directly > 0 {
        let bytes = BinaryBytes(stats.bytes_read_directly);
        parts.push(format!("{bytes} read past the page cache"));
    }
    if stats.bytes_of_holes > 0 {
        let bytes = BinaryBytes(stats.bytes_of_holes);
        parts.push(format!("{bytes} of holes"));
    }
    (!parts.is_empty()).then(|| parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_way_is_named_and_several_with_their_bytes() {
        let mut stats = Stats::default();
        assert_eq!(tell(&stats), None);
        stats.bytes_copied_by_ring = 2 << 20;
        assert_eq!(tell(&stats).unwrap(), "copied by ring");
        stats.bytes_reflinked = 1 << 20;
        stats.bytes_of_holes = 4096;
        assert_eq!(
            tell(&stats).unwrap(),
            "copied by reflink (1.00 MiB), ring (2.00 MiB), 4.00 KiB of holes"
        );
    }
}
